"""The Store class: a database, its files, and its two kinds of transaction, read() and write().

A `read()` transaction sees one consistent snapshot. A `write()` transaction first takes the only write lock, so that until
the commit no other process can change what the transaction has read. `write(spider=NAME)` protects only the rows of one spider
in this way, so that on PostgreSQL such transactions of several spiders run at the same time. sqlite.py and postgresql.py
implement all kinds.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from pipeline.errors import DiskFullError, StoreError
from pipeline.settings.masking import CurrentMask
from pipeline.store.database import postgresql, sqlite
from pipeline.store.database.column_types import masked_by
from pipeline.store.files.file_store import FileStore
from pipeline.store.files.local_files import LocalFiles
from pipeline.store.runs.jobs import QUEUES
from pipeline.store.runs.leases import new_owner

BACKENDS: dict[str, Any] = {"sqlite": sqlite, "postgresql": postgresql}


class Store:
    """The database and the files of one data_dir.

    Threads may share a Store; a forked child process must not use it.
    """

    def __init__(self, engine: Engine, data_dir: Path, files: FileStore | None = None) -> None:
        self.engine = engine
        self.data_dir = data_dir
        self.files = files or LocalFiles(data_dir)
        self.owner = new_owner()
        """The name under which this Store object takes leases."""
        self.mask = CurrentMask()
        """Masks secrets in errors and other texts before they are stored; see `MaskedText`."""

    @property
    def quick(self) -> Store:
        """The same store for callers that rather fail within seconds than wait for an object store that is down."""
        found = copy.copy(self)
        found.files = self.files.quick
        return found

    def use_queues(self, queues: Mapping[str, str]) -> None:
        """Set the queue of each spider whose runs do not have the default queue. New runs get the queue of their spider."""
        self.engine.update_execution_options(**{QUEUES: dict(queues)})

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a read-only transaction, and yield its connection. Raises StoreError."""
        with self._transaction(write=False, durable=False) as connection:
            yield connection

    @contextmanager
    def write(self, *, durable: bool = False, spider: str = "") -> Iterator[Connection]:
        """Open a writing transaction, and yield its connection. Raises StoreError, DiskFullError.

        The transaction is committed at the end of the `with` block, or rolled back if an exception leaves the block.
        spider: the transaction reads and writes only rows of this spider; "" means that the transaction may use all rows, and that no
        other transaction writes at the same time. SQLite has one write lock in both cases.
        durable: whether the commit survives a power failure (SQLite: synchronous=FULL). If False, the commit survives a crash of
        the process, but perhaps not a power failure.
        """
        with self._transaction(write=True, durable=durable, spider=spider) as connection:
            yield connection

    @contextmanager
    def write_unlocked(self) -> Iterator[Connection]:
        """Open a writing transaction that does not wait for the write lock (PostgreSQL). Raises StoreError.

        It is only for rows that no other process changes, such as the row of this process in `nodes`, and for statements that are
        correct whatever other transactions do meanwhile. A migration in progress is not waited for either.
        """
        with self._translating(), masked_by(self.mask.current()), self.engine.connect() as connection, connection.begin():
            postgresql.begin_unlocked(connection)
            yield connection

    @contextmanager
    def autocommit(self) -> Iterator[Connection]:
        """Yield a connection on which each statement is a transaction of its own, without the write lock (PostgreSQL).

        It is only for statements that are correct whatever other transactions do meanwhile. Raises StoreError.
        """
        with self._translating(), masked_by(self.mask.current()), self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            yield connection

    @contextmanager
    def _transaction(self, *, write: bool, durable: bool, spider: str = "") -> Iterator[Connection]:
        with self._translating(), masked_by(self.mask.current()), self.engine.connect() as connection, connection.begin():
            BACKENDS[self.kind].begin(connection, write=write, durable=durable, spider=spider)
            yield connection

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise BACKENDS[self.kind].translated(error, self.where) from error
        except PoolTimeoutError as error:
            raise StoreError("all connections to the database are in use: too many transactions at the same time", where=self.where,
                             retry=True) from error

    @property
    def where(self) -> str:
        """The URL of the database, as settings.toml has it, without the password."""
        url = self.engine.url
        return url.set(drivername=url.get_backend_name()).render_as_string(hide_password=True)

    @property
    def kind(self) -> str:
        """The kind of database: a key of BACKENDS."""
        return self.engine.dialect.name

    @property
    def shared(self) -> bool:
        """Whether several services may use the database at the same time."""
        return self.kind != "sqlite"

    def dump(self, target: Path) -> None:
        """Write a consistent snapshot of the database to the file `target`.

        Other processes may read and write the database at the same time. Raises StoreError, DiskFullError.
        """
        try:
            target.touch(mode=0o600)
            with self._translating():
                BACKENDS[self.kind].dump(self.engine, target)
        except OSError as error:
            raise DiskFullError(f"the database cannot be copied: {error.strerror}", where=str(target),
                                fix="free some disk space, or choose a file that can be written", retry=True) from error

    def size_bytes(self, connection: Connection) -> int:
        """Return the size of the database in bytes."""
        return int(connection.exec_driver_sql(BACKENDS[self.kind].SIZE).scalar() or 0)

    def check(self) -> list[str]:
        """Return a description of each problem found in the database; an empty list if the database is intact.

        The check reads an SQLite file completely.
        """
        with self.read() as connection:
            return list(BACKENDS[self.kind].damage(connection))

    def close(self) -> None:
        self.files.close()
        self.engine.dispose()


def prepare_store(data_dir: Path, url: str | None = None, files: FileStore | None = None) -> Store:
    """Open the store of `data_dir` without checking its tables, for backup, restore and migrations.

    files: the file store; None keeps files in data_dir. Raises StoreError.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StoreError(f"the folder cannot be created: {error.strerror}", where=str(data_dir),
                         fix="set [pipeline] data_dir to another folder") from error
    address = _address(data_dir, url)
    return Store(_backend(address).open_engine(address), data_dir, files)


def check_url(url: str) -> None:
    """Raise StoreError if a database URL is invalid, or if the driver for it is not installed. No connection is opened."""
    address = _address(Path(), url)
    backend = _backend(address)
    if address.get_backend_name() != "sqlite":
        backend.open_engine(address).dispose()


def _address(data_dir: Path, url: str | None) -> URL:
    try:
        return make_url(url or f"sqlite:///{data_dir / 'pipeline.sqlite3'}")
    except ArgumentError as error:
        raise StoreError("the value is not a database URL", where="pipeline.database",
                         fix='write a URL such as "postgresql://user@host/name", or remove the setting to use SQLite') from error


def _backend(url: URL) -> Any:
    name = url.get_backend_name()
    if name not in BACKENDS:
        raise StoreError(f"{name!r} is not a supported kind of database", where="pipeline.database",
                         fix=f"supported: {', '.join(BACKENDS)}")
    return BACKENDS[name]
