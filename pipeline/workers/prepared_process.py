"""A process that the command `pipeline run NAME` forks for its only run, before opening the store.

The command needs only one child process. A forkserver and its resource tracker would use 75 MB of memory, and share only half of
it with the child. A prepared process shares the modules that the command has loaded, and loads Scrapy while the command is
opening the store.
"""

from __future__ import annotations

import gc
import importlib
import multiprocessing
import signal
import socket
from collections.abc import Sequence
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

from pipeline.workers.forkserver import ENTRY
from pipeline.workers.signals import STOP_SIGNALS, stop_signals_blocked


class PreparedProcess:
    """A child process that waits until begin() is called.

    Create the object while this process has only one thread. At the end of the `with` statement, the child is killed unless
    begin() was called. sockets: how many sockets to followers the child gets. The object's attributes: pipe is the connection to
    the child; far_ends are the followers' ends of the child's sockets.
    """

    def __init__(self, sockets: int = 0) -> None:
        pairs = [socket.socketpair() for _ in range(sockets)]
        own = [near for near, _ in pairs]
        self.far_ends = [far for _, far in pairs]
        context = multiprocessing.get_context("fork")
        self.pipe, far_end = context.Pipe()
        work, self._work = context.Pipe(duplex=False)
        self.process = context.Process(target=_load_and_wait, args=(work, far_end, (self._work, self.pipe, *self.far_ends), own), daemon=False)
        with stop_signals_blocked():
            self.process.start()
        work.close()
        far_end.close()
        for end in own:
            end.close()

    def begin(self, *arguments: Any) -> None:
        """Make the child call entry.enter() with these arguments, its end of the pipe, and its sockets.

        Raise OSError if the child has died.
        """
        self._work.send(arguments)
        self._work.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        for end in self.far_ends:
            end.close()
        if not self._work.closed:
            self._work.close()
            self.process.kill()


def _load_and_wait(work: Connection, pipe: Connection, of_the_command: Sequence[Connection | socket.socket],
                   sockets: Sequence[socket.socket]) -> None:
    """Run the child: ignore stop signals, load Scrapy, and wait for the arguments of entry.enter().

    If the process group receives a stop signal, only the command handles it. of_the_command: the command's ends of pipes and
    sockets, which the child closes. sockets: the sockets to followers that may be started later.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    for end in of_the_command:
        end.close()  # if these ends stayed open, this process would not notice the end of the command
    gc.disable()  # off until enter() is called, since the modules loaded here stay loaded
    entry = importlib.import_module(ENTRY)
    try:
        what, settings, log_file, *arguments = work.recv()
    except EOFError:  # the command has ended, or does not need the child
        return
    work.close()
    entry.enter(what, settings, log_file, pipe, *arguments, *sockets)
