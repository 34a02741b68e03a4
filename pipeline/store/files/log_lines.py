"""Read the lines of a run's log: page by page from its end, or as the run writes them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

LEVELS = ("debug", "info", "warning", "error", "critical")
PAGE_BYTES = 8 << 20
"""How much of a log one page of lines is looked for in."""
_CHUNK_BYTES = 64 << 10
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
    except (ValueError, KeyError, TypeError, RecursionError):
        return LogLine(None, "", line)


class _OpenLog:
    """The files of a log as one text, opened at one moment: a file that reached its size limit and was renamed, then the current file."""

    def __init__(self, paths: Sequence[Path], stack: ExitStack) -> None:
        """paths: the oldest file first. They are opened in the other order, so that no file is missed when one is renamed meanwhile."""
        self.files: list[BinaryIO] = []
        self.inodes: list[int] = []
        self.sizes: list[int] = []
        for path in reversed(paths):
            with suppress(FileNotFoundError):
                file = stack.enter_context(path.open("rb"))
                status = os.fstat(file.fileno())
                if status.st_ino not in self.inodes:
                    self.files.insert(0, file)
                    self.inodes.insert(0, status.st_ino)
                    self.sizes.insert(0, status.st_size)

    @property
    def size(self) -> int:
        return sum(self.sizes)

    def place(self, offset: int) -> tuple[int, int]:
        """Return the number of the file with this byte of the log, and the offset in the file; the end of the last file if there is none."""
        for number, size in enumerate(self.sizes):
            if offset < size or number == len(self.sizes) - 1:
                return number, min(offset, size)
            offset -= size
        return 0, 0

    def read(self, begin: int, end: int) -> bytes:
        parts = []
        before = 0
        for file, size in zip(self.files, self.sizes, strict=True):
            first, last = max(begin - before, 0), min(end - before, size)
            if first < last:
                file.seek(first)
                parts.append(file.read(last - first))
            before += size
        return b"".join(parts)


@dataclass(frozen=True)
class LogPage:
    """Some lines of a log, the oldest first. begin, end: the bytes of the log that were examined; begin is 0 if there is nothing before them."""

    lines: list[LogLine]
    begin: int
    end: int


def page_before(paths: Sequence[Path], *, before: int | None = None, limit: int = 200, wanted: Callable[[LogLine], bool] = lambda line: True,
                ended: bool = False, max_bytes: int | None = PAGE_BYTES) -> LogPage:
    """Return the last lines that end at or before the byte `before` of the log, at most `limit`; None means the end of the log.

    paths: the files of the log, the oldest first. wanted: which lines count. ended: whether nobody writes the log any more: a last line
    without a newline is a whole line then, and not one that is being written. max_bytes: how much of the log is examined, so a page may
    have fewer lines than `limit` although there are more; None means all of it.
    """
    lines: list[LogLine] = []
    with ExitStack() as stack:
        log = _OpenLog(paths, stack)
        begin = end = _end_of_line(log, min(before if before is not None else log.size, log.size), ended=ended)
        for start, text in _lines_backwards(log, end):
            begin = start
            line = parse(text.decode("utf-8", "replace"))
            if line.text.strip() and wanted(line):
                lines.append(line)
            if len(lines) >= limit or (max_bytes is not None and end - begin >= max_bytes):
                break
    return LogPage(lines[::-1], begin, end)


def page_after(paths: Sequence[Path], after: int, *, limit: int = 200, wanted: Callable[[LogLine], bool] = lambda line: True,
               ended: bool = False) -> LogPage:
    """Return the first lines that begin at or after the byte `after` of the log, at most `limit`. See page_before.

    The end of the page is where the next one begins. If the log has become shorter, because its oldest file was deleted, it is read from
    its beginning.
    """
    lines: list[LogLine] = []
    with ExitStack() as stack:
        log = _OpenLog(paths, stack)
        begin = end = after if after <= log.size else 0
        data = log.read(begin, min(begin + PAGE_BYTES, log.size))
        whole, newline, rest = data.rpartition(b"\n")
        is_whole = ended and begin + len(data) == log.size  # otherwise, the rest is a part of a line that is being written, or of the next page
        if (rest and is_whole) or (not newline and len(data) >= PAGE_BYTES):
            whole = data
        for text in whole.split(b"\n") if whole or newline else ():
            if len(lines) >= limit:
                break
            end = min(end + len(text) + 1, begin + len(data))
            line = parse(text.decode("utf-8", "replace"))
            if line.text.strip() and wanted(line):
                lines.append(line)
    return LogPage(lines, begin, end)


def _end_of_line(log: _OpenLog, at: int, *, ended: bool) -> int:
    """Return the end of the last whole line before the byte `at`, after its newline."""
    if ended and at == log.size:
        return at
    while at > 0:
        begin = max(0, at - _CHUNK_BYTES)
        found = log.read(begin, at).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        at = begin
    return 0


def _lines_backwards(log: _OpenLog, end: int) -> Iterator[tuple[int, bytes]]:
    """Yield the lines before the byte `end`, the last one first, each with the offset at which it begins. Very long lines are cut."""
    at = end - 1 if end and log.read(end - 1, end) == b"\n" else end
    if not end:
        return
    rest = b""
    while at > 0:
        begin = max(0, at - _CHUNK_BYTES)
        first, *others = (log.read(begin, at) + rest).split(b"\n")
        stop = at + len(rest)
        for line in reversed(others):
            yield stop - len(line), line
            stop -= len(line) + 1
        if len(first) > _MAX_READ_BYTES:
            yield begin, first
            first = b""
        rest, at = first, begin
    yield 0, rest


class LogReader:
    """Reads a log as it is written, and continues where it was, also when the file was renamed because it reached its size limit.

    paths: the files of the log, the oldest first. after: the byte of the log at which to begin.
    """

    def __init__(self, paths: Sequence[Path], *, after: int = 0) -> None:
        self._paths = paths
        self._after = after
        self._inode: int | None = None
        self._offset = 0
        self.position = after
        """The byte of the log up to which it was read."""

    def read(self, *, ended: bool = False) -> Iterator[LogLine]:
        """Yield the whole lines that were written since the last call; none if there is no file yet.

        ended: whether nobody writes the log any more: a last line without a newline is a whole line then.
        """
        with ExitStack() as stack:
            log = _OpenLog(self._paths, stack)
            if not log.files:
                return
            first, offset = self._place(log)
            for number in range(first, len(log.files)):
                yield from self._lines_of(log, number, offset if number == first else 0, ended=ended or number < len(log.files) - 1)

    def _place(self, log: _OpenLog) -> tuple[int, int]:
        if self._inode is None:
            return log.place(self._after)
        if self._inode not in log.inodes:
            return 0, 0
        number = log.inodes.index(self._inode)
        return number, self._offset if self._offset <= log.sizes[number] else 0  # the file was replaced by a shorter one

    def _lines_of(self, log: _OpenLog, number: int, offset: int, *, ended: bool) -> Iterator[LogLine]:
        file = log.files[number]
        self._inode, self._offset = log.inodes[number], offset
        while True:
            file.seek(offset)
            data = file.read(_MAX_READ_BYTES)
            whole, newline, _ = data.rpartition(b"\n")
            if not newline and data and (ended or len(data) == _MAX_READ_BYTES):
                whole = data
            if not whole and not newline:
                break
            offset += len(whole) + len(newline)
            self._offset, self.position = offset, sum(log.sizes[:number]) + offset
            for line in whole.decode("utf-8", "replace").split("\n"):
                yield parse(line)
