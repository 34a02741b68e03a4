"""Opening the store: one database by URL, its files beside it, and two kinds of transaction.

`read()` sees one consistent snapshot; `write()` takes the write lock at once (BEGIN IMMEDIATE), so that
nothing read inside it can change before it commits, and no writer fails half-way with SQLITE_BUSY.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect
from sqlalchemy.exc import DBAPIError, OperationalError

from pipeline.errors import DiskFullError, StoreError
from pipeline.store.files import FileStore
from pipeline.store.leases import new_owner

BUSY_TIMEOUT_S = 30.0
HEAD = "0001"
"""The migration this code is written for; a test holds it against migrations/."""


class Store:
    """The database and the files of one data_dir. Threads may share it; a fork may not."""

    def __init__(self, engine: Engine, data_dir: Path) -> None:
        self.engine = engine
        self.data_dir = data_dir
        self.files = FileStore(data_dir)
        self.owner = new_owner()
        """Whose leases these are: this process, this opening of the store."""

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads. Raises StoreError."""
        with self._transaction(write=False, durable=False) as connection:
            yield connection

    @contextmanager
    def write(self, *, durable: bool = False) -> Iterator[Connection]:
        """A transaction that writes; committed at the end, rolled back on an exception.

        durable: survives a power cut once committed (SQLite synchronous=FULL); without it only a crash of
        ours. Raises StoreError, DiskFullError.
        """
        with self._transaction(write=True, durable=durable) as connection:
            yield connection

    @contextmanager
    def _transaction(self, *, write: bool, durable: bool) -> Iterator[Connection]:
        options = {"pipeline_write": write, "pipeline_durable": durable}
        try:
            with self.engine.connect().execution_options(**options) as connection, connection.begin():
                yield connection
        except DBAPIError as error:
            raise _translated(error, self.engine) from error

    def close(self) -> None:
        self.engine.dispose()


def _translated(error: DBAPIError, engine: Engine) -> StoreError | DiskFullError:
    where = engine.url.render_as_string(hide_password=True)
    reason = str(error.orig)
    if "disk is full" in reason or "disk I/O" in reason:
        return DiskFullError(f"the database cannot be written: {reason}", where=where,
                             fix="free some disk space; what was committed is kept", retry=True)
    if "locked" in reason:
        return StoreError(f"the database stayed locked for {BUSY_TIMEOUT_S:.0f} s", where=where,
                          fix="find the process that holds it", retry=True)
    if "malformed" in reason or "not a database" in reason:
        return StoreError(f"the database is damaged: {reason}", where=where, fix="restore a backup")
    if "unable to open" in reason or "readonly" in reason:
        return StoreError(f"the database cannot be opened: {reason}", where=where,
                          fix="check that data_dir exists and is writable")
    return StoreError(f"the database refused: {reason}", where=where, retry=isinstance(error, OperationalError))


def open_store(data_dir: Path, url: str | None = None, *, migrate: bool = True) -> Store:
    """Open the store of `data_dir`, creating or migrating it when asked.

    url: an SQLAlchemy URL; SQLite in data_dir by default. Raises StoreError.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StoreError(f"cannot be created: {error.strerror}", where=str(data_dir),
                         fix="change [pipeline] data_dir") from error
    engine = _engine(url or f"sqlite:///{data_dir / 'pipeline.sqlite3'}")
    store = Store(engine, data_dir)
    found = _revision(store)
    if found != HEAD:
        if not migrate:
            raise StoreError(f"its schema is at {found or 'nothing'}, this version needs {HEAD}",
                             where=engine.url.render_as_string(hide_password=True),
                             fix="run any `pipeline` command that writes, such as `pipeline serve`")
        _migrate(store, found)
    return store


def _engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url)
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, record: object) -> None:
        connection.isolation_level = None  # we begin transactions ourselves, below
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA synchronous=NORMAL")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        options = connection.get_execution_options()
        if options.get("pipeline_write"):
            level = "FULL" if options.get("pipeline_durable") else "NORMAL"
            connection.exec_driver_sql(f"PRAGMA synchronous={level}")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.exec_driver_sql("BEGIN")

    return engine


def _revision(store: Store) -> str | None:
    with store.read() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        found: Any = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return found if found is None else str(found)


def _migrate(store: Store, found: str | None) -> None:
    from alembic import command  # noqa: PLC0415  it takes 150 ms, and a store is migrated once
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util.exc import CommandError  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    try:
        with store.write(durable=True) as connection:
            # Two processes may start at once: whoever gets the write lock second finds the work done.
            if found is None and inspect(connection).has_table("alembic_version"):
                found = "by another process"
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except CommandError as error:
        raise StoreError(f"its schema {found!r} is not known to this version",
                         where=store.engine.url.render_as_string(hide_password=True),
                         fix="it was written by a newer version: upgrade") from error
