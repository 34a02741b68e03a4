"""Run every test of a service on PostgreSQL with procrastinate, too; `make test` runs a few of them.

    python -m tests.workers.dispatcher.torture
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def main() -> None:
    here = Path(__file__).parents[3]
    sys.exit(subprocess.run([sys.executable, "-m", "pytest", "-n", "2", "tests/service", "-k", "postgresql"], check=False, cwd=here,
                            env=os.environ | {"TEST_DISPATCHERS": "all"}).returncode)


if __name__ == "__main__":
    main()
