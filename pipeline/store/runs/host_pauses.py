"""Hosts that asked to be left alone (Retry-After) for longer than a run waits: no run asks them before that is over."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select, update

from pipeline.hosts import host_and_port
from pipeline.settings import SpiderTable
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import host_pauses

LONGEST = timedelta(days=7)
"""A host is asked again after this, whatever it said: a mistaken date must not end a spider for good."""


def pause_host(store: Store, host: str, *, until: datetime, spider: str, now: datetime) -> datetime:
    """Leave a host alone until then; a later time wins over an earlier one. Returns what holds now.

    host: "name:port". Raises StoreError, DiskFullError.
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
    """The hosts that are left alone now, and until when. Raises StoreError."""
    with store.read() as connection:
        return paused_hosts_of(connection, now=now)


def paused_hosts_of(connection: Connection, *, now: datetime) -> dict[str, datetime]:
    # What is further away was written by a clock that has been set back since.
    rows = connection.execute(select(host_pauses).where(host_pauses.c.until > now, host_pauses.c.until <= now + LONGEST))
    return {row.host: row.until for row in rows}


def paused_until(spider: SpiderTable, paused: Mapping[str, datetime]) -> datetime | None:
    """When a spider may begin, where its login's host or the hosts of all of its starts are left alone; None: now."""
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
