"""The frontier: the requests of a pass with their states. Each request is fetched once.

Committing a page adds the links of the page to the frontier (commit.py).
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, or_, select, update

from pipeline.model import FrontierState, Json, Request, Run
from pipeline.store.database.bulk import Each, insert_rows, is_one_of
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import (
    frontier,
    passes,
    runs,
)
from pipeline.store.runs import leases
from pipeline.urls import route_of

REDIRECTED_HOST = "pipeline_counts_in"
"""A key in the stored `meta` of a start request; the value is the host to which the start was redirected."""
_EXTRAS = ("encoding", "callback", "errback", "meta", "cb_kwargs", "cookies")


@dataclass(frozen=True)
class Queued:
    """A request in the frontier, and the id of its row."""

    id: int
    request: Request


def fingerprint(request: Request) -> bytes:
    """Return a SHA-1 hash that identifies a request.

    A pass fetches only one of several requests with the same hash.
    The hash covers the method, the URL with sorted query parameters, the body, and the entry in `start`, page number or item
    for which the request is sent.
    """
    meta = request.meta
    part = f"{meta.get('pipeline_start', '')} {meta.get('pipeline_part', '')}" if meta else " "
    parts = (request.method.encode(), _canonical(request.url).encode("utf-8", "surrogatepass"), part.encode(), request.body)
    return hashlib.sha1(b"\n".join(parts), usedforsecurity=False).digest()


def _canonical(url: str) -> str:
    route = route_of(url)
    url = url.partition("#")[0]
    head, mark, query = url.partition("?")
    return (f"{head}?{'&'.join(sorted(query.split('&')))}" if mark else url) + route


def _extra(request: Request) -> dict[str, Json]:
    """Return the attributes in which the request differs from a plain GET request."""
    extra: dict[str, Json] = {name: value for name in _EXTRAS if (value := getattr(request, name))}
    if request.method != "GET":
        extra["method"] = request.method
    if request.headers:
        extra["headers"] = [list(pair) for pair in request.headers]
    if request.body:
        extra["body"] = base64.b64encode(request.body).decode()
    return extra


def queued_of(row: Row[Any]) -> Queued:
    """Convert a row of the table `frontier`."""
    extra = dict(row.request)
    if "headers" in extra:
        extra["headers"] = tuple((name, value) for name, value in extra["headers"])
    if "body" in extra:
        extra["body"] = base64.b64decode(extra["body"])
    return Queued(row.id, Request(url=row.url, priority=-row.priority, depth=row.depth, **extra))


def add_to_frontier(connection: Connection, pass_id: int, requests: Iterable[Request],
                    state: FrontierState = FrontierState.WAITING) -> list[Queued]:
    """Queue the requests that are not in the frontier of the pass yet, and return these requests."""
    wanted: dict[bytes, Request] = {}
    for request in requests:
        # A request with dont_filter is fetched each time.
        wanted.setdefault(os.urandom(20) if request.dont_filter else fingerprint(request), request)
    last = connection.execute(select(func.max(frontier.c.id))).scalar_one() or 0
    insert_rows(connection, frontier, len(wanted), new_only=True, pass_id=pass_id, fingerprint=Each(wanted),
                url=Each(request.url for request in wanted.values()),
                request=Each(map(_extra, wanted.values())),
                priority=Each(-request.priority for request in wanted.values()),
                depth=Each(request.depth for request in wanted.values()), state=state.value)
    # New rows have larger ids, and no other transaction adds rows to a pass of this spider at the same time.
    added = connection.execute(select(frontier.c.id, frontier.c.fingerprint, frontier.c.pass_id).where(frontier.c.id > last))
    return [Queued(row.id, wanted[row.fingerprint]) for row in added if row.pass_id == pass_id]


def enqueue(store: Store, run: Run, requests: Iterable[Request],
            state: FrontierState = FrontierState.WAITING) -> list[Queued]:
    """Queue requests that do not come from a committed page, such as start requests or tentative requests.

    Raises LeaseLostError.
    """
    with store.write(spider=run.spider) as connection:
        leases.verify(connection, runs, run.id, owner=run.lease_owner)
        return add_to_frontier(connection, run.pass_id, requests, state)


def forget(store: Store, run: Run, ids: Sequence[int]) -> None:
    """Remove tentative requests from the frontier, so that the same requests can be queued again.

    Their rows are only marked, and deleted by the next run: SQLite would otherwise reuse their ids while some of the requests may
    still be in progress. Raises LeaseLostError.
    """
    rows = [{"row": row, "unlike_any": os.urandom(20)} for row in ids]
    with store.write(spider=run.spider) as connection:
        leases.verify(connection, runs, run.id, owner=run.lease_owner)
        if rows:
            connection.execute(update(frontier).where(
                frontier.c.id == bindparam("row"), frontier.c.state == FrontierState.TENTATIVE.value,
            ).values(state=FrontierState.FORGOTTEN.value, fingerprint=bindparam("unlike_any")), rows)


def waiting(store: Store, pass_id: int, *, limit: int, besides: Sequence[int] = (),
            tentative: bool = False) -> list[Queued]:
    """Return the next `limit` waiting requests of a pass, the highest priority first.

    besides: ids of requests to leave out. tentative: whether to include tentative requests.
    """
    state = frontier.c.state == FrontierState.WAITING.value
    if tentative:  # a condition of its own, because the index supports only queries for one state
        state = or_(state, frontier.c.state == FrontierState.TENTATIVE.value)
    wanted = select(frontier).where(frontier.c.pass_id == pass_id, state).order_by(frontier.c.priority, frontier.c.id).limit(limit + len(besides))
    away = set(besides)
    with store.read() as connection:
        found = [queued_of(row) for row in connection.execute(wanted) if row.id not in away]
    return found[:limit]


def first_requests(store: Store, pass_id: int, *, limit: int = 1000) -> list[Request]:
    """Return the start requests of a pass (depth 0) in any state, the oldest first."""
    wanted = select(frontier).where(frontier.c.pass_id == pass_id, frontier.c.depth == 0).order_by(
        frontier.c.id).limit(limit)
    with store.read() as connection:
        return [queued_of(row).request for row in connection.execute(wanted)]


def counts(store: Store, pass_id: int) -> dict[FrontierState, int]:
    """Return the number of requests of a pass by state."""
    with store.read() as connection:
        rows = connection.execute(select(frontier.c.state, func.count()).where(
            frontier.c.pass_id == pass_id).group_by(frontier.c.state))
        return {FrontierState(state): count for state, count in rows}


def reopen(store: Store, run: Run) -> None:
    """Prepare the frontier for resuming a pass. Raises LeaseLostError.

    Tentative requests are deleted, and GET and HEAD requests in the state "missed" are queued again. A pass that is not resumable
    starts over with an empty frontier, and its rules are counted anew.
    """
    own = frontier.c.pass_id == run.pass_id
    with store.write(spider=run.spider) as connection:
        leases.verify(connection, runs, run.id, owner=run.lease_owner)
        row = connection.execute(select(passes.c.resumable, passes.c.coverage).where(passes.c.id == run.pass_id)).one()
        if not row.resumable:
            connection.execute(frontier.delete().where(own))
            connection.execute(update(passes).where(passes.c.id == run.pass_id).values(coverage=row.coverage | {"rules": {}, "obstacle": None}))
        connection.execute(frontier.delete().where(own, frontier.c.state.in_(
            [FrontierState.TENTATIVE.value, FrontierState.FORGOTTEN.value])))
        missed = connection.execute(select(frontier.c.id, frontier.c.request).where(
            own, frontier.c.state == FrontierState.MISSED.value))
        again = [row.id for row in missed if row.request.get("method", "GET") in ("GET", "HEAD")]
        connection.execute(update(frontier).where(is_one_of(connection, frontier.c.id, again)).values(
            state=FrontierState.WAITING.value))


def set_page_aside(store: Store, run: Run, frontier_id: int, why: str, *, at_once: bool) -> str:
    """Record that the process of a run ended while it processed a page.

    If this is the second time for this page, skip the page for the rest of the pass.
    why: how the process ended. at_once: whether to skip the page even if this is the first time. Returns the URL of the page if the
    page is skipped for the rest of the pass, otherwise "". Raises LeaseLostError.
    """
    with store.write(durable=True, spider=run.spider) as connection:
        leases.verify(connection, runs, run.id, owner=run.lease_owner)
        row = connection.execute(select(frontier).where(
            frontier.c.id == frontier_id, frontier.c.pass_id == run.pass_id,
            frontier.c.state.in_([FrontierState.WAITING.value, FrontierState.TENTATIVE.value]))).first()
        if row is None:
            return ""
        aside = at_once or bool(row.error)
        connection.execute(update(frontier).where(frontier.c.id == frontier_id).values(
            error=why, state=FrontierState.ASIDE.value if aside else row.state))
        return str(row.url) if aside else ""


def first_set_aside(store: Store, pass_id: int) -> str:
    """Return the URL of the first page that a pass skips, and the reason; "" if there is none.

    See `set_page_aside`.
    """
    with store.read() as connection:
        row = connection.execute(select(frontier.c.url, frontier.c.error).where(
            frontier.c.pass_id == pass_id, frontier.c.state == FrontierState.ASIDE.value).order_by(frontier.c.id).limit(1)).first()
        return f"{row.url} {row.error}" if row is not None else ""


def mark_not_resumable(store: Store, run: Run) -> None:
    """Mark the pass as not resumable, so that the next run of the pass starts over.

    This is necessary if some requests of the pass exist only in memory. Raises LeaseLostError.
    """
    with store.write(spider=run.spider) as connection:
        leases.verify(connection, runs, run.id, owner=run.lease_owner)
        connection.execute(update(passes).where(passes.c.id == run.pass_id).values(resumable=False))


