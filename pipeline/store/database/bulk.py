"""Insert and read many rows quickly: bulk INSERT, IN with one parameter, and reading in batches.

This module uses SQLAlchemy to compile each statement, but converts the values one column at a time. SQLAlchemy itself
converts the values one row at a time, which takes several times as long as the work of the database.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice, repeat
from typing import Any

from sqlalchemy import (
    ARRAY,
    Column,
    ColumnElement,
    Connection,
    Dialect,
    Row,
    Select,
    Table,
    any_,
    func,
    insert,
    literal,
    select,
)
from sqlalchemy.sql.schema import ScalarElementColumnDefault

from pipeline.store.database.engine import Store

_BATCH = 1000
_Process = Callable[[Any], Any] | None


class Each(list[Any]):
    """The values of one column for insert_rows(), one value for each row."""


class Ready(list[Any]):
    """The values of one column, one value for each row, already converted for the database driver."""


def ready(connection: Connection, column: Column[Any], values: Iterable[Any]) -> Ready:
    """Convert the values of a column for the database driver.

    Several columns of the same type can then use the result, so that the values are converted only once.
    """
    process = _process(column, connection.dialect)
    return Ready(values if process is None else map(process, values))


def insert_rows(connection: Connection, table: Table, count: int, *, new_only: bool = False, **columns: Any) -> None:
    """Insert `count` rows into a table.

    columns: for each column name, an Each, a Ready, or one value for all rows. Columns that are not given get their default.
    new_only: whether to skip rows that already exist (ON CONFLICT DO NOTHING).
    """
    if not count:
        return
    text, names, positional = _compiled(table, tuple(columns), connection.dialect, new_only)
    values = [_for_driver(columns.get(name, _default(table.c[name])), table.c[name], connection.dialect) for name in names]
    rows = islice(zip(*values, strict=False), count)
    connection.exec_driver_sql(text, list(rows) if positional else [dict(zip(names, row, strict=True)) for row in rows])


def insert_of(connection: Connection) -> Callable[[Table], Any]:
    """Return the insert() function of the database's own dialect, which supports ON CONFLICT DO UPDATE."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as insert_there  # noqa: PLC0415  a start without it is faster
    else:
        from sqlalchemy.dialects.sqlite import insert as insert_there  # type: ignore[assignment]  # noqa: PLC0415
    return insert_there


def is_one_of(connection: Connection, column: Column[Any], values: Sequence[Any]) -> ColumnElement[bool]:
    """Return SQL for `column IN values` that has a single parameter.

    SQLAlchemy therefore compiles the statement once, whatever the number of values.
    """
    if connection.dialect.name == "postgresql":
        return column == any_(literal(values, ARRAY(column.type)))
    listed = func.json_each(json.dumps(values)).table_valued("value")
    return column.in_(select(listed.c.value))


def paged(store: Store, wanted: Select[Any], row_id: Column[Any]) -> Iterator[Row[Any]]:
    """Yield the rows of a query in the order of the query's column `row_id`, reading the rows in batches.

    Each batch is read in its own transaction, so that no writer has to wait for a slow reader.
    """
    last = 0
    while True:
        with store.read() as connection:
            rows = connection.execute(wanted.where(row_id > last).order_by(row_id).limit(_BATCH)).all()
        yield from rows
        if len(rows) < _BATCH:
            return
        last = rows[-1].id


@lru_cache(maxsize=32)
def _compiled(table: Table, names: tuple[str, ...], dialect: Dialect, new_only: bool) -> tuple[str, tuple[str, ...], bool]:
    """Return the INSERT statement, its parameters' names in order, and whether they are positional."""
    compiled = insert(table).inline().compile(dialect=dialect, column_keys=list(names))
    text = f"{compiled} ON CONFLICT DO NOTHING" if new_only else str(compiled)
    return text, tuple(compiled.params), dialect.positional


def _default(column: Column[Any]) -> Any:
    """Return the Python default of a column; None if only the database has a default."""
    return column.default.arg if isinstance(column.default, ScalarElementColumnDefault) else None


def _for_driver(value: Any, column: Column[Any], dialect: Dialect) -> Iterable[Any]:
    if isinstance(value, Ready):
        return value
    process = _process(column, dialect)
    if isinstance(value, Each):
        return value if process is None else map(process, value)
    return repeat(value if process is None else process(value))


@lru_cache(maxsize=128)
def _process(column: Column[Any], dialect: Dialect) -> _Process:
    """Return the function that converts a column's values for the driver; None if no conversion is needed."""
    return column.type.dialect_impl(dialect).bind_processor(dialect)
