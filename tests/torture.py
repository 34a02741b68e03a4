"""Run the long tests one after the other: `make torture`. Each prints its seed.

`python -m tests.torture NAME …` runs one of them, tests/NAME/torture.py, with its own arguments.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

VARIANTS: dict[str, tuple[list[str], ...]] = {
    "tests.crawl.torture": ([], ["--joining", "--histories", "30"]),
    "tests.session.politeness.torture": ([], ["--delay", "0.1"], ["--kill", "--concurrency", "2"],
                                         ["--outage", "13", "--concurrency", "2", "--seconds", "24"]),
}
"""The arguments of each call of a module that is called more than once."""


def main() -> None:
    os.environ["TEST_NEW_PROCESSES"] = "1"  # see tests/servers/commands.py
    here = Path(__file__).parent
    if sys.argv[1:]:
        name, *arguments = sys.argv[1:]
        module = f"tests.{name.replace('/', '.')}.torture"
        sys.exit(subprocess.run([sys.executable, "-m", module, *arguments], check=False, cwd=here.parent).returncode)
    failed = 0
    for path in sorted(here.glob("*/**/torture.py")):
        module = ".".join(path.relative_to(here.parent).with_suffix("").parts)
        for arguments in VARIANTS.get(module, ([],)):
            print("==", module, *arguments, flush=True)
            failed += subprocess.run([sys.executable, "-m", module, *arguments], check=False, cwd=here.parent).returncode != 0
    sys.exit(failed)


if __name__ == "__main__":
    main()
