"""A child process, its start and its kill; forked from a forkserver that has Scrapy loaded.

The service names the module that a child runs and never imports it. A child leads its own session, so that a kill ends
its whole process group and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import multiprocessing
import os
import signal
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError, SpiderError
from pipeline.settings import Settings
from pipeline.workers.forkserver import ENTRY
from pipeline.workers.prepared_process import PreparedProcess

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def _begin(work: str, settings: Settings, log_file: str, pipe: Connection, arguments: tuple[Any, ...]) -> None:
    """The child's first function. The module it imports is already loaded there."""
    importlib.import_module(ENTRY).enter(work, settings, log_file, pipe, *arguments)


def _fork(process: BaseProcess, far_end: Connection) -> None:
    process.start()
    far_end.close()


class Child:
    """One child process. start() returns at once; wait() returns when the process has ended."""

    def __init__(self, work: str, settings: Settings, log_file: Path, *arguments: Any,
                 prepared: PreparedProcess | None = None) -> None:
        """prepared: the process to use; without it, one is forked from the forkserver."""
        if prepared is not None:
            self._process: BaseProcess = prepared.process
            self._pipe = prepared.pipe
            self._begin = partial(prepared.begin, work, settings, str(log_file), *arguments)
        else:
            context = multiprocessing.get_context("forkserver")
            self._pipe, far_end = context.Pipe()
            self._process = context.Process(
                target=_begin, args=(work, settings, str(log_file), far_end, arguments), daemon=False)
            self._begin = partial(_fork, self._process, far_end)

    def start(self) -> None:
        """Start the process. Blocks for some milliseconds, longer while the forkserver is still loading.

        Raises SpiderError when the forkserver does not answer, for example because it was killed.
        """
        try:
            self._begin()
        except (EOFError, OSError) as error:
            raise SpiderError(f"its process could not be started ({type(error).__name__})", fix="it is tried again",
                              retry=True) from error

    @property
    def pid(self) -> int | None:
        """The process id; None before the start."""
        return self._process.pid

    async def wait(self, timeout_s: float | None = None) -> int | None:
        """The exit code (negative: the signal that ended the process); None when it still runs after timeout_s."""
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        loop.add_reader(self._process.sentinel, gone.set)
        try:
            await asyncio.wait_for(gone.wait(), timeout_s)
        except TimeoutError:
            return None
        finally:
            loop.remove_reader(self._process.sentinel)
        self._process.join()  # the sentinel of a forked process is ready an instant before its exit code
        return self._process.exitcode

    def stop(self) -> None:
        """Ask the process to checkpoint and end."""
        with contextlib.suppress(OSError):  # the process is just ending
            self._pipe.send("stop")

    def kill(self) -> None:
        """Kill the process and everything that it started."""
        if self.pid is None:
            return
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:  # the process does not lead its group yet, or has just ended
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def result(self) -> PipelineError | None:
        """The error that the process sent before it ended, None for success. Raises EOFError when it sent nothing."""
        if not self._pipe.poll():
            raise EOFError
        found = self._pipe.recv()
        return found if isinstance(found, PipelineError) else None

    def memory_bytes(self) -> int:
        """The resident memory of the process; 0 on a system without /proc."""
        try:
            return int(Path(f"/proc/{self.pid}/statm").read_text("ascii").split()[1]) * _PAGE_BYTES
        except (OSError, IndexError):
            return 0

    def close(self) -> None:
        self._pipe.close()
        self._process.join()
        self._process.close()
