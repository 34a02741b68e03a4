"""The parent's stop request in a child: "stop" asks for a checkpoint, a closed pipe ends the child."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection


class StopRequest:
    """True once a stop was requested. The request calls the listeners one after another, in the thread that made it."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._asked = threading.Event()
        self._listeners: list[Callable[[], None]] = []

    def poll(self) -> None:
        """Take a stop that the parent sent before this process was ready."""
        with contextlib.suppress(EOFError, OSError):  # the parent has ended: watch() ends this process
            if self._pipe.poll() and self._pipe.recv() == "stop":
                self.ask()

    def watch(self) -> None:
        """Wait for the parent's messages. When the parent has ended, kill this process and everything that it started."""
        try:
            while True:
                if self._pipe.recv() == "stop" and not self:
                    self.ask()
        except (EOFError, OSError):
            # What is done is committed; another process takes over the rest when the lease expires.
            os.killpg(0, signal.SIGKILL)

    def ask(self) -> None:
        """Request a checkpoint and a stop."""
        self._asked.set()
        for listener in list(self._listeners):
            listener()

    def add_listener(self, listener: Callable[[], None], *, first: bool = False) -> None:
        """Call the listener when a stop is requested; at once when one was. first: before the listeners added so far, which
        may block."""
        self._listeners.insert(0 if first else len(self._listeners), listener)
        if self._asked.is_set():
            listener()

    def __bool__(self) -> bool:
        return self._asked.is_set()
