"""Tests of bulk inserts."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import permutations

from sqlalchemy import select

from pipeline.store import Store
from pipeline.store.database.bulk import Each, insert_rows
from pipeline.store.database.schema import items

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)


def test_every_value_is_written_to_its_own_column_whatever_the_order_of_the_columns(store: Store) -> None:
    given = {"spider": "books", "data": {"a": 1}, "first_seen_at": NOW, "changed_at": NOW.replace(hour=13)}
    with store.write() as connection:
        for number, names in enumerate(permutations(given)):
            columns = {"pass_id": number, "key": Each([f"{number}-1", f"{number}-2"]), **{name: given[name] for name in names}}
            insert_rows(connection, items, 2, **columns)
    with store.read() as connection:
        rows = connection.execute(select(items).order_by(items.c.pass_id, items.c.key)).all()
    assert [(row.pass_id, row.key) for row in rows] == [(number, f"{number}-{place}") for number in range(24) for place in (1, 2)]
    assert {(row.spider, row.data["a"], row.reported, row.present, row.first_seen_at, row.changed_at) for row in rows} == {
        ("books", 1, None, True, NOW, NOW.replace(hour=13))}
