"""Limits the memory of the pages in a browser.

A page that needs more is ended alone, and not the whole run.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline.text import size_for_people

if TYPE_CHECKING:
    from playwright.async_api import Browser, CDPSession

LOOK_EVERY_S = 0.4
NEWS_S = 3.0
"""How long after a process was ended the crash of its page may be told, in seconds."""
SHARE = 0.85
"""The share of memory_limit from which the largest page is ended. A page may grow by some hundred megabytes until the next look."""
UNSEEN_BYTES = 150 * 10**6
"""About the memory of the driver, and what the processes of the browser share."""
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

logger = logging.getLogger(__name__)


def script_arguments(page_bytes: int) -> list[str]:
    """Return the arguments of Chromium that limit the objects of a page's scripts to half of its memory. V8 ends a renderer that exceeds this."""
    return [f"--js-flags=--max-old-space-size={max(64, page_bytes // 2 // 2**20)}"]


class _Process(NamedTuple):
    pid: int
    is_renderer: bool
    own_bytes: int


class RendererMemory:
    """Looks at the memory of the renderer processes of one browser on this machine, until it is stopped.

    V8 limits only the objects of scripts. What else pages hold (DOM, ArrayBuffers, images) is limited here: a renderer with more than page_bytes
    is killed, as is the largest one if all processes together come near run_bytes (None: no limit). Without
    /proc nothing is limited here.
    """

    def __init__(self, browser: Browser, *, page_bytes: int, run_bytes: int | None) -> None:
        self._browser = browser
        self._page_bytes = page_bytes
        self._run_bytes = run_bytes
        self._ended: tuple[float, str] = (0.0, "")
        self._task = asyncio.create_task(self._watch())

    def reason(self) -> str:
        """Return why a renderer has just been ended, as a sentence about its page; "" if none has."""
        ended_s, why = self._ended
        return why if why and time.monotonic() - ended_s < NEWS_S else ""

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        from playwright.async_api import Error  # noqa: PLC0415  loaded by now, since there is a browser
        with contextlib.suppress(Error):  # the browser has ended
            protocol = await self._browser.new_browser_cdp_session()
            while True:
                self._look(await _processes(protocol))
                await asyncio.sleep(LOOK_EVERY_S)

    def _look(self, processes: list[_Process]) -> None:
        renderers = [each for each in processes if each.is_renderer]
        largest = max(renderers, key=lambda each: each.own_bytes, default=None)
        if largest is None:
            return
        if largest.own_bytes > self._page_bytes:
            self._end(largest, f"the page used more than {size_for_people(self._page_bytes)} of memory in the browser")
        elif self._run_bytes is not None:
            total = sum(each.own_bytes for each in processes) + _own_bytes(os.getpid()) + UNSEEN_BYTES
            if total > SHARE * self._run_bytes:
                self._end(largest, "the page used the most memory when the run came near memory_limit")

    def _end(self, process: _Process, why: str) -> None:
        self._ended = (time.monotonic(), why)
        logger.warning("%s (%s): its process is ended", why, size_for_people(process.own_bytes))
        with contextlib.suppress(OSError):
            os.kill(process.pid, signal.SIGKILL)


async def _processes(protocol: CDPSession) -> list[_Process]:
    found = (await protocol.send("SystemInfo.getProcessInfo"))["processInfo"]
    return [_Process(each["id"], each["type"] == "renderer", _own_bytes(each["id"])) for each in found]


def _own_bytes(pid: int) -> int:
    """Return the memory that only this process uses; 0 if it has ended, or on a system without /proc."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        _, resident, shared, *_ = map(int, Path(f"/proc/{pid}/statm").read_text("ascii").split())
        return (resident - shared) * _PAGE_BYTES
    return 0
