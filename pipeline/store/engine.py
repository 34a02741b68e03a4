"""Opening the store: one database by URL, its files beside it, and two kinds of transaction.

`read()` sees one consistent snapshot; `write()` takes the one write lock at once, so that nothing read inside it
can change before it commits, and no writer fails half-way. How, each database says: sqlite.py, postgresql.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, inspect, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from pipeline.errors import StoreError
from pipeline.store import postgresql, sqlite
from pipeline.store.files import FileStore
from pipeline.store.leases import new_owner

BACKENDS = {"sqlite": sqlite, "postgresql": postgresql}
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
        backend = BACKENDS[self.engine.dialect.name]
        try:
            with self.engine.connect() as connection, connection.begin():
                backend.begin(connection, write=write, durable=durable)
                yield connection
        except DBAPIError as error:
            raise backend.translated(error, self.where) from error
        except PoolTimeoutError as error:
            raise StoreError("too many questions at once: no connection to the database is free", where=self.where,
                             retry=True) from error

    @property
    def where(self) -> str:
        """Its URL, without the password."""
        return self.engine.url.render_as_string(hide_password=True)

    @property
    def shared(self) -> bool:
        """Whether several services may work on it at the same time."""
        return self.engine.dialect.name != "sqlite"

    def close(self) -> None:
        self.engine.dispose()


def open_store(data_dir: Path, url: str | None = None, *, migrate: bool = True) -> Store:
    """Open the store of `data_dir`, creating or migrating it when asked.

    url: an SQLAlchemy URL; SQLite in data_dir by default. Raises StoreError.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StoreError(f"cannot be created: {error.strerror}", where=str(data_dir),
                         fix="change [pipeline] data_dir") from error
    address = _address(data_dir, url)
    store = Store(_backend(address).open_engine(address), data_dir)
    found = _revision(store)
    if found != HEAD:
        if not migrate:
            raise StoreError(f"its schema is at {found or 'nothing'}, this version needs {HEAD}",
                             where=store.where,
                             fix="run any `pipeline` command that writes, such as `pipeline serve`")
        _migrate(store, found)
    return store


def _address(data_dir: Path, url: str | None) -> URL:
    try:
        return make_url(url or f"sqlite:///{data_dir / 'pipeline.sqlite3'}")
    except ArgumentError as error:
        raise StoreError("is no database URL", where="pipeline.database",
                         fix='write it as "postgresql://user@host/name", or leave it out for SQLite') from error


def _backend(url: URL) -> Any:
    name = url.get_backend_name()
    if name not in BACKENDS:
        raise StoreError(f"no database of the kind {name!r}", where="pipeline.database",
                         fix=f"known: {', '.join(BACKENDS)}")
    return BACKENDS[name]


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
                         where=store.where,
                         fix="it was written by a newer version: upgrade") from error
