"""A process that a command forks for its only run, before it opens the store.

`pipeline run NAME` needs one child. A forkserver and its resource tracker would take 75 MB, of which the child shares half. A
prepared process shares what the command has loaded instead, and loads Scrapy while the command opens the store.
"""

from __future__ import annotations

import gc
import importlib
import multiprocessing
import signal
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

from pipeline.workers.forkserver import ENTRY
from pipeline.workers.signals import STOP_SIGNALS, stop_signals_blocked


class PreparedProcess:
    """A process that waits for begin(). Fork it while this process has one thread only. pipe: to the process.

    Leaving the context ends the process, unless it has begun its work.
    """

    def __init__(self) -> None:
        context = multiprocessing.get_context("fork")
        self.pipe, far_end = context.Pipe()
        work, self._work = context.Pipe(duplex=False)
        self.process = context.Process(target=_load_and_wait, args=(work, far_end, (self._work, self.pipe)), daemon=False)
        with stop_signals_blocked():
            self.process.start()
        work.close()
        far_end.close()

    def begin(self, *arguments: Any) -> None:
        """Let the process call enter() with these arguments; the pipe is its fourth. Raises OSError when it has died."""
        self._work.send(arguments)
        self._work.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if not self._work.closed:
            self._work.close()
            self.process.kill()


def _load_and_wait(work: Connection, pipe: Connection, of_the_command: tuple[Connection, ...]) -> None:
    """The process's first function. A stop signal to the command's process group is for the command alone."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    for connection in of_the_command:
        connection.close()  # otherwise the end of the command would not be seen here
    gc.disable()  # until enter(): what is loaded here stays loaded
    entry = importlib.import_module(ENTRY)
    try:
        what, settings, log_file, *arguments = work.recv()
    except EOFError:  # there is no work
        return
    work.close()
    entry.enter(what, settings, log_file, pipe, *arguments)
