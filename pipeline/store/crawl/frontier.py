"""The frontier, and pages committed whole.

`commit_pages` is the one place where what a crawl found becomes true: items compared and stored, changes
written, downloads and links queued, the frontier row done, all in one transaction. Killed before it, the
page is fetched again; after it, never.
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

COUNTS_IN = "pipeline_counts_in"
"""The meta key, in the store only, of a start: the host that it redirected to."""
_EXTRAS = ("encoding", "callback", "errback", "meta", "cb_kwargs", "cookies")


@dataclass(frozen=True)
class Queued:
    """A frontier row on its way to the crawl."""

    id: int
    request: Request


def fingerprint(request: Request) -> bytes:
    """SHA-1 over method, URL (whatever the order of its query), body, and which start, page number or item it is
    for: the same page is fetched once a pass."""
    meta = request.meta
    part = f"{meta.get('pipeline_start', '')} {meta.get('pipeline_part', '')}" if meta else " "
    parts = (request.method.encode(), _canonical(request.url).encode("utf-8", "surrogatepass"), part.encode(), request.body)
    return hashlib.sha1(b"\n".join(parts), usedforsecurity=False).digest()


def _canonical(url: str) -> str:
    url = url.partition("#")[0]
    head, mark, query = url.partition("?")
    return f"{head}?{'&'.join(sorted(query.split('&')))}" if mark else url


def _extra(request: Request) -> dict[str, Json]:
    """What differs from a plain GET."""
    extra: dict[str, Json] = {name: value for name in _EXTRAS if (value := getattr(request, name))}
    if request.method != "GET":
        extra["method"] = request.method
    if request.headers:
        extra["headers"] = [list(pair) for pair in request.headers]
    if request.body:
        extra["body"] = base64.b64encode(request.body).decode()
    return extra


def _from_row(row: Row[Any]) -> Queued:
    extra = dict(row.request)
    if "headers" in extra:
        extra["headers"] = tuple((name, value) for name, value in extra["headers"])
    if "body" in extra:
        extra["body"] = base64.b64decode(extra["body"])
    return Queued(row.id, Request(url=row.url, priority=-row.priority, depth=row.depth, **extra))


def add_to_frontier(connection: Connection, pass_id: int, requests: Iterable[Request],
                    state: FrontierState = FrontierState.WAITING) -> list[Queued]:
    """Queue what this pass has not seen yet; returns the rows that are new."""
    wanted: dict[bytes, Request] = {}
    for request in requests:
        # A request that asks for no filtering is a page of its own each time.
        wanted.setdefault(os.urandom(20) if request.dont_filter else fingerprint(request), request)
    last = connection.execute(select(func.max(frontier.c.id))).scalar_one() or 0
    insert_rows(connection, frontier, len(wanted), new_only=True, pass_id=pass_id, fingerprint=Each(wanted),
                url=Each(request.url for request in wanted.values()),
                request=Each(map(_extra, wanted.values())),
                priority=Each(-request.priority for request in wanted.values()),
                depth=Each(request.depth for request in wanted.values()), state=state.value)
    # Whoever holds the run is the only one that adds to its pass, and ids only grow.
    added = connection.execute(select(frontier.c.id, frontier.c.fingerprint, frontier.c.pass_id).where(frontier.c.id > last))
    return [Queued(row.id, wanted[row.fingerprint]) for row in added if row.pass_id == pass_id]


def enqueue(store: Store, run: Run, requests: Iterable[Request],
            state: FrontierState = FrontierState.WAITING) -> list[Queued]:
    """Queue requests that belong to no page, such as the starts, or tentative ones. Raises LeaseLostError."""
    with store.write() as connection:
        leases.verify(connection, runs, run.id, owner=run.lease_owner)
        return add_to_frontier(connection, run.pass_id, requests, state)


def forget(store: Store, run: Run, ids: Sequence[int]) -> None:
    """Take tentative requests out of the frontier; they may be queued anew. Raises LeaseLostError.

    Their rows stay until the next run: SQLite would give their ids to others, and some may be under way.
    """
    rows = [{"row": row, "unlike_any": os.urandom(20)} for row in ids]
    with store.write() as connection:
        leases.verify(connection, runs, run.id, owner=run.lease_owner)
        if rows:
            connection.execute(update(frontier).where(
                frontier.c.id == bindparam("row"), frontier.c.state == FrontierState.TENTATIVE.value,
            ).values(state=FrontierState.FORGOTTEN.value, fingerprint=bindparam("unlike_any")), rows)


def waiting(store: Store, pass_id: int, *, limit: int, besides: Sequence[int] = (),
            tentative: bool = False) -> list[Queued]:
    """The next requests of a pass, most urgent first, leaving out the ids that are under way; perhaps tentative ones, too."""
    state = frontier.c.state == FrontierState.WAITING.value
    if tentative:  # apart, since the index then serves one state only
        state = or_(state, frontier.c.state == FrontierState.TENTATIVE.value)
    wanted = select(frontier).where(frontier.c.pass_id == pass_id, state).order_by(frontier.c.priority, frontier.c.id).limit(limit + len(besides))
    away = set(besides)
    with store.read() as connection:
        found = [_from_row(row) for row in connection.execute(wanted) if row.id not in away]
    return found[:limit]


def first_requests(store: Store, pass_id: int, *, limit: int = 1000) -> list[Request]:
    """The requests of depth 0 of a pass, the oldest first: its starts, whatever became of them."""
    wanted = select(frontier).where(frontier.c.pass_id == pass_id, frontier.c.depth == 0).order_by(
        frontier.c.id).limit(limit)
    with store.read() as connection:
        return [_from_row(row).request for row in connection.execute(wanted)]


def counts(store: Store, pass_id: int) -> dict[FrontierState, int]:
    """How many pages of a pass are in each state."""
    with store.read() as connection:
        rows = connection.execute(select(frontier.c.state, func.count()).where(
            frontier.c.pass_id == pass_id).group_by(frontier.c.state))
        return {FrontierState(state): count for state, count in rows}


def reopen(store: Store, run: Run) -> None:
    """What an earlier run of the pass left: its tentative requests go, the pages it missed wait again.

    A pass whose requests could not all be kept begins at its starts again. Raises LeaseLostError.
    """
    own = frontier.c.pass_id == run.pass_id
    with store.write() as connection:
        leases.verify(connection, runs, run.id, owner=run.lease_owner)
        if not connection.execute(select(passes.c.resumable).where(passes.c.id == run.pass_id)).scalar_one():
            connection.execute(frontier.delete().where(own))
        connection.execute(frontier.delete().where(own, frontier.c.state.in_(
            [FrontierState.TENTATIVE.value, FrontierState.FORGOTTEN.value])))
        missed = connection.execute(select(frontier.c.id, frontier.c.request).where(
            own, frontier.c.state == FrontierState.MISSED.value))
        again = [row.id for row in missed if row.request.get("method", "GET") in ("GET", "HEAD")]
        connection.execute(update(frontier).where(is_one_of(connection, frontier.c.id, again)).values(
            state=FrontierState.WAITING.value))


def set_page_aside(store: Store, run: Run, frontier_id: int, why: str, *, at_once: bool) -> str:
    """A page ended the process that had it in hand: leave it out of this pass, at once or when it happens twice.

    Its URL when it is set aside now, else "". Raises LeaseLostError.
    """
    with store.write(durable=True) as connection:
        leases.verify(connection, runs, run.id, owner=run.lease_owner)
        row = connection.execute(select(frontier).where(
            frontier.c.id == frontier_id, frontier.c.pass_id == run.pass_id,
            frontier.c.state.in_([FrontierState.WAITING.value, FrontierState.TENTATIVE.value]))).first()
        if row is None:
            return ""
        aside = at_once or bool(row.error)
        connection.execute(update(frontier).where(frontier.c.id == frontier_id).values(
            error=why[:2000], state=FrontierState.ASIDE.value if aside else row.state))
        return str(row.url) if aside else ""


def first_set_aside(store: Store, pass_id: int) -> str:
    """Which page a pass set aside first, and why; "" for none."""
    with store.read() as connection:
        row = connection.execute(select(frontier.c.url, frontier.c.error).where(
            frontier.c.pass_id == pass_id, frontier.c.state == FrontierState.ASIDE.value).order_by(frontier.c.id).limit(1)).first()
        return f"{row.url} {row.error}" if row is not None else ""


def mark_not_resumable(store: Store, run: Run) -> None:
    """The pass holds requests in memory only: its next run starts over."""
    with store.write() as connection:
        leases.verify(connection, runs, run.id, owner=run.lease_owner)
        connection.execute(update(passes).where(passes.c.id == run.pass_id).values(resumable=False))


