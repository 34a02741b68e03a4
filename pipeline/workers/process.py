"""Children of a forkserver that has Scrapy loaded: they start in tens of milliseconds and are killed for sure.

The service names what they run and never imports it. A child leads its own session, so that its whole process
group, and nothing else, is what gets killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError, SpiderError
from pipeline.settings import Settings
from pipeline.workers.forkserver import ENTRY

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def _begin(work: str, settings: Settings, log_file: str, pipe: Connection, arguments: tuple[Any, ...]) -> None:
    """Runs in the child, where the module is already loaded."""
    importlib.import_module(ENTRY).enter(work, settings, log_file, pipe, *arguments)


class Child:
    """One child at work. start() returns at once; wait() returns when it is gone."""

    def __init__(self, work: str, settings: Settings, log_file: Path, *arguments: Any) -> None:
        context = multiprocessing.get_context("forkserver")
        self._pipe, self._far_end = context.Pipe()
        self._process = context.Process(
            target=_begin, args=(work, settings, str(log_file), self._far_end, arguments), daemon=False)

    def start(self) -> None:
        """Blocks for some milliseconds, longer while the forkserver is still loading.

        Raises SpiderError where there is none to be had: a signal to all of a group's processes ends it, too.
        """
        try:
            self._process.start()
        except (EOFError, OSError) as error:
            raise SpiderError(f"its process could not be started ({type(error).__name__})", fix="it is tried again",
                              retry=True) from error
        self._far_end.close()

    @property
    def pid(self) -> int | None:
        """None before it was started."""
        return self._process.pid

    async def wait(self, timeout_s: float | None = None) -> int | None:
        """Its exit code (negative: the signal that ended it); None when it is still there after timeout_s."""
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        loop.add_reader(self._process.sentinel, gone.set)
        try:
            await asyncio.wait_for(gone.wait(), timeout_s)
        except TimeoutError:
            return None
        finally:
            loop.remove_reader(self._process.sentinel)
        return self._process.exitcode

    def stop(self) -> None:
        """Ask for a checkpoint and an end."""
        with contextlib.suppress(OSError):  # it is just ending
            self._pipe.send("stop")

    def kill(self) -> None:
        """End it and whatever it started, now."""
        if self.pid is None:
            return
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:  # not yet a leader of its own group, or just gone
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def answer(self) -> PipelineError | None:
        """What it said before it ended. Raises EOFError when it said nothing."""
        if not self._pipe.poll():
            raise EOFError
        found = self._pipe.recv()
        return found if isinstance(found, PipelineError) else None

    def memory_bytes(self) -> int:
        """Its resident memory; 0 where the system does not say (no /proc)."""
        try:
            return int(Path(f"/proc/{self.pid}/statm").read_text("ascii").split()[1]) * _PAGE_BYTES
        except (OSError, IndexError):
            return 0

    def close(self) -> None:
        self._pipe.close()
        self._process.join()
        self._process.close()
