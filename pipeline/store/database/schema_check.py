"""Compare the tables, columns and indexes of a database with schema/, not only its migration number."""

from __future__ import annotations

from functools import cache

from sqlalchemy import Connection
from sqlalchemy.dialects.sqlite.base import SQLiteDialect

from pipeline.errors import StoreError
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import metadata
from pipeline.store.database.schema_version import HEAD, revision_of
from pipeline.text import counted

_SQLITE_COLUMNS = """SELECT m.name, p.name, p.type, p."notnull", p.dflt_value FROM sqlite_master m JOIN pragma_table_info(m.name) p
                     WHERE m.type = 'table'"""
_SQLITE_INDEXES = "SELECT tbl_name, name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
_POSTGRESQL_COLUMNS = """SELECT table_name, column_name, '', CASE is_nullable WHEN 'NO' THEN 1 ELSE 0 END, column_default
                         FROM information_schema.columns WHERE table_schema = current_schema()"""
_POSTGRESQL_INDEXES = "SELECT tablename, indexname FROM pg_indexes WHERE schemaname = current_schema()"


def refuse_other_tables(store: Store) -> None:
    """Raise StoreError if the tables differ from schema/; the message names the first difference.

    Tables of other programs in the same database are ignored. In a database with a newer schema, so are new columns.
    """
    with store.read() as connection:
        revision = revision_of(connection)
        found = differences(connection, newer=(revision or "") > HEAD)
    if found:
        more = f", and {counted(len(found) - 1, 'more difference')}" if len(found) > 1 else ""
        raise StoreError(f"the database schema has version {revision}, but differs from the schema of this program: {found[0]}{more}", where=store.where,
                         fix="the database was written by an unreleased version: use that version, restore a backup, or use another "
                             "[pipeline] database or data_dir")


@cache
def _wanted(*, sqlite: bool) -> dict[tuple[str, str], tuple[str, bool]]:
    """Return the columns of schema/, by table and name: the type as SQLite has it, or "" on PostgreSQL; and whether they are NOT NULL."""
    dialect = SQLiteDialect()
    return {(table.name, column.name): (column.type.compile(dialect) if sqlite else "", not column.nullable)
            for table in metadata.tables.values() for column in table.columns}


def differences(connection: Connection, *, newer: bool = False) -> list[str]:
    """Return a sorted list of sentences, one for each column or index that differs from schema/.

    A column may be missing, unknown or of another type; an index may be missing. Tables of other programs are ignored.
    newer: whether a newer version has migrated the database. Then, unknown columns are ignored if this program can insert rows without
    them.
    """
    sqlite = connection.dialect.name == "sqlite"
    rows = connection.exec_driver_sql(_SQLITE_COLUMNS if sqlite else _POSTGRESQL_COLUMNS).all()
    columns = {(row[0], row[1]): (row[2], bool(row[3])) for row in rows}
    optional = {(row[0], row[1]) for row in rows if not row[3] or row[4] is not None}
    indexes = {(row[0], row[1]) for row in connection.exec_driver_sql(_SQLITE_INDEXES if sqlite else _POSTGRESQL_INDEXES)}
    wanted = _wanted(sqlite=sqlite)
    ours = metadata.tables.keys()
    there = {table for table, _ in columns}
    found = [f"table {name} is missing" for name in ours if name not in there]
    for (table, column), kind in wanted.items():
        if table in there and (table, column) not in columns:
            found.append(f"table {table} lacks the column {column}")
        elif table in there and columns[table, column] != kind:
            found.append(f"column {column} of table {table} has a different type or a different NOT NULL constraint")
    found += [f"table {table} has an unknown column {column}" for table, column in columns
              if table in ours and (table, column) not in wanted and not (newer and (table, column) in optional)]
    found += [f"table {table.name} lacks the index {index.name}" for table in metadata.tables.values() for index in table.indexes
              if table.name in there and (table.name, index.name) not in indexes]
    return sorted(found)
