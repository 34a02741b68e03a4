"""Open a store: create or migrate its tables, and refuse one whose restore was interrupted."""

from __future__ import annotations

import logging
from pathlib import Path

from pipeline.errors import StoreError
from pipeline.store.database import migrate as migrate_
from pipeline.store.database.engine import Store, prepare_store
from pipeline.store.database.schema_check import refuse_other_tables
from pipeline.store.maintenance.clock_trust import observe_clock

UNFINISHED_RESTORE = "restore-unfinished"
"""A file in data_dir while a restore replaces data: the folder then holds a mixture of old and restored data."""


_FOLDERS_OF_A_DATABASE = ("downloads", "messages", "pages", "logs/runs")
"""Folders in data_dir whose files have no meaning without the database."""

_log = logging.getLogger(__name__)


def _warn_of_orphaned_files(store: Store) -> None:
    """Warn if the database was deleted but its files were not: sent messages are then unknown and would be sent again."""
    file = store.engine.url.database
    if file is None or file == ":memory:" or Path(file).exists():
        return
    left = [name for name in _FOLDERS_OF_A_DATABASE if any((store.data_dir / name).glob("*"))]
    if left:
        _log.warning("The database %s is missing, but its files are there (%s). A new database is created, which does not know what was fetched "
                     "and sent. If you did not intend this, stop and restore a backup (`pipeline restore FILE --replace`)",
                     file, ", ".join(left))


def open_store(data_dir: Path, url: str | None = None, *, migrate: bool = True) -> Store:
    """Open the store of `data_dir`. migrate: create or migrate its tables; without it, another schema is an error.

    url: an SQLAlchemy URL; SQLite in data_dir by default. Raises StoreError.
    """
    store = prepare_store(data_dir, url)
    if (data_dir / UNFINISHED_RESTORE).exists():
        raise StoreError("a restore was interrupted: the data is incomplete", where=str(data_dir),
                         fix="start `pipeline restore` again")
    if store.kind == "sqlite" and store.engine.url.database:
        _warn_of_orphaned_files(store)
        try:
            Path(store.engine.url.database).touch(mode=0o600)  # its -wal and -shm get the same
        except OSError as error:
            raise StoreError(f"cannot be written: {error.strerror}", where=store.where,
                             fix="change [pipeline] database or data_dir, or its owner") from error
    found = migrate_.revision(store)
    if found != migrate_.HEAD:
        if not migrate:
            migrate_.refuse_other(found, store.where)
        migrate_.refuse_newer(found, store.where)
        migrate_.upgrade(store)
    if migrate:
        refuse_other_tables(store, migrate_.HEAD)
        observe_clock(store)
    return store
