"""The mark beside an SQLite database whose data was moved to another, so that nobody uses the old one."""

from __future__ import annotations

from pathlib import Path

from pipeline.atomic_write import replace_file
from pipeline.errors import StoreError
from pipeline.store.database.engine import Store

SUFFIX = ".moved"


def mark_as_moved(store: Store, *, to: str) -> None:
    """Mark an SQLite database as moved. to: the URL of the new database, without a password. Raises OSError."""
    replace_file(_mark(store), f"{to}\n".encode())


def refuse_moved(store: Store) -> None:
    """Raise StoreError if the store is an SQLite database whose data was moved to another database."""
    if store.shared or not store.engine.url.database:
        return
    mark = _mark(store)
    try:
        to = mark.read_text("utf-8").strip()
    except FileNotFoundError:
        return
    raise StoreError(f"the data of this database was moved to {to}", where=store.where,
                     fix=f"set [pipeline] database to the new database; or, to use this old database again, delete the file {mark}")


def _mark(store: Store) -> Path:
    return Path(f"{store.engine.url.database}{SUFFIX}")
