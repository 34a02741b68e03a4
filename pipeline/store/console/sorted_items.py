"""Pages of a spider's items in orders without an index: by a field or by the last change."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, select

from pipeline.display.figures import figure_of
from pipeline.model import Change, Json
from pipeline.price import amount_of
from pipeline.store.console.all_items import item_of
from pipeline.store.console.items import SEARCH_S, ItemFilter, ItemRow
from pipeline.store.console.lists import changes_page
from pipeline.store.database.bulk import is_one_of
from pipeline.store.database.column_types import storable_key
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import items

_BATCH = 500
_CHANGES = 200
_LENGTH = 100
"""By how many characters of a text items are sorted."""
Place = tuple[int, float, str, int]
"""The place of an item in an order: 0 for a number and 1 for a text, the number, the text, the id of the item."""


@dataclass(frozen=True)
class SortedPage:
    """Items in their order. after: the place of the last one, if more follow; None if none do.

    examined: how many items were sorted. complete: whether these were all items of the spider; there was no time for the others.
    """

    rows: list[ItemRow]
    after: tuple[Any, ...] | None
    examined: int
    complete: bool


def by_field(store: Store, spider: str, wanted: ItemFilter, field: str, *, limit: int, descending: bool = False, after: Place | None = None,
             clock: Callable[[], float] = time.monotonic) -> SortedPage:
    """Return the next items, sorted by a field: numbers and prices by their amount, before texts. Items without the field are left out.

    The items that were seen last are read first, until the time is over.
    """
    deadline = clock() + SEARCH_S
    found: list[Place] = []
    examined, complete, position = 0, False, None
    while not complete and (clock() < deadline or not examined):
        rows = _newest(store, spider, wanted, position)
        examined += len(rows)
        for row in rows:
            place = _place_of(row.data.get(field), row.id)
            if place is not None and wanted.matches(row.data):
                found.append(place)
        complete = len(rows) < _BATCH
        position = (rows[-1].pass_id, rows[-1].id) if rows else None
    left = sorted((place for place in found if after is None or (place < after if descending else place > after)), reverse=descending)
    shown = left[:limit]
    return SortedPage(_by_id(store, [place[-1] for place in shown]), shown[-1] if len(left) > limit else None, examined, complete)


def by_change(store: Store, spider: str, wanted: ItemFilter, *, limit: int, after: tuple[int, int] | None = None,
              clock: Callable[[], float] = time.monotonic) -> SortedPage:
    """Return the next items, those that changed last first. Items of which no change is kept any more are left out.

    after: the run and the id of the change of the last item.
    """
    deadline = clock() + SEARCH_S
    rows: list[ItemRow] = []
    position, examined = after, 0
    while True:
        changes = changes_page(store, spider=spider, limit=_CHANGES, before=position)
        present = _by_key(store, spider, [change.key for change in changes])
        for change in changes:
            examined += 1
            row = present.get(storable_key(change.key))
            if row is not None and _is_last(change, row) and wanted.present in (None, row.present) and wanted.matches(row.data):
                if len(rows) == limit:
                    return SortedPage(rows, position, examined, complete=True)
                rows.append(item_of(row))
            position = (change.run_id, change.id)
        if len(changes) < _CHANGES:
            return SortedPage(rows, None, examined, complete=True)
        if clock() > deadline:
            return SortedPage(rows, position, examined, complete=True)


def _newest(store: Store, spider: str, wanted: ItemFilter, position: tuple[int, int] | None) -> Sequence[Row[Any, Any, Any]]:
    """Return the next items of those that were seen last. position: the pass and the id of the item before them."""
    query = select(items.c.id, items.c.pass_id, items.c.data).where(items.c.spider == spider).order_by(items.c.pass_id.desc(), items.c.id.desc()).limit(_BATCH)
    if wanted.present is not None:
        query = query.where(items.c.present.is_(wanted.present))
    if position is not None:
        pass_id, item_id = position
        query = query.where(items.c.pass_id <= pass_id, (items.c.pass_id < pass_id) | (items.c.id < item_id))
    with store.read() as connection:
        return connection.execute(query).all()


def _by_id(store: Store, ids: Sequence[int]) -> list[ItemRow]:
    """Return the items with these ids, in this order."""
    with store.read() as connection:
        found = {row.id: item_of(row) for row in connection.execute(select(items).where(is_one_of(connection, items.c.id, ids)))}
    return [found[each] for each in ids if each in found]


def _by_key(store: Store, spider: str, keys: Iterable[str]) -> dict[str, Row[Any]]:
    wanted = list(dict.fromkeys(map(storable_key, keys)))
    with store.read() as connection:
        found = connection.execute(select(items).where(items.c.spider == spider, is_one_of(connection, items.c.key, wanted)))
        return {row.key: row for row in found}


def _is_last(change: Change, row: Row[Any]) -> bool:
    """Return whether a change is the last one of an item. An item that was forgotten and found again has a later one."""
    return bool(row.changed_at <= change.at)


def _place_of(value: Json, item_id: int) -> Place | None:
    """Return the place of a value in an order; None for a missing one."""
    if value is None or value in ("", [], {}):
        return None
    amount = amount_of(value)
    if amount is None and isinstance(value, str) and (figure := figure_of(value, strict=True)) is not None:
        amount = float(figure.amount)
    if amount is not None:
        return 0, float(amount), "", item_id
    text = value if isinstance(value, str) else str(value)
    return 1, 0.0, text.casefold()[:_LENGTH].encode("utf-8", "replace").decode(), item_id
