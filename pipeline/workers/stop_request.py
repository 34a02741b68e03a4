"""Receive the stop requests that a parent process sends to its child through a pipe.

The message "stop" asks the child to stop at a checkpoint. If the parent closes the pipe or ends, the child is killed immediately.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection


class StopRequest:
    """The stop request of a child process. `bool(request)` is True after the parent has requested a stop.

    When a stop is requested, the listeners are called one after another, in the thread that calls ask().
    """

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._asked = threading.Event()
        self._listeners: list[Callable[[], None]] = []

    def poll(self) -> None:
        """Process a stop request that the parent has sent before this process was ready for it."""
        with contextlib.suppress(EOFError, OSError):  # the parent has ended: watch() ends this process
            if self._pipe.poll() and self._pipe.recv() == "stop":
                self.ask()

    def watch(self) -> None:
        """Wait for the parent's messages, and process each stop request.

        When the parent ends, kill this process and all processes that it has started.
        """
        try:
            while True:
                if self._pipe.recv() == "stop" and not self:
                    self.ask()
        except (EOFError, OSError):
            # Finished work has been committed. Another process will continue the run when its lease expires.
            os.killpg(0, signal.SIGKILL)

    def ask(self) -> None:
        """Request a stop at a checkpoint, and call all listeners."""
        self._asked.set()
        for listener in list(self._listeners):
            listener()

    def add_listener(self, listener: Callable[[], None], *, first: bool = False) -> None:
        """Register a listener that is called when a stop is requested. Call it immediately if a stop was already requested.

        first: whether to call this listener before the listeners that were added earlier, which may block.
        """
        self._listeners.insert(0 if first else len(self._listeners), listener)
        if self._asked.is_set():
            listener()

    def __bool__(self) -> bool:
        return self._asked.is_set()
