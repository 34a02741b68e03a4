"""Runs work that clients cause for a few milliseconds per turn of the event loop."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

SLICE_S = 0.002
"""Time for work in one turn of the loop; the tasks that it starts take several times as long again."""


class TimeSlice:
    """Runs callbacks in order: at once while this turn of the loop has time left, otherwise in a later turn."""

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
                self._queue[0]()  # stays first while it runs, so that work it adds runs after it
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
