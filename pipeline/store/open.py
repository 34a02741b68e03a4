"""Open a store: create or migrate its tables, and refuse a data_dir whose restore was interrupted."""

from __future__ import annotations

import logging
from pathlib import Path

from pipeline.errors import StoreError
from pipeline.store.database import migrate as migrate_
from pipeline.store.database.engine import Store, prepare_store
from pipeline.store.database.schema_check import refuse_other_tables
from pipeline.store.files.object_storage import ObjectStorage
from pipeline.store.files.open_files import open_files
from pipeline.store.maintenance.clock_trust import observe_clock
from pipeline.store.moved import refuse_moved

UNFINISHED_RESTORE = "restore-unfinished"
"""The name of a file that exists in data_dir while a restore replaces data.

While this file exists, data_dir holds a mixture of old and restored data.
"""


_FOLDERS_OF_A_DATABASE = ("downloads", "messages", "pages", "screenshots", "logs/runs")
"""Folders in data_dir whose files are useless without the database."""

_log = logging.getLogger(__name__)


def _warn_of_orphaned_files(store: Store) -> None:
    """Warn if the database file was deleted but the files that belong to it still exist.

    A new, empty database does not know which messages were sent, so messages may be sent twice.
    """
    file = store.engine.url.database
    if file is None or file == ":memory:" or Path(file).exists():
        return
    left = [name for name in _FOLDERS_OF_A_DATABASE if any((store.data_dir / name).glob("*"))]
    if left:
        _log.warning("the database %s is missing, but other data still exists (%s): a new, empty database is created, so everything may be "
                     "fetched and sent again. If you did not delete the database on purpose, stop the program and restore a backup "
                     "(`pipeline restore FILE --replace`)",
                     file, ", ".join(left))


def open_store(data_dir: Path, url: str | None = None, *, storage: ObjectStorage | None = None, migrate: bool = True) -> Store:
    """Open the store of `data_dir` and return it. Raises StoreError.

    url: the SQLAlchemy URL of the database; None means the SQLite file in data_dir.
    storage: the object store for files; None keeps files in data_dir.
    migrate: whether to create or migrate the tables; if False, an older schema raises StoreError. A newer schema raises
    SchemaVersionError if this program no longer works with it.
    """
    store = prepare_store(data_dir, url, open_files(data_dir, storage))
    try:
        _check(store, migrate=migrate)
    except BaseException:
        store.close()
        raise
    return store


def _check(store: Store, *, migrate: bool) -> None:
    """Create or migrate the tables where this is necessary and allowed, and check what an opened store needs."""
    if (store.data_dir / UNFINISHED_RESTORE).exists():
        raise StoreError("a restore was interrupted, so the data is incomplete", where=str(store.data_dir),
                         fix="run `pipeline restore` again")
    refuse_moved(store)
    if store.kind == "sqlite" and store.engine.url.database:
        _warn_of_orphaned_files(store)
        try:
            Path(store.engine.url.database).touch(mode=0o600)  # SQLite gives the -wal and -shm files the same mode
        except OSError as error:
            raise StoreError(f"the database cannot be written: {error.strerror}", where=store.where,
                             fix="correct the owner of data_dir, or change [pipeline] data_dir or database") from error
    found = migrate_.revision(store)
    if found is None or found < migrate_.HEAD:
        if not migrate:
            migrate_.refuse_other(found, store.where)
        migrate_.upgrade(store)
    if found != migrate_.HEAD:
        migrate_.refuse_unsupported_of(store)
    if migrate:
        refuse_other_tables(store)
        observe_clock(store)
