"""Archives with pages, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pipeline.archive.writing.day_file import merge
from pipeline.model import Exchange
from pipeline.store import Store
from pipeline.store.files.archive_files import DAY, SEGMENT, ArchiveFile, NewFile, add, files_of, replace_by_day
from tests.archive.exchanges import segment


def add_segment(store: Store, *pages: Sequence[Exchange], now: datetime, spider: str = "books", **options: object) -> ArchiveFile:
    """Archive pages as one process does, and return the file."""
    closed = segment(store.files.root / "archive" / spider / "segments", *pages, now=now, **options)
    key, index_key = (path.relative_to(store.files.root).as_posix() for path in (closed.path, closed.index_path))
    index_bytes = closed.index_path.stat().st_size
    for path, own in ((closed.path, key), (closed.index_path, index_key)):
        if store.files.is_remote:
            store.files.write(own, path.read_bytes())
            path.unlink()
    add(store, NewFile(spider, closed.day, SEGMENT, key, index_key, closed.size_bytes, index_bytes, closed.records, closed.sha256, closed.oldest_day), now=now)
    return next(file for file in files_of(store, spider) if file.key == key)


def close_day(store: Store, day: str, *, now: datetime, spider: str = "books") -> ArchiveFile:
    """Merge the segments of a day, as the service does after the day, and return the file."""
    root = store.files.root
    segments = files_of(store, spider, first_day=day, last_day=day, state=SEGMENT)
    key = f"archive/{spider}/{day}.warc.gz"
    index_key = key.replace(".warc.gz", ".cdxj")
    merged = merge([(root / each.key, root / each.index_key) for each in segments], root / key, root / index_key)
    replace_by_day(store, segments, NewFile(spider, day, DAY, key, index_key, merged.size_bytes, (root / index_key).stat().st_size, merged.records, merged.sha256, min(
        each.oldest_day for each in segments)), now=now)
    return next(file for file in files_of(store, spider) if file.key == key)
