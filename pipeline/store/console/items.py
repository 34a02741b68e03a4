"""Pages of a spider's items: sorted, searched and filtered, with a bound of time for each page."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Column, Row, Select, literal, select, tuple_

from pipeline.model import Json
from pipeline.store.database.column_types import storable_key
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import items

Sort = Literal["key", "-key", "seen", "-seen"]
SEARCH_S = 0.15
"""How long one page is searched for. What is left is searched for the next page."""
_BATCH = 500


@dataclass(frozen=True)
class ItemRow:
    """A stored item. present: whether the last pass found it on the site. pass_id: the last pass that saw it."""

    id: int
    key: str
    data: dict[str, Json]
    present: bool
    first_seen_at: datetime
    changed_at: datetime
    pass_id: int


@dataclass(frozen=True)
class ItemFilter:
    """Which items are wanted. text: is contained in a field, in any case. field, value: the field has this value, or contains it.

    present: only items on the site (True) or gone (False); None means both.
    """

    text: str = ""
    field: str = ""
    value: str = ""
    present: bool | None = None

    def matches(self, data: dict[str, Json]) -> bool:
        if self.field and not _contains(data.get(self.field), self.value.casefold()):
            return False
        return not self.text or _contains(data, self.text.casefold())


@dataclass(frozen=True)
class ItemPage:
    """Items, and the last item that was examined: the next page continues after it. after: None if there are no more items."""

    rows: list[ItemRow]
    after: tuple[str | int, ...] | None


def page(store: Store, spider: str, wanted: ItemFilter, *, limit: int, sort: Sort = "key", after: tuple[Any, ...] | None = None,
         clock: Callable[[], float] = time.monotonic) -> ItemPage:
    """Return the next items of a spider. A page may have fewer items than `limit`, even none, although more items follow.

    after: where the page before ended: (key,) when sorted by key, else (pass_id, id). The items that were filtered are examined by this
    process, because long values are stored compressed.
    """
    deadline = clock() + SEARCH_S
    found: list[ItemRow] = []
    position = after
    size = _BATCH if wanted.text or wanted.field else min(_BATCH, limit + 1)
    while True:
        rows = _batch(store, _query(spider, wanted.present, sort, position), size)
        for row in rows:
            if wanted.matches(row.data):
                if len(found) == limit:
                    return ItemPage(found, position)
                found.append(_item(row))
            position = (row.key,) if sort.endswith("key") else (row.pass_id, row.id)
        if len(rows) < size:
            return ItemPage(found, None)
        if clock() > deadline:
            return ItemPage(found, position)


def every(store: Store, spider: str, wanted: ItemFilter, *, key: str | None = None) -> Iterator[ItemRow]:
    """Yield all items of a spider that are wanted, sorted by key, however long this takes. They are read in batches.

    key: the key of the only item; None means all.
    """
    position: tuple[Any, ...] | None = None
    while True:
        query = _query(spider, wanted.present, "key", position)
        rows = _batch(store, query if key is None else query.where(items.c.key == storable_key(key)), _BATCH)
        for row in rows:
            if wanted.matches(row.data):
                yield _item(row)
        if len(rows) < _BATCH:
            return
        position = (rows[-1].key,)


def has_items(store: Store, spider: str) -> bool:
    """Return whether there is an item of a spider, which need not be in the settings any more."""
    with store.read() as connection:
        return connection.execute(select(items.c.id).where(items.c.spider == spider).limit(1)).first() is not None


def one(store: Store, spider: str, item_id: int) -> ItemRow | None:
    """Return an item of a spider; None if this spider has no item with this id."""
    with store.read() as connection:
        row = connection.execute(select(items).where(items.c.id == item_id, items.c.spider == spider)).first()
    return _item(row) if row is not None else None


def _query(spider: str, present: bool | None, sort: Sort, after: tuple[Any, ...] | None) -> Select[Any]:
    query = select(items).where(items.c.spider == spider)
    if present is not None:
        query = query.where(items.c.present.is_(present))
    descending = sort.startswith("-")
    order: list[Column[Any]] = [items.c.key] if sort.endswith("key") else [items.c.pass_id, items.c.id]
    if after is not None:
        position, beyond = tuple_(*order), tuple_(*(literal(value) for value in after))  # compared as a row, so that the index finds the first one
        query = query.where(position < beyond if descending else position > beyond)
    return query.order_by(*(column.desc() if descending else column for column in order))


def _batch(store: Store, query: Select[Any], size: int) -> list[Row[Any]]:
    with store.read() as connection:
        return list(connection.execute(query.limit(size)))


def _item(row: Row[Any]) -> ItemRow:
    return ItemRow(row.id, row.key, row.data, row.present, row.first_seen_at, row.changed_at, row.pass_id)


def _contains(value: Json, text: str) -> bool:
    """Return whether a value, or a value in it, contains a text. text: in the form of str.casefold()."""
    if isinstance(value, dict):
        return any(_contains(each, text) for each in value.values())
    if isinstance(value, (list, tuple)):
        return any(_contains(each, text) for each in value)
    return value is not None and text in str(value).casefold()
