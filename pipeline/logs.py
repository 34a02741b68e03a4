"""Log formats: plain lines on a terminal, JSON lines elsewhere, both with secrets masked.

`about` adds the id of a run or the name of a digest to all log lines that are written inside its `with` block.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from io import TextIOBase
from typing import Any, TextIO

from pipeline.text import escape_controls

_ABOUT: ContextVar[Mapping[str, str | int]] = ContextVar("what log lines are about")
_OTHERS = {"scrapy": "scrapy", "service": "pipeline.service"}
"""The logger name of each part of the program, if the name is not pipeline.PART."""


@contextmanager
def about(**what: str | int) -> Iterator[None]:
    """Add fields such as run=… and spider=… to every log line that is written inside the `with` block.

    This includes the log lines of tasks and threads that are started inside the block.
    """
    token = _ABOUT.set({**_ABOUT.get({}), **what})
    try:
        yield
    finally:
        _ABOUT.reset(token)


class Masked(logging.Formatter):
    """Formats a record with `inner`, then escapes control characters and masks secrets."""

    def __init__(self, inner: logging.Formatter, mask: Callable[[str], str]) -> None:
        super().__init__()
        self._inner = inner
        self._mask = mask

    def format(self, record: logging.LogRecord) -> str:
        return self._mask(escape_controls(self._inner.format(record)))


class Lines(logging.Formatter):
    """Formats plain log lines: time, level, message, and the run's id unless the message contains the id.

    All lines of a message but the first are indented, so that scraped text cannot look like a log line. base: fields that every log
    line of this process has, such as run=7.
    """

    def __init__(self, base: Mapping[str, str | int]) -> None:
        super().__init__()
        self._base = base

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if record.name != "pipeline" and not record.name.startswith("pipeline."):
            message = f"{record.name}: {message}"
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        run = _what(record, self._base).get("run")
        whose = f" (run {run})" if run is not None and f"run {run}" not in message else ""
        at = datetime.fromtimestamp(record.created).astimezone()
        line = f"{at:%H:%M:%S} {level}{message}{whose}".replace("\n", "\n  ")
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonLines(logging.Formatter):
    """Formats log lines as JSON: time (UTC), level, part, message, traceback, and run and spider if known.

    base: fields that every log line of this process has, such as run=7. mask: masks secrets in the message and the traceback, before
    both are encoded as JSON. A message that contains JSON is encoded twice, which would hide a secret from a mask applied later.
    """

    def __init__(self, base: Mapping[str, str | int], mask: Callable[[str], str]) -> None:
        super().__init__()
        self._base = base
        self._mask = mask

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(), "part": record.name, **_what(record, self._base), "message": self._mask(record.getMessage())}
        if record.exc_info:
            line["traceback"] = self._mask(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


def _what(record: logging.LogRecord, base: Mapping[str, str | int]) -> dict[str, str | int]:
    """Return the fields of a log line, from the process, `about` and the logging call (`extra["about"]`)."""
    return {**base, **_ABOUT.get({}), **getattr(record, "about", {})}


def configure(stream: TextIO | TextIOBase = sys.stderr, *, mask: Callable[[str], str], level: str = "info",
              parts: Mapping[str, str | None] | None = None, base: Mapping[str, str | int] | None = None) -> None:
    """Send all log lines of this process to `stream`.

    mask: masks secrets in every log line. level: log level of the whole program. parts: log levels of single parts, such as
    mail="debug", which override `level`; None removes the level of a part. base: fields that every log line of this process has.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Masked(Lines(base or {}) if stream.isatty() else JsonLines(base or {}, mask), mask))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    for part, own in (parts or {}).items():
        logging.getLogger(_OTHERS.get(part, f"pipeline.{part}")).setLevel(own.upper() if own else logging.NOTSET)


def mask_last_resort(mask: Callable[[str], str]) -> None:
    """Mask secrets in the warnings that the logging module prints if `configure` was never called."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(Masked(logging.Formatter(), mask))
