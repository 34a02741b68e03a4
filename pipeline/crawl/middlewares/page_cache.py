"""The page cache: the last response of each page of one spider, in an SQLite file.

The file may be deleted at any time. The next run then fetches every page in full.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backports import zstd

MAX_UNWRITTEN = 16
"""The maximum number of pages written in one transaction. A kill of the process loses the pages not yet written."""
MAX_UNWRITTEN_BYTES = 4 * 10**6
_BUSY_S = 2.0
_SLACK = 1.25
"""The limit of the file size during a run, as a multiple of max_bytes. At the end of the run, pages are removed to meet max_bytes."""
_MIN_PACKED = 512
_REMOVE_UNUSED = "DELETE FROM pages WHERE used_at < ?"
_REMOVE_OLDEST = """DELETE FROM pages WHERE url IN (
    SELECT url FROM (SELECT url, sum(length(body) + length(head)) OVER (ORDER BY used_at DESC, url) AS total FROM pages)
    WHERE total > ?)"""
_SIDE_FILES = ("", "-wal", "-shm")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CachedPage:
    """A response as it was received.

    varied: a hash of the request headers that the response names in its Vary header. The page is only used for a request with the
    same hash.
    """

    headers: list[tuple[str, str]]
    varied: str
    body: bytes = b""


class PageCache:
    """Stores the pages of one spider in an SQLite file, compressed with zstd, several in one transaction.

    If the file is not writable, nothing is stored. Several processes may use one file, but only one thread of each process.
    max_bytes: the limit for the total size of the stored pages. When the file is full, no page is added, and `left_out` counts
    the pages that were not added. Cached pages are not removed during the run, because the run may still request them.
    """

    def __init__(self, file: Path, max_bytes: int) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._full = False
        self.left_out = 0
        self._unwritten: dict[str, CachedPage] = {}
        self._unwritten_bytes = 0
        self._used: set[str] = set()
        self._lock = threading.Lock()  # the prune at the end of the run is called in another thread
        self._compressor = zstd.ZstdCompressor()  # creating a compressor takes longer than compressing a page
        self._database = self._opened() or self._opened(anew=True)

    def head(self, url: str) -> CachedPage | None:
        """Return a cached page without its body; None if the page is not in the cache."""
        if (kept := self._unwritten.get(url)) is not None:
            return kept
        row = self._first("SELECT head FROM pages WHERE url = ?", url)
        return None if row is None else _kept(row[0])

    def get(self, url: str) -> CachedPage | None:
        """Return a cached page; None if the page is not in the cache or is damaged."""
        if (kept := self._unwritten.get(url)) is not None:
            return kept
        row = self._first("SELECT head, crc, body, packed FROM pages WHERE url = ?", url)
        if row is None or zlib.crc32(row[2]) != row[1]:
            return None
        return _kept(row[0], zstd.decompress(row[2]) if row[3] else row[2])

    def put(self, url: str, kept: CachedPage) -> None:
        if self._full and self.head(url) is None:
            self.left_out += 1
            return
        self._unwritten[url] = kept
        self._unwritten_bytes += len(kept.body)
        if len(self._unwritten) >= MAX_UNWRITTEN or self._unwritten_bytes >= MAX_UNWRITTEN_BYTES:
            self.flush()

    def touch(self, url: str) -> None:
        """Mark a page as used now, so that prune() removes other pages first."""
        self._used.add(url)
        if len(self._used) >= 4 * MAX_UNWRITTEN:
            self.flush()

    def flush(self) -> None:
        """Write the pages that were added or marked as used since the last flush to the file."""
        now = time.time()
        pages = [(url, json.dumps([kept.headers, kept.varied]), zlib.crc32(body), now, body, body is not kept.body)
                 for url, kept, body in ((url, kept, self._packed(kept.body)) for url, kept in self._unwritten.items())]
        used = [(now, url) for url in self._used]
        self._unwritten, self._unwritten_bytes, self._used = {}, 0, set()
        self._write([("INSERT OR REPLACE INTO pages (url, head, crc, used_at, body, packed) VALUES (?, ?, ?, ?, ?, ?)", pages),
                     ("UPDATE pages SET used_at = ? WHERE url = ?", used)])
        self._full = bool(pages) and self._size_bytes() > _SLACK * self._max_bytes

    def prune(self, max_age_s: float, now_s: float) -> None:
        """Remove the pages that were not used for max_age_s seconds.

        If the other pages exceed max_bytes, remove the least recently used pages too.
        """
        self.flush()
        self._write([(_REMOVE_UNUSED, [(now_s - max_age_s,)]), (_REMOVE_OLDEST, [(self._max_bytes,)])])

    def close(self) -> None:
        self.flush()
        if self._database is not None:
            self._database.close()
            self._database = None

    def _packed(self, body: bytes) -> bytes:
        """Return the compressed body, or the body itself if it is tiny or compression saves less than 10 %."""
        if len(body) < _MIN_PACKED:
            return body
        packed = self._compressor.compress(body, zstd.ZstdCompressor.FLUSH_FRAME)
        return packed if len(packed) < 0.9 * len(body) else body

    def _size_bytes(self) -> int:
        found = self._first("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")
        return found[0] if found else 0

    def _first(self, query: str, *values: str) -> tuple[Any, ...] | None:
        if self._database is None:
            return None
        with self._lock:
            try:
                found: tuple[Any, ...] | None = self._database.execute(query, values).fetchone()
            except sqlite3.Error as error:
                logger.warning("the page cache could not be read: %s", error)
                return None
        return found

    def _write(self, statements: Sequence[tuple[str, Sequence[tuple[object, ...]]]]) -> None:
        if self._database is None or not any(rows for _, rows in statements):
            return
        with self._lock:
            try:
                with self._database:
                    for statement, rows in statements:
                        self._database.executemany(statement, rows)
            except sqlite3.Error as error:  # the disk is full, or another process has the lock for too long
                logger.warning("the page cache could not be written: %s", error)

    def _opened(self, *, anew: bool = False) -> sqlite3.Connection | None:
        """Open and return the database; return None if the file is damaged or cannot be opened.

        anew: whether to delete the file first.
        """
        try:
            if anew:
                for suffix in _SIDE_FILES:
                    self._file.with_name(self._file.name + suffix).unlink(missing_ok=True)
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self._file, os.O_WRONLY | os.O_CREAT, 0o600))
            database = sqlite3.connect(self._file, timeout=_BUSY_S, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            logger.warning("the page cache could not be opened: %s; every page is fetched in full, even if it has not changed", error)
            return None
        try:
            database.execute("PRAGMA auto_vacuum = FULL")
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = OFF")  # checksums detect pages that a power failure damaged
            database.execute("CREATE TABLE IF NOT EXISTS pages (url TEXT PRIMARY KEY, head TEXT NOT NULL, "
                             "crc INTEGER NOT NULL, used_at REAL NOT NULL, body BLOB NOT NULL)")
            if "packed" not in [row[1] for row in database.execute("PRAGMA table_info(pages)")]:
                database.execute("ALTER TABLE pages ADD COLUMN packed INTEGER NOT NULL DEFAULT 0")
        except sqlite3.Error as error:
            logger.warning("the page cache is damaged: %s", error)
            with suppress(sqlite3.Error):
                database.close()
            return None
        return database


def _kept(head: str, body: bytes = b"") -> CachedPage:
    headers, varied = json.loads(head)
    return CachedPage([(name, value) for name, value in headers], varied, body)
