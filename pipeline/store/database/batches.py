"""Reading any number of rows: in batches by id, each in a transaction of its own, so that no writer waits for a reader."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Column, Row, Select

from pipeline.store.database.engine import Store

_BATCH = 1000


def paged(store: Store, wanted: Select[Any], row_id: Column[Any]) -> Iterator[Row[Any]]:
    """The rows of a query in the order of `row_id`, which is among its columns."""
    last = 0
    while True:
        with store.read() as connection:
            rows = connection.execute(wanted.where(row_id > last).order_by(row_id).limit(_BATCH)).all()
        yield from rows
        if len(rows) < _BATCH:
            return
        last = rows[-1].id
