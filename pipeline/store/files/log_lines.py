"""Read the lines of a run's log, also while the run is writing them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

LEVELS = ("debug", "info", "warning", "error", "critical")
_MAX_READ_BYTES = 4 << 20


@dataclass(frozen=True)
class LogLine:
    """A line of a log. at: None for text that is not in the format of the log, which is the message then."""

    at: datetime | None
    level: str
    message: str
    traceback: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The message and the lines of the traceback."""
        return "\n".join((self.message, *self.traceback))

    def is_at_least(self, level: str) -> bool:
        """Return whether the line has this level or a higher one. Text in another format, such as a traceback of C code, always does."""
        return self.at is None or self.level not in LEVELS or LEVELS.index(self.level) >= LEVELS.index(level)


def parse(line: str) -> LogLine:
    """Return a line of a JSON log (see pipeline.logs.JsonLines)."""
    try:
        found = json.loads(line)
        return LogLine(datetime.fromisoformat(found["time"]), str(found.get("level", "")), str(found["message"]),
                       tuple(str(found.get("traceback", "")).splitlines()))
    except (ValueError, KeyError, TypeError):
        return LogLine(None, "", line)


class LogReader:
    """Reads a log from the beginning or from near its end, and continues where it was."""

    def __init__(self, path: Path, *, last_bytes: int | None = None) -> None:
        """last_bytes: skip everything before the last so many bytes, and the rest of the line there; None begins with the first line."""
        self._path = path
        self._last_bytes = last_bytes
        self._at: int | None = None

    def read(self) -> list[LogLine]:
        """Return the whole lines that were written since the last call; none if there is no file yet."""
        lines: list[LogLine] = []
        try:
            with self._path.open("rb") as file:
                begin = self._begin(file.seek(0, os.SEEK_END))
                file.seek(begin)
                while data := file.read(_MAX_READ_BYTES):
                    whole, newline, _ = data.rpartition(b"\n")
                    if not newline and len(data) < _MAX_READ_BYTES:
                        break
                    whole = whole if newline else data
                    lines += [parse(line) for line in whole.decode("utf-8", "replace").split("\n")]
                    begin += len(whole) + len(newline)
                    file.seek(begin)
                self._at = begin
        except FileNotFoundError:
            return []
        return lines

    def _begin(self, size: int) -> int:
        if self._at is not None:
            return self._at if self._at <= size else 0  # the file was replaced by a shorter one
        if self._last_bytes is None or size <= self._last_bytes:
            return 0
        with self._path.open("rb") as file:
            file.seek(size - self._last_bytes)
            return size - self._last_bytes + len(file.readline())
