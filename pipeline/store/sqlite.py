"""SQLite: one file in data_dir, WAL, and the write lock taken at the start of every transaction that writes."""

from __future__ import annotations

import sqlite3

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, OperationalError

from pipeline.errors import DiskFullError, StoreError

BUSY_TIMEOUT_S = 30.0


def open_engine(url: URL) -> Engine:
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, record: object) -> None:
        connection.isolation_level = None  # transactions are begun in begin()
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA synchronous=NORMAL")

    return engine


def begin(connection: Connection, *, write: bool, durable: bool) -> None:
    """Start the transaction: BEGIN IMMEDIATE where it writes, so that no writer fails half-way with SQLITE_BUSY."""
    if write:
        connection.exec_driver_sql(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.exec_driver_sql("BEGIN")


def translated(error: DBAPIError, where: str) -> StoreError | DiskFullError:
    reason = str(error.orig)
    if "disk is full" in reason or "disk I/O" in reason:
        return DiskFullError(f"the database cannot be written: {reason}", where=where,
                             fix="free some disk space; what was committed is kept", retry=True)
    if "locked" in reason:
        return StoreError(f"the database stayed locked for {BUSY_TIMEOUT_S:.0f} s", where=where,
                          fix="find the process that holds it", retry=True)
    if "malformed" in reason or "not a database" in reason:
        return StoreError(f"the database is damaged: {reason}", where=where,
                          fix="restore a backup (`pipeline restore FILE`)")
    if "unable to open" in reason or "readonly" in reason:
        return StoreError(f"the database cannot be opened: {reason}", where=where,
                          fix="check that data_dir exists and is writable")
    return StoreError(f"the database refused: {reason}", where=where, retry=isinstance(error, OperationalError))
