"""All items of a spider, for exports: however many there are, in batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Row, select

from pipeline.store.console.items import ItemFilter, ItemRow
from pipeline.store.database.column_types import storable_key
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import items

_BATCH = 500


def every(store: Store, spider: str, wanted: ItemFilter, *, key: str | None = None) -> Iterator[ItemRow]:
    """Yield all items of a spider that are wanted, sorted by key. Each batch is read in its own transaction.

    key: the key of the only item; None means all.
    """
    query = select(items).where(items.c.spider == spider).order_by(items.c.key).limit(_BATCH)
    if wanted.present is not None:
        query = query.where(items.c.present.is_(wanted.present))
    if key is not None:
        query = query.where(items.c.key == storable_key(key))
    after = ""
    while True:
        with store.read() as connection:  # each key sorts after the empty text
            rows = connection.execute(query.where(items.c.key > after) if after else query).all()
        for row in rows:
            if wanted.matches(row.data):
                yield item_of(row)
        if len(rows) < _BATCH:
            return
        after = rows[-1].key


def has_items(store: Store, spider: str) -> bool:
    """Return whether there is an item of a spider, which need not be in the settings any more."""
    with store.read() as connection:
        return connection.execute(select(items.c.id).where(items.c.spider == spider).limit(1)).first() is not None


def id_of(store: Store, spider: str, key: str) -> int | None:
    """Return the id of the item with this key; None if the spider has none, or has forgotten it."""
    with store.read() as connection:
        return connection.execute(select(items.c.id).where(items.c.spider == spider, items.c.key == storable_key(key))).scalar_one_or_none()


def item_of(row: Row[Any]) -> ItemRow:
    """Convert a row of the table `items`."""
    return ItemRow(row.id, row.key, row.data, row.present, row.first_seen_at, row.changed_at, row.pass_id)
