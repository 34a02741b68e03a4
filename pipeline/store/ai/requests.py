"""Requests to the language model, with the tokens that count towards the daily limit.

The tokens of a request are reserved, by an estimate, before the request is sent. If the process is killed, its reservation keeps counting,
because the server may have worked on the request.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from pipeline.store.database.column_types import storable
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import ai_requests

KEPT_FOR = timedelta(days=365)
_BATCH = 1000


class RequestState(StrEnum):
    """The state of a request. reserved: it was sent, or its process was killed. done: it was answered. failed: it was not."""

    RESERVED = "reserved"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class Usage:
    """Requests and tokens of a time, by all digests together. by_state: how many requests have each state."""

    input_tokens: int = 0
    output_tokens: int = 0
    by_state: dict[str, int] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    @property
    def requests(self) -> int:
        return sum(self.by_state.values())


@dataclass(frozen=True)
class LastFailure:
    """The last request that failed. succeeded_after: whether a later one was answered."""

    digest: str
    at: datetime
    error: str
    succeeded_after: bool


def day_begins(now: datetime, zone: ZoneInfo) -> datetime:
    """Return the beginning of the day in `zone` that contains `now`."""
    return now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, fold=0).astimezone(now.tzinfo)


def day_ends(now: datetime, zone: ZoneInfo) -> datetime:
    """Return the beginning of the next day in `zone`. What a clock that was wrong has dated later does not count for today."""
    return day_begins(datetime.combine(now.astimezone(zone).date() + timedelta(days=1), time(12), zone), zone).astimezone(now.tzinfo)


def reserve(store: Store, *, digest: str, purpose: str, model: str, input_tokens: int, output_tokens: int, limit: int,
            since: datetime, until: datetime, now: datetime) -> tuple[int | None, int]:
    """Reserve the tokens of a request that is about to be sent, and return its id and the tokens that were used before.

    The id is None if the limit would be exceeded; then nothing is reserved. since, until: the beginning of the day, and of the next one. Reading the sum and adding to
    it are one transaction that excludes other writers, so that several processes together never exceed the limit.
    """
    with store.write(durable=True) as connection:
        used = _tokens(connection, ai_requests.c.started_at >= since, ai_requests.c.started_at < until)
        if used + input_tokens + output_tokens > limit:
            return None, used
        added = connection.execute(insert(ai_requests).values(
            digest=digest, purpose=purpose, model=storable(model), started_at=now, state=RequestState.RESERVED.value,
            input_tokens=input_tokens, output_tokens=output_tokens)).inserted_primary_key
        assert added is not None
        return int(added[0]), used


def settle(store: Store, request_id: int, *, input_tokens: int, output_tokens: int, error: str = "", now: datetime) -> None:
    """Record the end of a request with the tokens that it has used. error: why it failed; "" if it was answered."""
    with store.write() as connection:
        connection.execute(update(ai_requests).where(ai_requests.c.id == request_id).values(
            ended_at=now, state=(RequestState.FAILED if error else RequestState.DONE).value, input_tokens=input_tokens,
            output_tokens=output_tokens, error=error))


def add_failure(store: Store, *, digest: str, purpose: str, model: str, error: str, now: datetime) -> None:
    """Record a request that failed before it was sent, such as for lack of tokens."""
    with store.write() as connection:
        connection.execute(insert(ai_requests).values(
            digest=digest, purpose=purpose, model=storable(model), started_at=now, ended_at=now, state=RequestState.FAILED.value,
            input_tokens=0, output_tokens=0, error=error))


def _tokens(connection: Connection, *wanted: ColumnElement[bool]) -> int:
    both = func.coalesce(func.sum(ai_requests.c.input_tokens + ai_requests.c.output_tokens), 0)
    return int(connection.execute(select(both).where(*wanted)).scalar_one())


def usage(connection: Connection, since: datetime | None = None, until: datetime | None = None, *, digest: str | None = None) -> Usage:
    """Return the requests and tokens of a time, or of all requests that are kept. digest: only those of this digest."""
    rows = connection.execute(select(
        ai_requests.c.state, func.count(), func.coalesce(func.sum(ai_requests.c.input_tokens), 0),
        func.coalesce(func.sum(ai_requests.c.output_tokens), 0)).where(*_among(since, digest), *([ai_requests.c.started_at < until] if until is not None else [])).group_by(ai_requests.c.state)).all()
    return Usage(sum(int(row[2]) for row in rows), sum(int(row[3]) for row in rows), {str(row[0]): int(row[1]) for row in rows})


def _among(since: datetime | None, digest: str | None) -> list[ColumnElement[bool]]:
    wanted = [] if since is None else [ai_requests.c.started_at >= since]
    return wanted if digest is None else [*wanted, ai_requests.c.digest == digest]


def last_failure(connection: Connection, since: datetime, *, digest: str | None = None) -> LastFailure | None:
    """Return the last request since a time that failed; None if none has. digest: only of this digest."""
    among = _among(since, digest)
    found = connection.execute(select(ai_requests).where(ai_requests.c.state == RequestState.FAILED.value, *among)
                               .order_by(ai_requests.c.id.desc()).limit(1)).first()
    if found is None:
        return None
    later = connection.execute(select(ai_requests.c.id).where(ai_requests.c.state == RequestState.DONE.value, ai_requests.c.id > found.id, *among).limit(1)).first()
    return LastFailure(found.digest, found.ended_at or found.started_at, found.error, succeeded_after=later is not None)


def delete_old(store: Store, *, now: datetime) -> int:
    """Delete requests older than a year, at most 1,000 at once; return how many."""
    with store.write() as connection:
        old = select(ai_requests.c.id).where(ai_requests.c.started_at < now - KEPT_FOR).order_by(ai_requests.c.id).limit(_BATCH)
        return int(connection.execute(delete(ai_requests).where(ai_requests.c.id.in_(old))).rowcount)
