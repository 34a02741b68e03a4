"""The last full record of each URL of a spider, to which revisit records refer.

They are listed in an SQLite file beside the segments, which is a cache. Its rows are written after the records that they name are on the
disk, so that a process that is killed leaves a row too few and never one too many. Without the file, the next record of each URL is a
full one again.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

MAX_REFERENCE_AGE = timedelta(days=7)
"""A revisit record refers only to a record of at most this age: each week has full copies."""
_NAME = "originals.sqlite3"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_IN_ONE_STATEMENT = 500
_MOST_UNWRITTEN = 200
_TABLE = """CREATE TABLE IF NOT EXISTS originals (url BLOB PRIMARY KEY, digest BLOB NOT NULL, record_id BLOB NOT NULL, at INTEGER NOT NULL,
            etag BLOB NOT NULL, last_modified BLOB NOT NULL) WITHOUT ROWID"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Original:
    """A full record. digest: SHA-256 of its payload. record_id: UUID of the record. etag, last_modified: of the response, or b""."""

    url: str
    digest: bytes
    record_id: bytes
    at: datetime
    etag: bytes = b""
    last_modified: bytes = b""


class Originals:
    """The last full record of each URL. Used by one thread. A file that cannot be used is deleted, or ignored."""

    def __init__(self, folder: Path, now: datetime, max_age: timedelta = MAX_REFERENCE_AGE) -> None:
        self._path = folder / _NAME
        self._max_age = min(max_age, MAX_REFERENCE_AGE)
        self._unwritten: dict[str, Original] = {}
        self._database: sqlite3.Connection | None = None
        for _ in range(2):  # a damaged file is deleted, and made again
            try:
                self._database = _opened(self._path)
                with self._database:
                    self._database.execute("DELETE FROM originals WHERE at < ?", (_micros(now - MAX_REFERENCE_AGE),))
            except sqlite3.Error as error:
                self._drop(error)
            else:
                break

    def find(self, urls: Iterable[str], now: datetime) -> dict[str, Original]:
        """Return the originals of those URLs that have one that is neither too old nor, because the clock was set back, of a later time."""
        if self._database is None:
            return {}
        urls, oldest = set(urls), now - self._max_age
        found = {url: each for url in urls if (each := self._unwritten.get(url)) is not None and oldest <= each.at <= now}
        keys = {_key(url): url for url in urls.difference(found)}
        names = list(keys)
        try:
            for start in range(0, len(names), _IN_ONE_STATEMENT):
                part = names[start:start + _IN_ONE_STATEMENT]
                marks = ",".join("?" * len(part))
                rows = self._database.execute(f"SELECT * FROM originals WHERE url IN ({marks}) AND at BETWEEN ? AND ?",  # noqa: S608  only question marks
                                              (*part, _micros(oldest), _micros(now)))
                for key, digest, record_id, at, etag, last_modified in rows:
                    found[keys[key]] = Original(keys[key], digest, record_id, _EPOCH + timedelta(microseconds=at), etag, last_modified)
        except sqlite3.Error as error:
            self._drop(error)
            return {}
        return found

    def add(self, originals: Sequence[Original]) -> None:
        """Store originals whose records are on the disk, many in one transaction. A kill loses those that are not written yet."""
        if self._database is None:
            return
        self._unwritten.update((each.url, each) for each in originals)
        if len(self._unwritten) >= _MOST_UNWRITTEN:
            self._write()

    def _write(self) -> None:
        unwritten, self._unwritten = list(self._unwritten.values()), {}
        if self._database is None or not unwritten:
            return
        try:
            with self._database:
                self._database.executemany("INSERT OR REPLACE INTO originals VALUES (?, ?, ?, ?, ?, ?)",
                                           [(_key(each.url), each.digest, each.record_id, _micros(each.at), each.etag, each.last_modified)
                                            for each in unwritten])
        except sqlite3.Error as error:
            self._drop(error)

    def close(self) -> None:
        self._write()
        if self._database is not None:
            self._database.close()
            self._database = None

    def _drop(self, error: sqlite3.Error) -> None:
        """Go on without the file. It is deleted unless it is only in use, or the disk is full."""
        self._unwritten = {}
        logger.warning("The list of archived pages %s cannot be used: %s. Pages are archived in full.", self._path, error)
        self.close()
        if not isinstance(error, sqlite3.OperationalError):
            forget(self._path.parent)


def confirms(etag: bytes, last_modified: bytes, request_headers: Mapping[bytes, bytes]) -> bool:
    """Return whether a status 304 for these request headers confirms the response that had this ETag or Last-Modified (RFC 9110, 13.1)."""
    if asked := request_headers.get(b"if-none-match"):
        return bool(etag) and etag.removeprefix(b"W/") in [tag.strip().removeprefix(b"W/") for tag in asked.split(b",")]
    since = request_headers.get(b"if-modified-since")
    return bool(since) and since == last_modified


def forget(folder: Path) -> None:
    """Delete the file, because records that it names may be gone. Raises OSError."""
    for suffix in ("", "-wal", "-shm"):
        (folder / (_NAME + suffix)).unlink(missing_ok=True)


def _opened(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=5, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=OFF")
        database.execute(_TABLE)
        path.chmod(0o600)
    except BaseException:
        database.close()
        raise
    return database


def _key(url: str) -> bytes:
    return sha256(url.encode("utf-8", "surrogatepass")).digest()[:16]


def _micros(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)
