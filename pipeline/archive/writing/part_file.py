"""A file of the archive while it is written, with its index: whole records, synced, then renamed."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import Self

from pipeline.archive.format import cdxj
from pipeline.archive.format.records import Written
from pipeline.archive_names import INDEX, PART, WARC
from pipeline.atomic_write import sync_folder

_WRITTEN_AT_ONCE = 1024 * 1024
_NAME = re.compile(r"(\d{4}-\d\d-\d\d)-\d{6}(?:-r(\d+))?-[0-9a-f]{12}(?:-spool)?")


@dataclass(frozen=True)
class ClosedSegment:
    """A segment that no process writes any more.

    day: the day (UTC) on which it was begun, as YYYY-MM-DD. run_id: None if it is unknown. records: number of records, with the first one,
    which describes the file. oldest_day: day of the oldest record to which a revisit record of it refers; `day` if there is none.
    """

    path: Path
    index_path: Path
    spider: str
    day: str
    run_id: int | None
    records: int
    size_bytes: int
    sha256: str
    oldest_day: str


def day_and_run(path: Path) -> tuple[str, int | None]:
    """Return the day and the run in the name of a segment; ("", None) for another name."""
    found = _NAME.fullmatch(path.name.removesuffix(PART).removesuffix(WARC))
    return (found[1], int(found[2]) if found[2] else None) if found else ("", None)


class PartFile:
    """A part file and its index. The part is locked while this object lives. Errors are OSError."""

    def __init__(self, folder: Path, name: str, warc: int, index: int) -> None:
        """warc, index: file descriptors. Use `create`."""
        self.path = folder / (name + WARC + PART)
        self._index_path = folder / (name + INDEX + PART)
        self._name = name
        self._warc = warc
        self._index = index
        self.size = 0
        self._index_size = 0
        self._records = 0
        self._oldest_day = day_and_run(self.path)[0]
        self._sha256 = sha256()
        self.is_broken = False
        """Whether a failed batch could not be removed from the end of the files, so that nothing can be appended any more."""

    @classmethod
    def create(cls, folder: Path, name: str) -> Self:
        """Create the files. The part is locked before it has its name, so that `repair` never takes a new one for an abandoned one."""
        path = folder / (name + WARC + PART)
        temporary = folder / f".{path.name}.{os.getpid()}-{token_hex(4)}.tmp"
        warc = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(warc, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.rename(temporary, path)
            index = os.open(folder / (name + INDEX + PART), os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        except BaseException:
            for each in (temporary, path):
                each.unlink(missing_ok=True)
            os.close(warc)
            raise
        return cls(folder, name, warc, index)

    def append(self, records: Iterable[Written]) -> None:
        """Append records and their lines of the index, and sync the records. If this fails, nothing of them remains."""
        before = (self.size, self._index_size, self._records, self._oldest_day, self._sha256.copy())
        lines: list[bytes] = []
        waiting = bytearray()  # fewer system calls: each lets another thread run, and takes long to come back if that one computes
        try:
            for written in records:
                if written.line is not None:
                    lines.append(cdxj.line(written.line, self.size, len(written.member), self._name + WARC))
                if written.refers_to is not None:
                    self._oldest_day = min(self._oldest_day, utc_day(written.refers_to))
                self.size += len(written.member)
                self._records += 1
                waiting += written.member
                if len(waiting) >= _WRITTEN_AT_ONCE:
                    self._write(waiting)
                    waiting.clear()
            self._write(waiting)
            os.fsync(self._warc)
            self._index_size += _write(self._index, b"".join(lines))
        except BaseException:
            self.size, self._index_size, self._records, self._oldest_day, self._sha256 = before
            try:
                self._cut()
            except OSError:
                self.is_broken = True
            raise

    def clear(self) -> None:
        """Remove all records. A disk error is ignored: what remains is only a record too many."""
        self.size = self._index_size = self._records = 0
        self._sha256 = sha256()
        with suppress(OSError):
            self._cut()

    def close(self, spider: str) -> ClosedSegment:
        """Sync and rename both files. The index is sorted. The index gets its name first: a part always needs its index made again."""
        os.fsync(self._warc)
        path, index_path = self.path.with_suffix(""), self._index_path.with_suffix("")
        with os.fdopen(os.dup(self._index), "rb") as lines:
            lines.seek(0)
            write_index(index_path, lines)
        os.rename(self.path, path)
        self._index_path.unlink(missing_ok=True)
        sync_folder(path.parent)
        closed = ClosedSegment(path, index_path, spider, *day_and_run(path), records=self._records, size_bytes=self.size,
                               sha256=self._sha256.hexdigest(), oldest_day=self._oldest_day)
        self.abandon()
        return closed

    def remove(self) -> None:
        """Delete both files."""
        self.path.unlink(missing_ok=True)
        self._index_path.unlink(missing_ok=True)
        self.abandon()

    def abandon(self) -> None:
        """Leave the files as they are, and unlock the part, so that `repair` closes it."""
        for descriptor in (self._warc, self._index):
            with suppress(OSError):
                os.close(descriptor)

    def _write(self, data: bytearray) -> None:
        self._sha256.update(data)
        _write(self._warc, data)

    def _cut(self) -> None:
        """Shorten the files to the records that count."""
        for descriptor, size in ((self._warc, self.size), (self._index, self._index_size)):
            os.ftruncate(descriptor, size)
            os.lseek(descriptor, size, os.SEEK_SET)


def write_index(path: Path, lines: Iterable[bytes]) -> None:
    """Write a sorted index to a temporary file, sync it and rename it to `path`. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{token_hex(4)}.tmp")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            cdxj.write_sorted(lines, file, path.parent)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _write(descriptor: int, data: bytes | bytearray) -> int:
    """Write all bytes, and return their number. Raises OSError."""
    done = 0
    with memoryview(data) as view:
        while done < len(data):
            done += os.write(descriptor, view[done:])
    return done


def utc_day(at: datetime) -> str:
    """Return a time's day in UTC, as YYYY-MM-DD."""
    return f"{at.astimezone(UTC):%Y-%m-%d}"
