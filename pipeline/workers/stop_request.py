"""What the parent says through a child's pipe: "stop" asks for a checkpoint; when the pipe closes, the child ends."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection


class StopRequest:
    """True once a stop was asked for. Its listeners are then called one after another, in the thread that asks."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._asked = threading.Event()
        self._listeners: list[Callable[[], None]] = []

    def look(self) -> None:
        """Take a stop that was sent before this process was ready."""
        with contextlib.suppress(EOFError, OSError):  # the parent is gone: watch() ends this process
            if self._pipe.poll() and self._pipe.recv() == "stop":
                self.ask()

    def watch(self) -> None:
        """Wait for what the parent sends. When the parent is gone, kill this process and all that it started."""
        try:
            while True:
                if self._pipe.recv() == "stop" and not self:
                    self.ask()
        except (EOFError, OSError):
            # Everything done is committed; the rest is taken up when the lease expires.
            os.killpg(0, signal.SIGKILL)

    def ask(self) -> None:
        """Ask for a checkpoint."""
        self._asked.set()
        for listener in list(self._listeners):
            listener()

    def call(self, listener: Callable[[], None], *, before_others: bool = False) -> None:
        """Call it when a stop is asked for; at once when one was. before_others: ahead of those added so far, which may block."""
        self._listeners.insert(0 if before_others else len(self._listeners), listener)
        if self._asked.is_set():
            listener()

    def __bool__(self) -> bool:
        return self._asked.is_set()
