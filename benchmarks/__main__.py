"""Every benchmark, one after the other.

Run them with `make bench`, or some of them with `python -m benchmarks NAME…`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main() -> None:
    known = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))
    wanted = sys.argv[1:] or known
    unknown = set(wanted) - set(known)
    if unknown:
        sys.exit(f"no benchmark named {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    failed = 0
    for name in wanted:
        print(f"== {name}", flush=True)
        failed += subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode != 0
    sys.exit(failed)


if __name__ == "__main__":
    main()
