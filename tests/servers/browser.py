"""A browser that runs already, for tests that do not look at how one is started.

A start takes most of the time of a short test.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.session.browser.process.launch import QUIET
from pipeline.session.browser.process.program import BrowserProgram

LIKE_STARTED = ("--headless", "--hide-scrollbars", "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage", "--disable-extensions",
                "--disable-sync", "--no-first-run", "--disable-quic", "--dns-prefetch-disable", *QUIET)
"""What matters to pages and to other tests of the arguments with which the program starts a browser."""

DEADLINE_S = 60.0


@contextmanager
def running_browser() -> Iterator[str]:
    """Start the browser that the program would choose. Yield its URL for `[browser] remote`."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # a process of the browser may end after the browser
        sandbox = () if os.geteuid() else ("--no-sandbox",)
        process = subprocess.Popen([BrowserProgram(Path(folder)).path(""), *LIKE_STARTED, *sandbox, "--remote-debugging-port=0", f"--user-data-dir={folder}/profile"],
                                   stderr=subprocess.PIPE, env={**os.environ, "HOME": folder, "TMPDIR": folder})
        assert process.stderr is not None
        starting = threading.Timer(DEADLINE_S, process.kill)
        starting.start()
        with process:
            try:
                line = next((line for line in process.stderr if b"DevTools listening on" in line), b"")
                starting.cancel()
                assert line, "the browser did not start"
                threading.Thread(target=process.stderr.read, daemon=True).start()  # a browser whose pipe is full stands still
                yield line.split()[-1].decode()
            finally:
                starting.cancel()
                process.terminate()
