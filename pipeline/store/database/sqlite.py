"""The SQLite backend: one file in WAL mode. A writing transaction takes the write lock when it starts."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, OperationalError

from pipeline.errors import DiskFullError, StoreError
from pipeline.store.database.schema_version import HEAD, OLDEST_PROGRAM, too_old

BUSY_TIMEOUT_S = 30.0
SIZE = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
VERSION = "SELECT sqlite_version()"
NEEDED = (3, 35)
"""The first version of SQLite that supports RETURNING."""


def open_engine(url: URL) -> Engine:
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, record: object) -> None:
        connection.isolation_level = None  # transactions are begun in begin()
        _use_wal(connection)
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA synchronous=NORMAL")

    return engine


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch the database to WAL mode, and retry while the file is locked.

    If two processes open a new file at the same time, SQLite reports "locked" to one of the processes without waiting.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def begin(connection: Connection, *, write: bool, durable: bool, spider: str = "") -> None:
    """Start a transaction.

    A writing transaction uses BEGIN IMMEDIATE, so that it cannot fail with SQLITE_BUSY later. Raises SchemaVersionError.
    durable: whether the commit survives a power failure (synchronous=FULL). spider: not used, because SQLite has only one write lock.
    """
    if write:
        level = "FULL" if durable else "NORMAL"
        if connection.info.get("synchronous") != level:
            connection.exec_driver_sql(f"PRAGMA synchronous={level}")
            connection.info["synchronous"] = level
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        _refuse_unsupported(connection)
    else:
        connection.exec_driver_sql("BEGIN")


def _refuse_unsupported(connection: Connection) -> None:
    """Raise SchemaVersionError if a newer version has migrated the database, so that this program must not write to it.

    The query bypasses SQLAlchemy, because it precedes each write.
    """
    driver: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]
    try:
        needed = driver.execute(OLDEST_PROGRAM).fetchone()[0]
    except sqlite3.Error as error:
        if "no such table" in str(error):  # the tables have yet to be created or migrated
            return
        raise DBAPIError(OLDEST_PROGRAM, None, error) from error
    if needed is not None and needed > HEAD:
        raise too_old(needed, connection.engine.url.render_as_string(hide_password=True))


def dump(engine: Engine, target: Path) -> None:
    """Copy a consistent snapshot of the database to the file `target`.

    Writers do not have to wait for the copy.
    """
    connection = engine.raw_connection()
    try:
        with closing(sqlite3.connect(target)) as copy:
            connection.driver_connection.backup(copy)  # type: ignore[union-attr]
            copy.execute("PRAGMA journal_mode=DELETE")  # so that the copy is a single file
    except sqlite3.Error as error:
        raise DBAPIError("backup", None, error) from error
    finally:
        connection.close()


def damage(connection: Connection) -> Iterator[str]:
    """Yield each problem that `PRAGMA quick_check` finds. The check reads every page of the database file."""
    for found in connection.exec_driver_sql("PRAGMA quick_check(20)").scalars():
        if found != "ok":
            yield str(found)


def translated(error: DBAPIError, where: str) -> StoreError | DiskFullError:
    """Return the StoreError or DiskFullError to raise for an error of the SQLite driver."""
    reason = str(error.orig)
    if "disk is full" in reason or "disk I/O" in reason:
        return DiskFullError(f"the database cannot be written: {reason}", where=where,
                             fix="free some disk space; no committed data was lost", retry=True)
    if "locked" in reason:
        return StoreError(f"the database stayed locked for {BUSY_TIMEOUT_S:.0f} s", where=where,
                          fix="find the process that holds the lock, and end it", retry=True)
    if "malformed" in reason or "not a database" in reason:
        return StoreError(f"the database is damaged: {reason}", where=where,
                          fix="restore a backup (`pipeline restore FILE --replace`)")
    if "unable to open" in reason or "readonly" in reason:
        return StoreError(f"the database cannot be opened: {reason}", where=where,
                          fix="check that data_dir exists and is writable")
    return StoreError(f"the database reported an error: {reason}", where=where, retry=isinstance(error, OperationalError))
