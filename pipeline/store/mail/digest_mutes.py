"""Muted digests: nothing of a muted digest is sent until the mute ends.

The first digest afterwards reports everything.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, insert, select

from pipeline.store.database.engine import Store
from pipeline.store.database.schema import digest_mutes


def mute(store: Store, name: str, *, until: datetime) -> None:
    """Send nothing of a digest before `until`. A mute that exists already ends at this time instead."""
    with store.write(durable=True) as connection:
        connection.execute(delete(digest_mutes).where(digest_mutes.c.name == name))
        connection.execute(insert(digest_mutes).values(name=name, until=until))


def unmute(store: Store, name: str) -> bool:
    """End the mute of a digest now. Return whether there was one."""
    with store.write(durable=True) as connection:
        return bool(connection.execute(delete(digest_mutes).where(digest_mutes.c.name == name)).rowcount)


def muted_until(store: Store, *, now: datetime) -> dict[str, datetime]:
    """Return the names of the digests that are muted at this time, and until when."""
    with store.read() as connection:
        return {row.name: row.until for row in connection.execute(select(digest_mutes).where(digest_mutes.c.until > now))}
