"""Paused spiders: no slot of a paused spider is claimed until the spider is resumed.

A run that is in progress when its spider is paused continues.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from pipeline.store.database.engine import Store
from pipeline.store.database.schema import paused


def pause(store: Store, spider: str, *, now: datetime) -> None:
    """Stop claiming slots of the spider. Nothing changes if the spider is already paused."""
    with store.write(durable=True) as connection:
        if connection.execute(select(paused.c.since).where(paused.c.spider == spider)).first() is None:
            connection.execute(insert(paused).values(spider=spider, since=now))


def resume(store: Store, spider: str) -> None:
    """End the pause of the spider.

    Of the slots that became due during the pause, only the newest is claimed.
    """
    with store.write(durable=True) as connection:
        connection.execute(delete(paused).where(paused.c.spider == spider))


def paused_spiders(store: Store) -> set[str]:
    with store.read() as connection:
        return set(paused_since(connection))


def paused_since(connection: Connection) -> dict[str, datetime]:
    return {row.spider: row.since for row in connection.execute(select(paused))}
