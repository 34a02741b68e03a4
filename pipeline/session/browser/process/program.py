"""Which browser is used, and the messages when there is none."""

from __future__ import annotations

import contextlib
import importlib.util
import ipaddress
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pipeline.errors import BrowserError
from pipeline.session.browser.process.profile import FOLDER
from pipeline.settings import BrowserTable, Secret

ON_PATH = ("/usr/lib/chromium/chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
"""Chromium and Chrome on Linux distributions. The headless shell has no windows and takes two thirds of the memory. It is Debian's program
itself: the script of the same name stays between the driver and the browser, so that the browser would outlive a killed driver."""
DRIVER_OPTIONS = ("NODE_OPTIONS", "--max-semi-space-size=2")
"""The environment variable for the driver, a process of Node.js, with the memory for new objects in MB. Node.js allows 16 for each of its
semi-spaces, which the driver fills with short-lived messages."""
INSTALL_PACKAGE = "run `pip install 'crawl-to-inbox[browser]'`"
INSTALL_PROGRAM = "run `playwright install chromium` or `apt install chromium`, or set [browser] executable"


@dataclass(frozen=True)
class BrowserProgram:
    """The browser that the settings choose.

    executable: the path in the settings; None means the one of Playwright, or else one on PATH. remote: the URL of a browser that is
    already running, perhaps on another machine; None means that a browser is started. folder: where temporary profiles are kept.
    page_bytes: the memory that one page may use. memory_bytes: what the process that uses the browser may use together with it; None: no limit.
    """

    folder: Path
    executable: str | None = None
    remote: str | None = field(default=None, repr=False)
    start_timeout_s: float = 30.0
    max_load_bytes: int | None = None
    page_bytes: int = 10**9
    memory_bytes: int | None = None

    @classmethod
    def of(cls, table: BrowserTable, data_dir: Path, *, memory_bytes: int | None = None) -> Self:
        """Return the browser of [browser]. memory_bytes: as above. Raises BrowserError if Playwright is not installed, UsageError if a secret cannot be read."""
        if importlib.util.find_spec("playwright") is None:
            raise BrowserError("Playwright is not installed, so no page can be rendered", where="browser", fix=INSTALL_PACKAGE)
        remote = table.remote.reveal() if isinstance(table.remote, Secret) else table.remote
        return cls(data_dir / FOLDER, table.executable, remote, table.start_timeout, table.max_load, table.page_memory, memory_bytes)

    def path(self, of_playwright: str) -> str:
        """Return the path of the program to start. Raises BrowserError if there is none.

        of_playwright: where Playwright expects the browser that it has installed.
        """
        if self.executable is not None:
            path = shutil.which(os.path.expanduser(self.executable))
            if path is None:
                raise BrowserError(f"{self.executable} is not a program", where="browser.executable",
                                   fix="correct the path, or remove the setting: the program looks for Chromium itself")
            return path
        path = next(filter(None, map(shutil.which, (*_headless_shells(of_playwright), of_playwright, *ON_PATH))), None)
        if path is None:
            raise BrowserError("no browser is installed, so no page can be rendered", where="browser", fix=INSTALL_PROGRAM)
        return path


def _headless_shells(of_playwright: str) -> list[str]:
    """Return the headless shell that `playwright install chromium` installs beside Chromium, for which Playwright has no documented name."""
    folder = next((parent for parent in Path(of_playwright).parents if parent.name.startswith("chromium-")), None)
    if folder is None:
        return []
    beside = folder.with_name(folder.name.replace("chromium-", "chromium_headless_shell-", 1))
    return [str(path) for name in ("chrome-headless-shell", "headless_shell") for path in beside.glob(f"*/{name}")]


def is_this_machine(url: str) -> bool:
    """Return whether the URL of a running browser is one of this machine, so that the browser can use the guard proxy."""
    host = urlsplit(url).hostname or ""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
