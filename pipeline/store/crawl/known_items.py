"""Read what is known of a spider's items, to find them again on redesigned pages.

Their values, and the pages that they were on.
"""

from __future__ import annotations

from sqlalchemy import select

from pipeline.model import Json, Outcome
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import changes, items, pages, passes, runs

_MAX_CHANGES = 5000
_EMPTY: tuple[Json, ...] = (None, "", [], {})


def known_items(store: Store, spider: str, *, limit: int) -> list[dict[str, Json]]:
    """Return the fields of at most `limit` items that are still on the site, the last seen ones first.

    A field that is empty, because a rule stopped matching, has the value that it had before the last change of the item.
    """
    with store.read() as connection:
        rows = connection.execute(select(items.c.key, items.c.data).where(items.c.spider == spider, items.c.present).order_by(
            items.c.pass_id.desc(), items.c.id).limit(limit)).all()
        found: dict[str, dict[str, Json]] = {row.key: dict(row.data) for row in rows}
        earlier = connection.execute(select(changes.c.key, changes.c.before).where(changes.c.spider == spider).order_by(
            changes.c.id.desc()).limit(_MAX_CHANGES))
        for row in earlier:
            item = found.get(row.key)
            for name, value in row.before.items() if item is not None else ():
                if item is not None and value not in _EMPTY and item.get(name) in _EMPTY:
                    item[name] = value
    return list(found.values())


def pages_with_items(store: Store, spider: str, *, limit: int) -> list[str]:
    """Return the URLs of pages on which the last complete pass with items found items, in the order in which they were fetched."""
    with store.read() as connection:
        last = connection.execute(select(pages.c.pass_id).join(passes, passes.c.id == pages.c.pass_id).join(
            runs, runs.c.id == pages.c.run_id).where(
                passes.c.spider == spider, pages.c["items"] > 0, runs.c.outcome == Outcome.SUCCEEDED.value,
                runs.c.suspect.is_(False)).order_by(pages.c.pass_id.desc()).limit(1)).scalar()
        if last is None:
            return []
        rows = connection.execute(select(pages.c.url).where(pages.c.pass_id == last, pages.c["items"] > 0).order_by(
            pages.c["items"].desc(), pages.c.id).limit(limit))
        return list(dict.fromkeys(rows.scalars()))


def fetched_pages(store: Store, spider: str, *, limit: int) -> list[str]:
    """Return the URLs of the pages that the spider fetched in its passes, the newest pages first."""
    with store.read() as connection:
        rows = connection.execute(select(pages.c.url).join(passes, passes.c.id == pages.c.pass_id).where(
            passes.c.spider == spider, pages.c.status < 400).order_by(pages.c.id.desc()).limit(limit))
        return list(dict.fromkeys(rows.scalars()))
