"""One line in the log for each fault that a request causes, and not many of them."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable
from pathlib import PurePath

from aiohttp.http_exceptions import HttpProcessingError

from pipeline.text import quoted

EVERY_S = 60.0


class FaultLog(logging.Filter):
    """A filter for the logger of the HTTP server: anybody can send what fails, and must not fill the log.

    What a client sent wrong is left out. A fault of ours is one line: its type and place, once in `every_s`, with
    the number of those left out since.
    """

    def __init__(self, *, every_s: float = EVERY_S, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._every_s = every_s
        self._clock = clock
        self._next = float("-inf")
        self._left_out = 0

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            return True
        if isinstance(error, HttpProcessingError):
            return False
        if self._clock() < self._next:
            self._left_out += 1
            return False
        self._next = self._clock() + self._every_s
        more = f"; {self._left_out} more since the last such line" if self._left_out else ""
        self._left_out = 0
        record.msg, record.args = "a request could not be answered: %s%s", (described(error), more)
        record.exc_info, record.exc_text = None, None
        return True


def described(error: BaseException) -> str:
    """Its type, what it says and where it was raised, on one line."""
    place = next(iter(traceback.extract_tb(error.__traceback__)[-1:]), None)
    where = f" ({PurePath(place.filename).name}:{place.lineno}, {place.name})" if place is not None else ""
    return f"{type(error).__name__}: {quoted(str(error))[:200]}{where}"
