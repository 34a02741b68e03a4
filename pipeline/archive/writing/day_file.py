"""Puts the segments of one spider and day together: one file of gzip members, and one sorted index."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from pipeline.archive.errors import ArchiveError
from pipeline.archive.format import cdxj
from pipeline.archive.writing.part_file import write_index
from pipeline.archive.writing.repair import describe
from pipeline.archive_names import PART
from pipeline.atomic_write import sync_folder

_PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True)
class DayFile:
    """The archive of one spider and day. oldest_day: see ClosedSegment."""

    path: Path
    index_path: Path
    records: int
    size_bytes: int
    sha256: str
    oldest_day: str


def merge(segments: Sequence[tuple[Path, Path]], target: Path, target_index: Path) -> DayFile:
    """Write the records of closed segments to `target`, in this order, and their sorted index to `target_index`.

    segments: path and index of each. The same segments make the same files. Both files appear by a rename after they were synced, the
    index first. Raises ArchiveError if a segment is damaged, or OSError.
    """
    contents = [describe(path, index) for path, index in segments]
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = target.with_name(target.name + PART)
    digest, size = sha256(), 0
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        for each in contents:
            with each.path.open("rb") as file:
                for piece in iter(lambda: file.read(_PIECE_BYTES), b""):
                    digest.update(piece)
                    out.write(piece)
                    size += len(piece)
        out.flush()
        os.fsync(out.fileno())
    if size != sum(each.size_bytes for each in contents):
        raise ArchiveError("a segment has changed while it was read", where=str(target), retry=True)
    write_index(target_index, _lines([(each.index_path, each.size_bytes) for each in contents], target.name))
    os.rename(part, target)
    sync_folder(target.parent)
    return DayFile(target, target_index, records=sum(each.records for each in contents), size_bytes=size, sha256=digest.hexdigest(),
                   oldest_day=min(each.oldest_day for each in contents))


def _lines(indexes: Sequence[tuple[Path, int]], name: str) -> Iterator[bytes]:
    """Yield the lines of several indexes with the offsets that their records have in one file. indexes: path, and size of the segment."""
    offset = 0
    for path, size in indexes:
        with path.open("rb") as lines:
            for line in lines:
                yield cdxj.moved(line, offset, name)
        offset += size
