"""Limits the work that clients cause to a few milliseconds in each iteration of the event loop."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

SLICE_S = 0.002
"""Maximum seconds of work in one iteration of the event loop. Tasks that this work starts are not counted, and take
several times as long."""


class TimeSlice:
    """Runs callbacks in order: now if time is left in this iteration of the event loop, otherwise later.

    slice_s: maximum seconds of work in one iteration of the event loop.
    """

    def __init__(self, *, slice_s: float = SLICE_S, clock: Callable[[], float] = time.perf_counter) -> None:
        self._slice_s = slice_s
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Callable[[], None]] = deque()
        self._spent_s = 0.0
        self._scheduled = False

    def run(self, work: Callable[[], None]) -> None:
        self._queue.append(work)
        if len(self._queue) == 1:
            self._work()

    def _work(self) -> None:
        while self._queue and self._spent_s < self._slice_s:
            began = self._clock()
            try:
                self._queue[0]()  # the running callback stays in the queue, so that a callback that it adds is not run inside it
            finally:
                self._queue.popleft()
            self._spent_s += self._clock() - began
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._scheduled = False
        self._spent_s = 0.0
        if self._queue:
            self._work()
