"""The last answers of one spider's pages, in one file: nothing in it that could not be fetched again."""

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

MAX_UNWRITTEN = 16
"""Pages in one transaction, and what a killed process loses."""
MAX_UNWRITTEN_BYTES = 4 * 10**6
_BUSY_S = 2.0
_REMOVE_UNUSED = "DELETE FROM pages WHERE used_at < ?"
_REMOVE_OLDEST = """DELETE FROM pages WHERE url IN (
    SELECT url FROM (SELECT url, sum(length(body) + length(head)) OVER (ORDER BY used_at DESC, url) AS total FROM pages)
    WHERE total > ?)"""
_SIDE_FILES = ("", "-wal", "-shm")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kept:
    """An answer as it came over the wire. varied: what it depended on of the request (Vary)."""

    headers: list[tuple[str, str]]
    varied: str
    body: bytes = b""


class PageCache:
    """Pages are written some at a time; those of a killed process are fetched whole once more. Without a file that can
    be written nothing is kept. One thread at a time uses it; several processes may."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._unwritten: dict[str, Kept] = {}
        self._unwritten_bytes = 0
        self._used: set[str] = set()
        self._lock = threading.Lock()  # the last prune is in a thread
        self._database = self._opened() or self._opened(anew=True)

    def head(self, url: str) -> Kept | None:
        """What is kept of a page, but for its body."""
        if (kept := self._unwritten.get(url)) is not None:
            return kept
        row = self._first("SELECT head FROM pages WHERE url = ?", url)
        return None if row is None else _kept(row[0])

    def get(self, url: str) -> Kept | None:
        """What is kept of a page; None when there is nothing whole."""
        if (kept := self._unwritten.get(url)) is not None:
            return kept
        row = self._first("SELECT head, crc, body FROM pages WHERE url = ?", url)
        return None if row is None or zlib.crc32(row[2]) != row[1] else _kept(row[0], row[2])

    def put(self, url: str, kept: Kept) -> None:
        self._unwritten[url] = kept
        self._unwritten_bytes += len(kept.body)
        if len(self._unwritten) >= MAX_UNWRITTEN or self._unwritten_bytes >= MAX_UNWRITTEN_BYTES:
            self.flush()

    def touch(self, url: str) -> None:
        """It was used: others go first."""
        self._used.add(url)
        if len(self._used) >= 4 * MAX_UNWRITTEN:
            self.flush()

    def flush(self) -> None:
        """Write what was put and touched."""
        now = time.time()
        pages = [(url, json.dumps([kept.headers, kept.varied]), zlib.crc32(kept.body), now, kept.body)
                 for url, kept in self._unwritten.items()]
        used = [(now, url) for url in self._used]
        self._unwritten, self._unwritten_bytes, self._used = {}, 0, set()
        self._write([("INSERT OR REPLACE INTO pages (url, head, crc, used_at, body) VALUES (?, ?, ?, ?, ?)", pages),
                     ("UPDATE pages SET used_at = ? WHERE url = ?", used)])

    def prune(self, max_bytes: int, max_age_s: float, now_s: float) -> None:
        """Remove what was not used for long, and the oldest beyond max_bytes."""
        self.flush()
        self._write([(_REMOVE_UNUSED, [(now_s - max_age_s,)]), (_REMOVE_OLDEST, [(max_bytes,)])])

    def close(self) -> None:
        self.flush()
        if self._database is not None:
            self._database.close()
            self._database = None

    def _first(self, query: str, url: str) -> tuple[str, int, bytes] | None:
        if self._database is None:
            return None
        with self._lock:
            try:
                found: tuple[str, int, bytes] | None = self._database.execute(query, [url]).fetchone()
            except sqlite3.Error as error:
                logger.warning("a kept page cannot be read: %s", error)
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
            except sqlite3.Error as error:  # no room, or others write for long: then these are not kept
                logger.warning("pages were not kept: %s", error)

    def _opened(self, *, anew: bool = False) -> sqlite3.Connection | None:
        """The database; None where it is damaged, or cannot be had."""
        try:
            if anew:
                for suffix in _SIDE_FILES:
                    self._file.with_name(self._file.name + suffix).unlink(missing_ok=True)
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self._file, os.O_WRONLY | os.O_CREAT, 0o600))
            database = sqlite3.connect(self._file, timeout=_BUSY_S, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            logger.warning("no pages are kept: %s", error)
            return None
        try:
            database.execute("PRAGMA auto_vacuum = FULL")
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = OFF")  # after a power cut its checksums tell what is whole
            database.execute("CREATE TABLE IF NOT EXISTS pages (url TEXT PRIMARY KEY, head TEXT NOT NULL, "
                             "crc INTEGER NOT NULL, used_at REAL NOT NULL, body BLOB NOT NULL)")
        except sqlite3.Error as error:
            logger.warning("the kept pages are damaged: %s", error)
            with suppress(sqlite3.Error):
                database.close()
            return None
        return database


def _kept(head: str, body: bytes = b"") -> Kept:
    headers, varied = json.loads(head)
    return Kept([(name, value) for name, value in headers], varied, body)
