"""The long proofs, one after the other: `make torture`. Each says its seed, so that it can be done again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main() -> None:
    here = Path(__file__).parent
    failed = 0
    for path in sorted(here.glob("*/torture.py")):
        print(f"== {path.parent.name}", flush=True)
        failed += subprocess.run([sys.executable, "-m", f"tests.{path.parent.name}.torture"], check=False,
                                 cwd=here.parent).returncode != 0
    sys.exit(failed)


if __name__ == "__main__":
    main()
