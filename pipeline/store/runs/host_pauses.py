"""Hosts whose Retry-After header demands a longer pause than a run waits for.

No run sends requests to such a host until the pause is over.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select, update

from pipeline.hosts import host_and_port
from pipeline.settings import SpiderTable
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import host_pauses

LONGEST = timedelta(days=7)
"""The longest pause of a host, so that a wrong date in a response cannot stop a spider forever."""


def pause_host(store: Store, host: str, *, until: datetime, spider: str, now: datetime) -> datetime:
    """Pause requests to a host until `until`, or until a later time that is already recorded.

    host: "name:port". spider: the spider that sent the request. Returns the time until which the host is paused.
    Raises StoreError, DiskFullError.
    """
    until = min(until, now + LONGEST)
    with store.write(durable=True) as connection:
        connection.execute(delete(host_pauses).where(host_pauses.c.until <= now))
        known = connection.execute(select(host_pauses.c.until).where(host_pauses.c.host == host)).scalar()
        if known is None:
            connection.execute(insert(host_pauses).values(host=host, until=until, spider=spider))
        elif known < until or known > now + LONGEST:
            connection.execute(update(host_pauses).where(host_pauses.c.host == host).values(until=until, spider=spider))
        else:
            until = known
    return until


def paused_hosts(store: Store, *, now: datetime) -> dict[str, datetime]:
    """Return the paused hosts, and the time until which each one is paused. Raises StoreError."""
    with store.read() as connection:
        return paused_hosts_of(connection, now=now)


def paused_hosts_of(connection: Connection, *, now: datetime) -> dict[str, datetime]:
    # A pause that ends later than now + LONGEST was recorded before the clock was set back.
    rows = connection.execute(select(host_pauses).where(host_pauses.c.until > now, host_pauses.c.until <= now + LONGEST))
    return {row.host: row.until for row in rows}


def paused_until(spider: SpiderTable, paused: Mapping[str, datetime]) -> datetime | None:
    """Return the time when a spider may start; None if it may start now.

    A spider must wait while the host of its login is paused, or while the hosts of all its start URLs are paused.
    paused: maps each paused host ("name:port") to the end of its pause.
    """
    if not paused:
        return None
    if spider.login is not None and (until := paused.get(_name(spider.login.url))) is not None:
        return until
    ends = [paused.get(_name(start.url)) for start in spider.start]
    known = [end for end in ends if end is not None]
    return min(known) if known and len(known) == len(ends) else None


def _name(url: object) -> str:
    host, port = host_and_port(str(url))
    return f"{host}:{port}"
