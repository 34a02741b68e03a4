"""Run the attacks of pages on the guard proxy in each build of Chromium on this machine.

They differ in what they do at the edges.

    python -m tests.torture session/browser

The suite uses only the build that the program would choose.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from pipeline.session.browser.process.program import ON_PATH


def main() -> None:
    builds = {os.path.realpath(path): path for path in filter(None, map(shutil.which, ON_PATH))}
    failed = 0
    for path in builds.values():
        print(path, flush=True)
        command = [sys.executable, "-m", "pytest", str(Path(__file__).with_name("test_guard_with_chromium.py"))]
        failed += subprocess.run(command, check=False, env={**os.environ, "TEST_BROWSER": path}).returncode != 0
    sys.exit(failed if builds else "no Chromium is installed")


if __name__ == "__main__":
    main()
