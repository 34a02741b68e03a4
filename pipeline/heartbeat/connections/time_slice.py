"""Work that clients cause, a few milliseconds at a time: however many ask at once, the loop turns."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

SLICE_S = 0.002
"""What is done in one turn of the loop; the tasks it starts take about as long again, several times over."""


class TimeSlice:
    """Runs callbacks in the order given: at once while this turn of the loop has time left, and else in a later turn."""

    def __init__(self, *, slice_s: float = SLICE_S, clock: Callable[[], float] = time.perf_counter) -> None:
        self._slice_s = slice_s
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Callable[[], None]] = deque()
        self._spent_s = 0.0
        self._armed = False

    def run(self, work: Callable[[], None]) -> None:
        self._waiting.append(work)
        if len(self._waiting) == 1:
            self._work()

    def _work(self) -> None:
        while self._waiting and self._spent_s < self._slice_s:
            began = self._clock()
            try:
                self._waiting[0]()  # stays first while it is at work: what it causes comes after it
            finally:
                self._waiting.popleft()
            self._spent_s += self._clock() - began
        if not self._armed:
            self._armed = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._armed = False
        self._spent_s = 0.0
        if self._waiting:
            self._work()
