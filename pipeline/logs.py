"""Log lines: for people on a terminal, as JSON elsewhere; secrets masked, scraped control characters shown.

What a line is about (which run, which digest) is said once, by `about`, and stands in every line written within it.
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
"""Parts whose loggers are not called pipeline.PART."""


@contextmanager
def about(**what: str | int) -> Iterator[None]:
    """Put run=…, spider=… into every line written inside, also in the tasks and threads started there."""
    token = _ABOUT.set({**_ABOUT.get({}), **what})
    try:
        yield
    finally:
        _ABOUT.reset(token)


class Masked(logging.Formatter):
    """Formats as `inner` does, then makes it printable and masks it."""

    def __init__(self, inner: logging.Formatter, mask: Callable[[str], str]) -> None:
        super().__init__()
        self._inner = inner
        self._mask = mask

    def format(self, record: logging.LogRecord) -> str:
        return self._mask(escape_controls(self._inner.format(record)))


class Lines(logging.Formatter):
    """Time, how bad it is, and the message; its run, where the message does not say. More lines of one message are
    indented, so that no scraped text looks like a line of ours. base: what all lines of this process are about."""

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
    """One JSON object a line: time (UTC), level, part, run and spider where there are, message, and the traceback.
    base: what all lines of this process are about. mask: also what is JSON in a message is masked before it is JSON in
    JSON."""

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
    """What a line is about: its process, where it was written, and its own word (`extra={"about": …}`)."""
    return {**base, **_ABOUT.get({}), **getattr(record, "about", {})}


def configure(stream: TextIO | TextIOBase = sys.stderr, *, mask: Callable[[str], str], level: str = "info",
              parts: Mapping[str, str | None] | None = None, base: Mapping[str, str | int] | None = None) -> None:
    """Send all log lines of this process to `stream`. parts: levels of parts that differ, such as mail="debug"; None:
    it no longer does; base: what every line of this process is about."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Masked(Lines(base or {}) if stream.isatty() else JsonLines(base or {}, mask), mask))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    for part, own in (parts or {}).items():
        logging.getLogger(_OTHERS.get(part, f"pipeline.{part}")).setLevel(own.upper() if own else logging.NOTSET)
