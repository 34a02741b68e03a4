"""Archived pages for tests of what becomes of them, and the proof that files, indexes and rows agree."""

from __future__ import annotations

import gzip
import hashlib
import io
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipeline.archive.format import cdxj
from pipeline.archive.format.redaction import Redaction
from pipeline.archive.writing.part_file import ClosedSegment
from pipeline.archive.writing.segment import SegmentWriter
from pipeline.archive_names import token_of
from pipeline.model import Exchange
from pipeline.settings import Settings, load
from pipeline.store import Store
from pipeline.store.files import archive_files

NOW = datetime(2026, 12, 31, 10, tzinfo=UTC)
YESTERDAY = NOW - timedelta(days=1)


def settings_of(folder: Path, archive: str = "", *, keep_free: str = "1MB") -> Settings:
    """archive: lines of the table [archive]."""
    (folder / "settings.toml").write_text(f'[pipeline]\nkeep_free = "{keep_free}"\n[spiders.shop]\nstart = "https://shop.example/"\narchive = true\n[archive]\n{archive}\n')
    return load(folder / "settings.toml")


def exchange(url: str, at: datetime, body: bytes = b"") -> Exchange:
    return Exchange(url=url, at=at, method="GET", request_headers=((b"Host", b"shop.example"),), request_body=b"", status=200, reason=b"OK",
                    response_headers=((b"Content-Type", b"text/html"),), body=body or f"<p>{url}".encode())


def written(store: Store, names: str, at: datetime, *, spider: str = "shop", run_id: int = 1, closed: bool = True) -> list[ClosedSegment]:
    """Archive a page for each letter in one segment. closed: False leaves the part of a writer that was killed."""
    writer = SegmentWriter(store.data_dir / "archive" / spider / "segments", spider, run_id=run_id, redaction=Redaction())
    writer.write([[exchange(f"https://{spider}.example/{name}", at)] for name in names], at)
    if closed:
        return writer.close()
    writer._part.abandon()  # type: ignore[union-attr]
    return []


def pages(store: Store, spider: str = "shop") -> Counter[str]:
    """Return the letters of all pages that a lookup finds, and how often."""
    found: Counter[str] = Counter()
    for row in archive_files.files_of(store, spider):
        warc = store.files.local(row.key).read_bytes()
        assert (len(warc), hashlib.sha256(warc).hexdigest()) == (row.size_bytes, row.sha256), row.key
        lines = store.files.local(row.index_key).read_bytes().splitlines(keepends=True)
        assert lines == sorted(lines)
        for entry in map(cdxj.parse, lines):
            member = gzip.GzipFile(fileobj=io.BytesIO(warc[entry.offset:entry.offset + entry.length])).read()
            assert f"WARC-Target-URI: {entry.url}\r\n".encode() in member
            found[entry.url.rpartition("/")[2]] += 1
    return found


def files_without_row(store: Store, objects: Sequence[str] = ()) -> list[str]:
    """Return the keys of the files and objects of the archive that belong to nothing. objects: the keys in the object store."""
    rows = archive_files.files_of(store)
    known = {key for row in rows for key in (row.key, row.index_key, *([token_of(row.key)] if row.timestamp_key else []))}
    on_disk = [path.relative_to(store.data_dir).as_posix() for path in (store.data_dir / "archive").rglob("*") if path.is_file()]
    local = [key for key in on_disk if not key.endswith("housekeeping.lock") and "originals.sqlite3" not in key]
    return sorted(key for key in (*(local if not store.files.is_remote else [key for key in local if key.endswith(".warc.gz")]), *objects) if key not in known)


def merged_and_segments(store: Store) -> tuple[list[str], int]:
    """Return the names of the day files, and the number of segments."""
    rows = archive_files.files_of(store)
    return [row.key.rpartition("/")[2] for row in rows if row.state == "day"], sum(row.state == "segment" for row in rows)
