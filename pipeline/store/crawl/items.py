"""Read the items, changes, rejected items and download URLs of a spider, long results in batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, select, true

from pipeline.model import Change, ChangeKind, Item, Json
from pipeline.store.database.bulk import is_one_of, paged
from pipeline.store.database.column_types import storable_key
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import changes as change_rows
from pipeline.store.database.schema import downloads, items
from pipeline.store.database.schema import rejects as reject_rows


@dataclass(frozen=True)
class RejectedItem:
    """A rejected item, the reason for the rejection, and the URL of the page."""

    run_id: int
    url: str
    key: str
    reason: str
    data: dict[str, Json]
    at: datetime


def present(store: Store, spider: str, *, key: str | None = None) -> Iterator[Item]:
    """Yield the items of a spider that are still on the site, in the order in which they were first seen.

    key: yield only the item with this key; None yields all.
    """
    one = items.c.key == key if key is not None else true()
    wanted = select(items.c.id, items.c.key, items.c.data).where(items.c.spider == spider, one, items.c.present)
    for row in paged(store, wanted, items.c.id):
        yield Item(row.key, row.data)


def known_keys(store: Store, spider: str, keys: Iterable[str]) -> set[str]:
    """Return the subset of `keys` for which the spider has a stored item.

    The item may be on the site or gone.
    """
    stored = {storable_key(key): key for key in keys}
    with store.read() as connection:
        found = connection.execute(select(items.c.key).where(
            items.c.spider == spider, is_one_of(connection, items.c.key, list(stored)))).scalars()
        return {stored[key] for key in found}


def reported(store: Store, spider: str, key: str) -> dict[str, Json] | None:
    """Return the fields of an item when a change of it was last reported; None if the spider has no such item, on the site or gone."""
    wanted = select(items.c.data, items.c.reported).where(items.c.spider == spider, items.c.key == storable_key(key))
    with store.read() as connection:
        row = connection.execute(wanted).one_or_none()
    return None if row is None else row.data if row.reported is None else row.reported


def latest(store: Store, spider: str, *, limit: int) -> list[dict[str, Json]]:
    """Return the fields of at most `limit` items that are still on the site.

    Items that the newest passes saw come first.
    """
    wanted = select(items.c.data).where(items.c.spider == spider, items.c.present).order_by(
        items.c.pass_id.desc(), items.c.id).limit(limit)
    with store.read() as connection:
        return list(connection.execute(wanted).scalars())


def rejected(store: Store, spider: str, *, key: str | None = None) -> Iterator[RejectedItem]:
    """Yield the rejected items of a spider, the oldest first.

    key: yield only the rejected items with this key; None yields all.
    """
    one = reject_rows.c.key == key if key is not None else true()
    wanted = select(reject_rows).where(reject_rows.c.spider == spider, one)
    for row in paged(store, wanted, reject_rows.c.id):
        yield RejectedItem(row.run_id, row.url, row.key, row.reason, row.data, row.at)


def forget(store: Store, spider: str, key: str) -> bool:
    """Delete an item, so that the next run that finds it reports it as new. Return whether there was one. Its changes stay."""
    with store.write(durable=True) as connection:
        return bool(connection.execute(delete(items).where(items.c.spider == spider, items.c.key == storable_key(key))).rowcount)


def forget_all(store: Store, spider: str) -> int:
    """Delete all items of a spider, as `forget` does. Return how many there were."""
    with store.write(durable=True) as connection:
        return int(connection.execute(delete(items).where(items.c.spider == spider)).rowcount)


def download_urls(store: Store, spider: str) -> list[str]:
    """Return the URLs of all files that the spider has asked to download."""
    with store.read() as connection:
        return list(connection.execute(select(downloads.c.url).where(
            downloads.c.spider == spider).order_by(downloads.c.id)).scalars())


def change_of(row: Row[Any]) -> Change:
    """Convert a row of the table `changes` to a Change."""
    return Change(row.id, row.spider, row.key, ChangeKind(row.kind), row.at, row.run_id, row.before, row.after,
                  row.page_key, row.page_url)


def changes(store: Store, spider: str, *, key: str | None = None) -> Iterator[Change]:
    """Yield all stored changes of a spider, the oldest first.

    key: yield only the changes of the item with this key; None yields the changes of all items.
    """
    one = change_rows.c.key == key if key is not None else true()
    wanted = select(change_rows).where(change_rows.c.spider == spider, one)
    for row in paged(store, wanted, change_rows.c.id):
        yield change_of(row)


def field_names(store: Store, spider: str, *, sample: int = 1000) -> list[str]:
    """Return the field names of the items that the spider's newest passes saw, in the order in which they appear.

    sample: the maximum number of items to read.
    """
    with store.read() as connection:
        found = connection.execute(select(items.c.data).where(items.c.spider == spider)
                                   .order_by(items.c.pass_id.desc(), items.c.id.desc()).limit(sample)).scalars()
        return list(dict.fromkeys(name for data in found for name in data))
