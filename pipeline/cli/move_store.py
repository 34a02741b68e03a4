"""Performs `pipeline migrate-store`, and formats the text that it prints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime

from pipeline.errors import StoreError, UsageError
from pipeline.settings import Settings
from pipeline.settings.fields.storage_url import split_storage_url
from pipeline.store.database import migrate
from pipeline.store.database.engine import Store, prepare_store
from pipeline.store.database.schema_check import refuse_other_tables
from pipeline.store.files.file_store import FileStore
from pipeline.store.files.object_storage import storage_of
from pipeline.store.files.open_files import open_files
from pipeline.store.from_settings import is_shared
from pipeline.store.maintenance import move
from pipeline.store.maintenance.instance_lock import hold_instance_lock
from pipeline.text import counted, size_for_people


def move_store(settings: Settings, *, to: str | None, from_: str | None, storage: str | None) -> Iterator[str]:
    """Move the store from SQLite to PostgreSQL, and yield lines that describe the result and the settings to change.

    to: the URL of the new database; None means the database of the settings. from_: the URL of the old database; None means the database of
    the settings if it is SQLite, else the file in data_dir. storage: the object store to which the files are copied; None leaves them where
    they are. Raises StoreError, UsageError.
    """
    shared = is_shared(settings)
    to = to or (settings.database_url if shared else None)
    if to is None:
        raise UsageError("the new database is missing", fix="pass --to postgresql://user@host/name")
    files = _object_store(settings, storage)
    with ExitStack() as stack:
        source = stack.enter_context(closing(prepare_store(settings.data_dir, from_ or (None if shared else settings.database_url))))
        target = stack.enter_context(closing(prepare_store(settings.data_dir, to)))
        stack.enter_context(hold_instance_lock(settings.data_dir))
        _prepare(source)
        moved = move.move(source, target, now=datetime.now(UTC), files=files)
    width = max(len(table.name) for table in moved.tables)
    yield from (f"{table.name:<{width}}  {table.rows:>10,} rows  checksum {table.checksum}" for table in moved.tables)
    yield (f"copied {counted(sum(table.rows for table in moved.tables), 'row')} of {len(moved.tables)} tables and {counted(moved.sessions, 'session file')} "
           f"from {source.where} to {target.where}; both have the same rows")
    if files is not None:
        yield f"copied {counted(moved.files, 'file')} ({size_for_people(moved.bytes)}) to {storage}; they also remain in {settings.data_dir}"
    if not shared or storage:
        yield f"now change {settings.file}:"
        yield "[pipeline]"
        if not shared:
            yield _database_line(target)
        if storage:
            yield f'storage = "{storage}"'
    yield "and start the service; the old database is kept, and refused by every command from now on"


def _object_store(settings: Settings, storage: str | None) -> FileStore | None:
    if storage is None:
        return None
    if settings.pipeline.storage is not None:
        raise UsageError("the settings already name an object store, where the files are", where="pipeline.storage", fix="leave out --storage")
    try:
        split_storage_url(storage)
    except ValueError as error:
        raise UsageError(str(error), where="--storage") from error
    with_storage = settings.model_copy(update={"pipeline": settings.pipeline.model_copy(update={"storage": storage})})
    where = storage_of(with_storage)
    files = open_files(settings.data_dir, where)
    assert where is not None
    from pipeline.store.files.object_probe import probe
    probe(where)  # fails within seconds; an upload is repeated for 90 seconds
    return files


def _prepare(source: Store) -> None:
    """Bring the tables of the SQLite database to the schema of this version. Raises StoreError if there is no data."""
    if migrate.revision(source) is None:
        raise StoreError("the database has no tables, so there is nothing to move", where=source.where, fix="pass --from sqlite:////path/to/pipeline.sqlite3")
    migrate.upgrade(source)
    refuse_other_tables(source)


def _database_line(target: Store) -> str:
    if target.engine.url.password is None:
        return f'database = "{target.engine.url.set(drivername="postgresql").render_as_string()}"'
    return 'database = { env = "DATABASE" }     # the environment variable DATABASE holds the URL, because the URL contains a password'
