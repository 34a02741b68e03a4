"""Filters the log records of failed HTTP requests: one line for an error, at most one line a minute."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable
from pathlib import PurePath

from aiohttp.http_exceptions import HttpProcessingError

from pipeline.text import quoted

EVERY_S = 60.0


class ErrorLogFilter(logging.Filter):
    """Filters the HTTP server's log, so that clients cannot fill the log with requests that fail.

    Errors caused by invalid data from a client are not logged. Any other error becomes one line with the type and place of
    the error. At most one line is logged in `every_s` seconds; the line says how many errors were left out since the
    previous line.
    """

    def __init__(self, *, every_s: float = EVERY_S, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._every_s = every_s
        self._clock = clock
        self._next = float("-inf")
        self._dropped = 0

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            return True
        if isinstance(error, HttpProcessingError):
            return False
        if self._clock() < self._next:
            self._dropped += 1
            return False
        self._next = self._clock() + self._every_s
        more = f"; {self._dropped} more errors since the last such message" if self._dropped else ""
        self._dropped = 0
        record.msg, record.args = "an HTTP request to the heartbeat failed: %s%s", (described(error), more)
        record.exc_info, record.exc_text = None, None
        return True


def described(error: BaseException) -> str:
    """Return the type and text of an error, and where the error was raised, on one line."""
    place = next(iter(traceback.extract_tb(error.__traceback__)[-1:]), None)
    where = f" ({PurePath(place.filename).name}:{place.lineno}, {place.name})" if place is not None else ""
    return f"{type(error).__name__}: {quoted(str(error))[:200]}{where}"
