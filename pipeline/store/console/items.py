"""Pages of a spider's items: sorted, searched and filtered, with a bound of time for each page."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Column, ColumnElement, Row, Select, select, type_coerce
from sqlalchemy.types import NullType

from pipeline.model import Json
from pipeline.store.console.item_index import ItemIndex
from pipeline.store.database.bulk import is_one_of
from pipeline.store.database.engine import Store
from pipeline.store.database.packed_json import json_text
from pipeline.store.database.schema import items

Sort = Literal["key", "-key", "seen", "-seen"]
SEARCH_S = 0.15
"""How long one page is searched for. What is left is searched for the next page."""
_SCAN_S = 0.004
"""After this time, a search asks the index instead of looking at the items one after the other: the text is not frequent."""
_BATCH = 500
_CHECKED_AT_ONCE = 200


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

    @property
    def needle(self) -> str:
        """The longest text that each item contains which matches, in the form of str.casefold()."""
        return max(self.text.casefold(), self.value.casefold() if self.field else "", key=len)

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
    process, because long values are stored compressed. If few of the first ones match, the index says which of the others can.
    """
    deadline, ask_at = clock() + SEARCH_S, clock() + _SCAN_S
    search = _Search(store, spider, wanted, limit=limit, sort=sort, position=after)
    if not (wanted.text or wanted.field):
        return search.page(has_more=search.add(search.read(limit + 1)))
    index = ItemIndex.of(store)
    while True:
        rows = search.read(_BATCH)
        is_full = search.add(rows)
        if is_full or len(rows) < _BATCH or clock() > deadline:
            return search.page(has_more=is_full or len(rows) == _BATCH)
        if index is not None and clock() > ask_at:
            listed, index = search.listed(index), None
            if listed is not None:
                return search.page(has_more=search.add_listed(listed, lambda: clock() > deadline))


class _Search:
    """Finds the items of a page. position: the place of the last item that was examined."""

    def __init__(self, store: Store, spider: str, wanted: ItemFilter, *, limit: int, sort: Sort, position: tuple[Any, ...] | None) -> None:
        self._store = store
        self._spider = spider
        self._wanted = wanted
        self._needle = wanted.needle if wanted.needle.isascii() else ""
        self._limit = limit
        self._sort = sort
        self._found: list[int] = []
        self.position = position
        # On SQLite, the fields are read as they are stored.
        stored = type_coerce(items.c.data, NullType()) if store.kind == "sqlite" else items.c.data
        self._examined = select(items.c.id, stored.label("stored"), *_order(sort))
        if wanted.present is not None:
            self._examined = self._examined.where(items.c.present.is_(wanted.present))

    def read(self, most: int) -> Sequence[Row[Any]]:
        """Return the next items."""
        rows: list[Row[Any]] = []
        with self._store.read() as connection:
            for query in _in_order(self._examined.where(items.c.spider == self._spider), self._sort, self.position):
                if len(rows) < most:
                    rows += connection.execute(query.limit(most - len(rows)))
        return rows

    def add(self, rows: Sequence[Any]) -> bool:
        """Examine items in their order. Return whether the page is full, and more items follow."""
        for row in rows:
            if self._matches(row[1]):
                if len(self._found) == self._limit:
                    return True
                self._found.append(row[0])
            self.position = tuple(row)[2:]
        return False

    def _matches(self, stored: Any) -> bool:
        return self._may_match(stored) and self._wanted.matches(json.loads(json_text(stored)) if isinstance(stored, (str, bytes)) else stored)

    def _may_match(self, stored: Any) -> bool:
        """Return whether an item can match by its JSON text, which takes a fifth of the time of reading the fields."""
        if not self._needle or not isinstance(stored, (str, bytes)):
            return True
        text = json_text(stored)
        return "\\" in text or self._needle in text.casefold()

    def listed(self, index: ItemIndex) -> list[int] | None:
        """Return the ids of all items after the position that can match, in order; None if the index cannot say."""
        descending, after = self._sort.startswith("-"), self.position
        with self._store.read() as connection:
            ids = index.candidates(connection, self._spider, self._wanted.needle)
            if ids is None:
                return None
            rows: Iterable[Any] = connection.execute(self._examined.where(_of_spider(self._spider), is_one_of(connection, items.c.id, list(ids))))
            placed = [(tuple(row)[2:], row[0]) for row in rows if self._may_match(row[1])]
        placed.sort(reverse=descending)
        return [number for place, number in placed if after is None or (place < after if descending else place > after)]

    def add_listed(self, ids: Sequence[int], is_over: Callable[[], bool]) -> bool:
        """Examine these items, which are in order, until the page is full or the time is over. Return whether some are left."""
        for at in range(0, len(ids), _CHECKED_AT_ONCE):
            if at and is_over():
                return True
            some = ids[at:at + _CHECKED_AT_ONCE]
            with self._store.read() as connection:
                query = self._examined.where(_of_spider(self._spider), is_one_of(connection, items.c.id, some))
                rows = {row[0]: row for row in connection.execute(query)}
            if self.add([rows[each] for each in some if each in rows]):
                return True
        return False

    def page(self, *, has_more: bool) -> ItemPage:
        with self._store.read() as connection:
            rows = {row.id: row for row in connection.execute(select(items).where(is_one_of(connection, items.c.id, self._found)))}
        return ItemPage([_item(rows[each]) for each in self._found if each in rows], self.position if has_more else None)


def one(store: Store, spider: str, item_id: int) -> ItemRow | None:
    """Return an item of a spider; None if this spider has no item with this id."""
    with store.read() as connection:
        row = connection.execute(select(items).where(items.c.id == item_id, items.c.spider == spider)).first()
    return _item(row) if row is not None else None


def _of_spider(spider: str) -> ColumnElement[bool]:
    """Return SQL for the spider of an item that is found by its id: by an expression, or SQLite would scan all items of the spider."""
    return items.c.spider.concat("") == spider


def _order(sort: Sort) -> list[Column[Any]]:
    return [items.c.key] if sort.endswith("key") else [items.c.pass_id, items.c.id]


def _in_order(query: Select[Any], sort: Sort, after: tuple[Any, ...] | None) -> list[Select[Any]]:
    """Return the queries of the items after a place, one after the other. An index finds the first item of each."""
    descending, order = sort.startswith("-"), _order(sort)
    query = query.order_by(*(column.desc() if descending else column for column in order))
    if after is None:
        return [query]
    first, *rest = order
    beyond = query.where(first < after[0] if descending else first > after[0])
    if not rest:
        return [beyond]
    return [query.where(first == after[0], rest[0] < after[1] if descending else rest[0] > after[1]), beyond]


def _item(row: Row[Any]) -> ItemRow:
    return ItemRow(row.id, row.key, row.data, row.present, row.first_seen_at, row.changed_at, row.pass_id)


def _contains(value: Json, text: str) -> bool:
    """Return whether a value, or a value in it, contains a text. text: in the form of str.casefold()."""
    if isinstance(value, dict):
        return any(_contains(each, text) for each in value.values())
    if isinstance(value, (list, tuple)):
        return any(_contains(each, text) for each in value)
    return value is not None and text in str(value).casefold()
