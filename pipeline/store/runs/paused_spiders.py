"""Paused spiders: no slot of a paused spider is claimed until the pause ends.

A run that is in progress when its spider is paused continues.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, insert, or_, select

from pipeline.store.database.engine import Store
from pipeline.store.database.schema import paused


@dataclass(frozen=True)
class Pause:
    """The pause of a spider. until: when it ends by itself; None if it lasts until the spider is resumed. reason: what was said about it."""

    since: datetime
    until: datetime | None = None
    reason: str = ""


def pause(store: Store, spider: str, *, now: datetime, until: datetime | None = None, reason: str = "") -> None:
    """Stop claiming slots of the spider. A pause that exists already gets the new end and reason, and keeps its beginning."""
    with store.write(durable=True) as connection:
        found = pauses(connection, now=now).get(spider)
        connection.execute(delete(paused).where(paused.c.spider == spider))
        connection.execute(insert(paused).values(spider=spider, since=found.since if found else now, until=until, reason=reason))


def resume(store: Store, spider: str) -> bool:
    """End the pause of the spider. Return whether there was one that had not ended by itself, or had just done so.

    Of the slots that became due during the pause, only the newest is claimed.
    """
    with store.write(durable=True) as connection:
        return bool(connection.execute(delete(paused).where(paused.c.spider == spider)).rowcount)


def paused_spiders(store: Store, *, now: datetime) -> set[str]:
    """Return the names of the spiders that are paused at this time."""
    with store.read() as connection:
        return set(pauses(connection, now=now))


def pauses(connection: Connection, *, now: datetime) -> dict[str, Pause]:
    """Return the pause of each spider that is paused at this time. A pause whose end has passed counts no more."""
    lasts = or_(paused.c.until.is_(None), paused.c.until > now)
    return {row.spider: Pause(row.since, row.until, row.reason) for row in connection.execute(select(paused).where(lasts))}
