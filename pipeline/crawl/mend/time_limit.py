"""A limit for the CPU time that one search for new rules may take."""

from __future__ import annotations

import time

SECONDS_PER_PAGE = 2.0


class OutOfTimeError(Exception):
    """The search for new rules has taken longer than its limit."""


class TimeLimit:
    """Raises OutOfTimeError from check() after SECONDS_PER_PAGE of CPU time for each page."""

    def __init__(self, pages: int) -> None:
        self._end = time.thread_time() + SECONDS_PER_PAGE * max(1, pages)

    def check(self) -> None:
        if time.thread_time() > self._end:
            raise OutOfTimeError
