"""Looks for the browser on this machine and asks it for its version, without rendering anything."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import BrowserError
from pipeline.session.browser.process.program import INSTALL_PROGRAM, BrowserProgram
from pipeline.text import clean_line

_VERSION_S = 30.0


@dataclass(frozen=True)
class InstalledBrowser:
    """path: the program; version: what it says of itself, such as "Chromium 156.0.8078.108"; runs_as_root: whether it has no sandbox."""

    path: str
    version: str
    runs_as_root: bool


def find_path(program: BrowserProgram) -> str:
    """Return the path of the browser that pages would be rendered in. Raises BrowserError if there is none.

    Playwright is asked only if neither the settings nor the system have a browser, since this takes some hundred milliseconds.
    """
    try:
        return program.path("")
    except BrowserError:
        if program.executable is not None:
            raise
    return program.path(asyncio.run(_of_playwright()))


def examine(program: BrowserProgram) -> InstalledBrowser:
    """Return the browser that pages are rendered in. Raises BrowserError if there is none or if it does not run."""
    path = program.path("" if program.executable is not None else asyncio.run(_of_playwright()))
    try:
        ended = subprocess.run([path, "--version"], capture_output=True, text=True, errors="replace", timeout=_VERSION_S, check=False, stdin=subprocess.DEVNULL)  # noqa: S603  the browser of the settings
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BrowserError(f"the browser did not start: {clean_line(str(error), 200)}", where=path, fix=INSTALL_PROGRAM) from error
    if ended.returncode:
        raise BrowserError(f"the browser did not start: {clean_line(ended.stderr, 300) or ended.returncode}", where=path, fix=INSTALL_PROGRAM)
    return InstalledBrowser(path, clean_line(ended.stdout, 100), os.geteuid() == 0)


def known_devices() -> Mapping[str, Mapping[str, Any]]:
    """Return the devices that Playwright can emulate, by name. This takes half a second, because Playwright's driver is started."""
    return asyncio.run(_devices())


async def _devices() -> Mapping[str, Mapping[str, Any]]:
    from playwright.async_api import async_playwright  # noqa: PLC0415  only if a spider names a device
    async with async_playwright() as playwright:
        return playwright.devices


async def _of_playwright() -> str:
    from playwright.async_api import async_playwright  # noqa: PLC0415  only if a spider needs a browser
    async with async_playwright() as playwright:
        return playwright.chromium.executable_path
