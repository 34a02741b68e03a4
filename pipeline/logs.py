"""Log formats: plain lines on a terminal, JSON lines elsewhere; secrets masked, controls escaped.

`about` adds the run or the digest to all log lines that are written inside its with block.
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
"""Logger names of the parts whose loggers are not named pipeline.PART."""


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
    """Plain log lines: time, level, message, and the run unless the message names it.

    Further lines of a message are indented, so that scraped text cannot look like a log line. base: fields of all log lines of this
    process.
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
    """JSON log lines: time (UTC), level, part, run and spider if known, message, and traceback.

    base: fields of all log lines of this process. mask: masks secrets in the message and the traceback before these are encoded as
    JSON, because a message may contain JSON itself.
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
    """Return the fields of a log line: of its process, of `about`, and of the call (`extra={"about": …}`)."""
    return {**base, **_ABOUT.get({}), **getattr(record, "about", {})}


def configure(stream: TextIO | TextIOBase = sys.stderr, *, mask: Callable[[str], str], level: str = "info",
              parts: Mapping[str, str | None] | None = None, base: Mapping[str, str | int] | None = None) -> None:
    """Send all log lines of this process to `stream`.

    parts: log levels of single parts, such as mail="debug"; None resets the level of a part. base: fields of all log lines of this
    process.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Masked(Lines(base or {}) if stream.isatty() else JsonLines(base or {}, mask), mask))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    for part, own in (parts or {}).items():
        logging.getLogger(_OTHERS.get(part, f"pipeline.{part}")).setLevel(own.upper() if own else logging.NOTSET)


def mask_last_resort(mask: Callable[[str], str]) -> None:
    """Mask the warnings that logging itself prints to stderr in a process that does not call `configure`."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(Masked(logging.Formatter(), mask))
