"""Closes archive files whose process was killed, and describes closed ones from their records."""

from __future__ import annotations

import fcntl
import logging
import os
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, BinaryIO

from pipeline.archive.errors import RecordError
from pipeline.archive.format import cdxj
from pipeline.archive.format.http_block import parse
from pipeline.archive.format.members import StoredRecord, records_of
from pipeline.archive.format.records import time_of
from pipeline.archive.writing.originals import forget
from pipeline.archive.writing.part_file import ClosedSegment, day_and_run, write_index
from pipeline.archive_names import INDEX, PART, WARC, index_of
from pipeline.atomic_write import replace_file, sync_folder

_MEMBER = b"\x1f\x8b\x08"
"""How a gzip member begins (RFC 1952, 2.3)."""
_SEARCHED = 64 * 1024 * 1024
_IN_MEMORY = 8 * 1024 * 1024
"""Bytes of an index that is made; of a larger one, the rest is in a temporary file."""

logger = logging.getLogger(__name__)


def unfinished(folder: Path) -> list[Path]:
    """Return the parts in a folder of segments, also those that a process still writes. An index without its part is deleted."""
    parts = sorted(folder.glob(f"*{WARC}{PART}"))
    for index in folder.glob(f"*{INDEX}{PART}"):
        if not index.with_name(index.name.removesuffix(INDEX + PART) + WARC + PART).exists():
            index.unlink(missing_ok=True)
    return parts


def repair(part: Path) -> ClosedSegment | None:
    """Close a part that no process writes any more: cut it after its last whole record, and make its index from the records.

    Return None if a process still writes it, or if it contains no page: then it is deleted. Can be repeated after a kill at any line.
    Raises OSError.
    """
    try:
        file = part.open("r+b")
    except FileNotFoundError:
        return None  # closed meanwhile
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        if not part.exists() or not os.path.samestat(os.fstat(file.fileno()), part.stat()):
            return None
        with SpooledTemporaryFile(_IN_MEMORY, dir=str(part.parent)) as lines:
            return _repaired(part, file, lines)


def describe(path: Path, index_path: Path) -> ClosedSegment:
    """Return what a closed file contains, computed from its records. A missing index is made.

    Raises RecordError if the file is damaged, or OSError.
    """
    with path.open("rb") as file, SpooledTemporaryFile(_IN_MEMORY, dir=str(path.parent)) as lines:
        found = whole_records(file, path.name, lines)
        if found.damage is not None:
            raise found.damage
        if not index_path.exists():
            write_index(index_path, _from_beginning(lines))
            sync_folder(index_path.parent)
        return found.closed(path, index_path, file)


def _repaired(part: Path, file: BinaryIO, lines: IO[bytes]) -> ClosedSegment | None:
    path = part.with_suffix("")
    index_path = path.with_name(index_of(path.name))
    found = whole_records(file, path.name, lines)
    if found.damage is not None:
        cut = os.fstat(file.fileno()).st_size - found.size
        logger.warning("The archive file %s is cut after its last whole record; %d bytes are removed: %s", path.name, cut, found.damage.what)
        forget(part.parent)  # originals may be among the removed records
        _keep_later_records(path, file, found.size)
    if found.records <= 1:  # only the record that describes the file
        part.unlink()
    else:
        os.ftruncate(file.fileno(), found.size)
        os.fsync(file.fileno())
        write_index(index_path, _from_beginning(lines))
        part.rename(path)
    index_path.with_name(index_path.name + PART).unlink(missing_ok=True)
    sync_folder(part.parent)
    return found.closed(path, index_path, file) if found.records > 1 else None


def _keep_later_records(path: Path, file: BinaryIO, start: int) -> None:
    """Copy what is cut off to a file beside it, if there is a whole record in it: then the damage is not the end of a killed process."""
    file.seek(start)
    tail = file.read(_SEARCHED)
    at = tail.find(_MEMBER, 1)
    while at >= 0:
        if whole_records(BytesIO(tail[at:]), path.name, BytesIO()).records:
            damaged = path.with_name(f"{path.name}.damaged")
            logger.error("The archive file %s is damaged at byte %d, and has whole records after that: the rest is kept as %s.", path.name, start, damaged.name)
            file.seek(start)
            replace_file(damaged, file.read())
            return
        at = tail.find(_MEMBER, at + 1)


def _from_beginning(lines: IO[bytes]) -> IO[bytes]:
    lines.seek(0)
    return lines


def whole_records(file: BinaryIO, name: str, lines: IO[bytes]) -> Contents:
    """Return what the records of a file say about it, up to the first one that is not whole.

    lines: where their index is written to, in the order of the records. name: the file name in it.
    """
    found = Contents(name, lines)
    try:
        for record in records_of(file):
            found.add(record)
    except RecordError as error:
        found.damage = error
    return found


@dataclass
class Contents:
    """What the records of a file say about it. size: end of the last whole record. damage: why the next one is not whole."""

    name: str
    lines: IO[bytes]
    records: int = 0
    size: int = 0
    spider: str = ""
    day: str = ""
    oldest: str = "9999"
    damage: RecordError | None = None

    def add(self, record: StoredRecord) -> None:
        self.records += 1
        self.size = record.offset + record.length
        if record.kind == "warcinfo":
            self.spider = self.spider or _field(record.block, "isPartOf")
            self.day = self.day or record.headers.get("warc-date", "")[:10]
        if refers := record.headers.get("warc-refers-to-date"):
            self.oldest = min(self.oldest, refers[:10])
        if line := line_of(record):
            self.lines.write(cdxj.line(line, record.offset, record.length, self.name))

    def closed(self, path: Path, index_path: Path, file: BinaryIO) -> ClosedSegment:
        day, run_id = day_and_run(path)
        day = day or self.day
        file.seek(0)
        digest = sha256()
        for piece in iter(lambda: file.read(1024 * 1024), b""):
            digest.update(piece)
        return ClosedSegment(path, index_path, self.spider, day, run_id, records=self.records, size_bytes=self.size,
                             sha256=digest.hexdigest(), oldest_day=min(self.oldest, day))


def line_of(record: StoredRecord) -> cdxj.Line | None:
    """Return what the index says about a record; None if it has no line. The same as the writer of the record says."""
    headers = record.headers
    url, digest = headers.get("warc-target-uri", ""), headers.get("warc-payload-digest", "")
    if record.kind not in {"response", "revisit", "resource"} or not url:
        return None
    at = time_of(headers["warc-date"])
    if record.kind == "resource":
        return cdxj.Line(url, at, cdxj.mime(headers.get("content-type", "").encode()), None, digest)
    status = parse(record.block).status if record.block else None
    method = headers.get("warc-request-method", "GET")
    if record.kind == "revisit":
        return cdxj.Line(url, at, cdxj.REVISIT, status, digest, method)
    if status == 304 or method == "HEAD":
        return None
    content_type = {name.lower(): value for name, value in parse(record.block).headers}.get(b"content-type", b"")
    return cdxj.Line(url, at, cdxj.mime(content_type), status, digest, method)


def _field(block: bytes, name: str) -> str:
    for line in block.decode("utf-8", "replace").splitlines():
        if line.startswith(f"{name}: "):
            return line.removeprefix(f"{name}: ")
    return ""

