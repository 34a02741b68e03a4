"""Move a store from SQLite to PostgreSQL, and its files to an object store: `pipeline migrate-store`.

All rows are copied in one transaction of the PostgreSQL database, so either everything arrives or nothing. Meanwhile a transaction
holds the write lock of the SQLite database. Values are copied as the database stores them, so ids, and NULL and JSON null, stay what
they are. Then the rows of both databases are read once more and compared.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, Boolean, Connection, Table, func, insert, select

from pipeline.errors import StoreError
from pipeline.store.database import migrate
from pipeline.store.database.column_types import MaskedJson
from pipeline.store.database.engine import Store
from pipeline.store.database.packed_json import PackedJson, unpacked
from pipeline.store.database.schema import metadata, nodes, pulse, schema_versions, session_files
from pipeline.store.files.file_store import FOLDERS, FileStore, stays_on_node
from pipeline.store.maintenance.archive import PARTS
from pipeline.store.maintenance.restore import refuse_running
from pipeline.store.moved import mark_as_moved
from pipeline.store.session_files import NAMES, LocalSessionFiles
from pipeline.text import clean_line

STORED_FILES = (*(f"{folder}/" for folder in FOLDERS), "logs/runs/")
"""The files of data_dir that an object store holds."""
_OF_SERVICES = frozenset({schema_versions, pulse, nodes})
"""Tables that the services of the new database fill themselves."""
_BATCH = 2000
_CHUNK_BYTES = 1 << 20

_Row = tuple[Any, ...]


@dataclass(frozen=True)
class MovedTable:
    """A copied table. checksum: 16 hexadecimal digits that do not depend on the order of the rows."""

    name: str
    rows: int
    checksum: str


@dataclass
class Moved:
    """What was moved. sessions: the number of copied cookie jars and other session files. files: the number of files in the object store."""

    tables: list[MovedTable] = field(default_factory=list)
    sessions: int = 0
    files: int = 0
    bytes: int = 0


def move(source: Store, target: Store, *, now: datetime, files: FileStore | None = None) -> Moved:
    """Copy everything from an SQLite store to an empty PostgreSQL database, and return what was copied.

    The caller must hold the instance lock of data_dir. Afterwards, the program refuses to open the SQLite database. Nothing is deleted.
    files: the object store to which the files of data_dir are copied first; None leaves them where they are.
    Raises StoreError if a run or a service uses one of the databases, if the target is not empty, or if the copy is not the same.
    """
    if source.shared or not target.shared:
        raise StoreError("only a move from SQLite to PostgreSQL is supported", where=target.where, fix="pass --to postgresql://user@host/name")
    refuse_running(source, now)
    moved = Moved()
    with source.write() as reading:
        _refuse_occupied(target)
        if files is not None:
            moved.files, moved.bytes = _copy_files(source.files, files)
        with _naming_errors(target), target.write(durable=True) as writing:
            _prepare(target, writing)
            tables = [table for table in metadata.sorted_tables if table not in _OF_SERVICES]
            for table in tables:
                _copy(reading, writing, table)
            moved.tables = [_compared(reading, writing, table) for table in tables]
            moved.sessions = _copy_sessions(source, writing)
            for table in tables:
                if "id" in table.c:
                    writing.exec_driver_sql(f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), "  # noqa: S608  our own tables
                                            f"(SELECT coalesce(max(id), 1) FROM {table.name}))")
            writing.exec_driver_sql("ANALYZE")
            mark_as_moved(source, to=target.where)  # before the commit: no moment has two databases that may be used
    return moved


def _refuse_occupied(target: Store) -> None:
    """Raise StoreError if the target has rows, or tables of another version."""
    with target.read() as connection:
        found = migrate.revision_of(connection)
        if found is not None and found != migrate.HEAD:
            raise StoreError(f"the database has tables of another version (schema {found})", where=target.where, fix="use an empty database")
        for table in metadata.sorted_tables if found else ():
            if table is not schema_versions and connection.execute(select(func.count()).select_from(table)).scalar():
                raise StoreError(f"the database is not empty: the table {table.name} has rows", where=target.where,
                                 fix="use an empty database (`createdb name`), and start no service with it before the move")


def _prepare(target: Store, writing: Connection) -> None:
    writing.exec_driver_sql("SET LOCAL statement_timeout = 0")
    if migrate.revision_of(writing) is None:
        migrate.create(writing)
    for table in metadata.sorted_tables:
        if table is not schema_versions and writing.execute(select(func.count()).select_from(table)).scalar():
            raise StoreError(f"another process has written to the table {table.name}", where=target.where, fix="stop all services, and use an empty database")


def _copy(reading: Connection, writing: Connection, table: Table) -> None:
    columns = ", ".join(f'"{column.name}"' for column in table.columns)
    cursor = writing.connection.cursor()
    with cursor.copy(f"COPY {table.name} ({columns}) FROM STDIN") as copy:
        for row in _rows_of_sqlite(reading, table):
            copy.write_row(row)


def _rows_of_sqlite(connection: Connection, table: Table) -> Iterator[_Row]:
    """Yield the rows with the values that PostgreSQL stores for them."""
    convert = [_converter(column.type) for column in table.columns]
    columns = ", ".join(f'"{column.name}"' for column in table.columns)
    found = connection.exec_driver_sql(f"SELECT {columns} FROM {table.name}")  # noqa: S608  our own tables
    for row in _batches(found):
        yield tuple(value if change is None or value is None else change(value) for value, change in zip(row, convert, strict=True))


def _rows_of_postgresql(connection: Connection, table: Table) -> Iterator[_Row]:
    columns = ", ".join(f'"{column.name}"' + ("::text" if isinstance(column.type, (JSON, MaskedJson, PackedJson)) else "") for column in table.columns)
    found = connection.exec_driver_sql(f"SELECT {columns} FROM {table.name}", execution_options={"stream_results": True})  # noqa: S608
    yield from map(tuple, _batches(found))


def _batches(found: Any) -> Iterator[Any]:
    while rows := found.fetchmany(_BATCH):
        yield from rows


def _converter(kind: Any) -> Callable[[Any], Any] | None:
    if isinstance(kind, Boolean):
        return bool
    if isinstance(kind, PackedJson):
        return lambda value: unpacked(value) if isinstance(value, bytes) else _json_text(value)
    return _json_text if isinstance(kind, (JSON, MaskedJson)) else None


def _json_text(value: Any) -> str:
    """Return the text of a JSON value. SQLite stores a number as a number, although the column was given its text."""
    return value if isinstance(value, str) else json.dumps(value)


def _compared(reading: Connection, writing: Connection, table: Table) -> MovedTable:
    """Compare the rows of a table in both databases. Raises StoreError if they are not the same."""
    before, after = _summary(_rows_of_sqlite(reading, table)), _summary(_rows_of_postgresql(writing, table))
    if before != after:
        raise StoreError(f"the table {table.name} has {before[0]} rows with the checksum {before[1]}, but its copy has {after[0]} rows with {after[1]}",
                         where="migrate-store", fix="nothing was changed; report this as a bug")
    return MovedTable(table.name, *after)


def _summary(rows: Iterable[_Row]) -> tuple[int, str]:
    """Return the number of rows, and a checksum that does not depend on their order: databases sort texts differently."""
    count = total = 0
    for row in rows:
        count += 1
        total += int.from_bytes(hashlib.blake2b(repr(row).encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
    return count, f"{total % (1 << 64):016x}"


def _copy_sessions(source: Store, writing: Connection) -> int:
    """Copy cookie jars and the other files of sessions into the database; return their number."""
    folder = source.data_dir / "jars"
    spiders = sorted({path.name.removesuffix(f".{name}") for name in NAMES for path in folder.glob(f"*.{name}")})
    found = [{"spider": spider, "name": name, "content": data, "changed_at": datetime.now(UTC)}
             for spider in spiders for name in NAMES if (data := LocalSessionFiles(folder, spider).file(name).read()) is not None]
    if found:
        writing.execute(insert(session_files), found)
    return len(found)


def _copy_files(source: FileStore, target: FileStore) -> tuple[int, int]:
    """Copy the files that the target lacks; return the number and the size of all files. A repeated move continues where it was stopped."""
    count = size_bytes = 0
    for prefix in STORED_FILES:
        for found in source.list(prefix):
            if f"/{PARTS}/" in found.key or stays_on_node(found.key):
                continue
            count, size_bytes = count + 1, size_bytes + found.size_bytes
            there = target.info(found.key)
            if there is not None and there.size_bytes == found.size_bytes and there.modified_at >= found.modified_at:
                continue
            with source.local(found.key).open("rb") as file, target.writing(found.key) as copy:
                while chunk := file.read(_CHUNK_BYTES):
                    copy.write(chunk)
    return count, size_bytes


@contextmanager
def _naming_errors(target: Store) -> Iterator[None]:
    """Convert the errors of the driver, which COPY raises without SQLAlchemy, to StoreError."""
    import psycopg  # noqa: PLC0415  only needed for PostgreSQL
    try:
        yield
    except psycopg.Error as error:
        raise StoreError(f"the rows could not be copied: {clean_line(str(error))}", where=target.where, fix="nothing was changed") from error
