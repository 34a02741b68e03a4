"""Start and kill child processes, which are forked from a forkserver that has loaded Scrapy.

The service passes only the name of the module that a child runs, and does not import the module. A child leads its own session,
so that the child can be killed together with all processes that it has started.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import multiprocessing
import os
import signal
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError, SpiderError
from pipeline.settings import Settings
from pipeline.workers import process_tree
from pipeline.workers.forkserver import ENTRY
from pipeline.workers.prepared_process import PreparedProcess

START_FOLLOWER = "start a follower"
"""The message with which the leader process of a run asks its parent to start a follower process."""
WATCH_EVERY_S = 1.0
"""How often, in seconds, a process is checked against its limits."""
STOP_LIMIT_S = 30.0
"""How long, in seconds, a process may take to stop at a checkpoint before it is killed."""
MAX_PAGES_SET_ASIDE = 20
"""The maximum number of pages that one run skips because they killed its process. If one more page does so, the run ends."""


def _begin(work: str, settings: Settings, log_file: str, pipe: Connection, arguments: tuple[Any, ...]) -> None:
    """Call entry.enter() in the child process, in which the module `entry` is already loaded."""
    importlib.import_module(ENTRY).enter(work, settings, log_file, pipe, *arguments)


def _fork(process: BaseProcess, far_end: Connection) -> None:
    process.start()
    far_end.close()


class Child:
    """One child process, which performs a run, renders a digest or works on single pages."""

    def __init__(self, work: str, settings: Settings, log_file: Path, *arguments: Any,
                 prepared: PreparedProcess | None = None) -> None:
        """Set up the process without starting it.

        work, arguments: the arguments with which the child calls entry.enter(). prepared: an existing process to use; None means
        that a process is forked from the forkserver.
        """
        self._sent: PipelineError | list[str] | None = None
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
        """Start the process. This takes some milliseconds, or as long as the forkserver needs to load its modules.

        Raise SpiderError if the forkserver does not respond, for example because the forkserver was killed.
        """
        try:
            self._begin()
        except (EOFError, OSError) as error:
            raise SpiderError(f"the child process could not be started ({type(error).__name__})", fix="the work is tried again",
                              retry=True) from error

    @property
    def pid(self) -> int | None:
        """The process id; None before start()."""
        return self._process.pid

    async def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for the end of the process and return its exit code.

        If a signal killed the process, the exit code is the negative number of the signal. Return None if the process is still
        running after timeout_s.
        """
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        loop.add_reader(self._process.sentinel, gone.set)
        try:
            await asyncio.wait_for(gone.wait(), timeout_s)
        except TimeoutError:
            return None
        finally:
            loop.remove_reader(self._process.sentinel)
        self._process.join()  # the sentinel of a forked process becomes ready shortly before the exit code
        return self._process.exitcode

    def on_request(self, listener: Callable[[], None]) -> None:
        """Call a listener in the event loop for each message START_FOLLOWER that the process sends.

        ignore_requests() ends this.
        """
        def received() -> None:
            try:
                if self._pipe.recv() == START_FOLLOWER:
                    listener()
            except (EOFError, OSError):  # the process has ended
                self.ignore_requests()
        asyncio.get_running_loop().add_reader(self._pipe.fileno(), received)

    def ignore_requests(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pipe.fileno())

    def stop(self) -> None:
        """Ask the process to stop at a checkpoint."""
        with contextlib.suppress(OSError):  # the process has just ended
            self._pipe.send("stop")

    def kill(self) -> None:
        """Kill the process and all processes that it has started, also those that left its process group, as a browser does."""
        if self.pid is None:
            return
        below = process_tree.descendants(self.pid)
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:  # the process is not yet the leader of its process group, or has just ended
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        process_tree.kill(below)

    def result(self) -> PipelineError | None:
        """Return the error that the process sent before it ended; None if the process reported success.

        Raise EOFError if the process sent nothing.
        """
        if not self._pipe.poll():
            raise EOFError
        self._sent = self._pipe.recv()
        return self._sent if isinstance(self._sent, PipelineError) else None

    @property
    def remarks(self) -> list[str]:
        """The sentences that the process sent in place of an error; [] before result() was called."""
        return self._sent if isinstance(self._sent, list) else []

    def memory_bytes(self) -> int:
        """Return the memory of the process and of all processes that it has started; 0 on a system without /proc."""
        return process_tree.memory_bytes(self.pid) if self.pid is not None else 0

    def close(self) -> None:
        self._pipe.close()
        self._process.join()
        self._process.close()
