"""Proposals of new rules after suspect passes.

One row for each spider, which holds the proposal for its last suspect pass.

A row is written before the search begins. If the process that searches dies, its lease expires, and the search is repeated.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, and_, func, insert, select, update

from pipeline.model import Json, Outcome, Run
from pipeline.store.database.column_types import masked_json, storable_json
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import downloads, items, mendings, runs
from pipeline.store.runs import leases
from pipeline.store.runs.slots import run_of

MAX_ATTEMPTS = 3
_RULES = frozenset({"changes", "rules"})
"""The keys of a report with the rules that are proposed, and the fingerprint of those that were searched."""
LEASE = timedelta(minutes=4)
SEARCH_AGAIN = timedelta(hours=1)
"""The minimum time between two searches for one spider whose passes stay suspect, while its settings do not change."""


class MendingState(StrEnum):
    """The state of a search for new rules.

    waiting: the search has not ended. proposed: new rules are proposed. nothing: no rules agree with the stored items, or the present
    rules still work. failed: the search itself failed. applying: the rules are being written to the settings file. applied: the
    settings file contains the new rules.
    """

    WAITING = "waiting"
    PROPOSED = "proposed"
    NOTHING = "nothing"
    FAILED = "failed"
    APPLYING = "applying"
    APPLIED = "applied"


@dataclass(frozen=True)
class StoredMending:
    """A row of the table. report: the result of pipeline.workers.pages.mend; {} until the search has ended."""

    id: int
    spider: str
    pass_id: int
    run_id: int
    created_at: datetime
    state: MendingState
    report: dict[str, Json]
    attempt: int


def request(store: Store, run: Run, *, now: datetime, rules: str = "") -> bool:
    """Ask for new rules after the suspect pass of a run.

    rules: a text that differs if the spider's settings differ. Return False if there was a search after this pass already, if one is in
    progress, or if neither an item nor a download is stored that could be found. If the passes before were suspect, too, and were
    searched less than SEARCH_AGAIN ago with the same rules, return False: the result of that search becomes that of this pass.
    """
    with store.write(durable=True) as connection:
        if all(connection.execute(select(table.c.id).where(table.c.spider == run.spider).limit(1)).first() is None
               for table in (items, downloads)):
            return False
        row = connection.execute(select(mendings).where(mendings.c.spider == run.spider)).first()
        if row is not None and (row.pass_id >= run.pass_id or row.lease_owner or row.state == MendingState.APPLYING.value):
            return False
        if row is not None and _is_recent(connection, row, run, now):
            if row.state == MendingState.APPLIED.value:
                return False
            if row.report.get("rules", rules) == rules and row.state != MendingState.WAITING.value:
                connection.execute(update(mendings).where(mendings.c.id == row.id).values(pass_id=run.pass_id, run_id=run.id))
                return False
        values = {"pass_id": run.pass_id, "run_id": run.id, "created_at": now, "state": MendingState.WAITING.value, "report": {}, "attempt": 0,
                  "lease_owner": "", "lease_until": None}
        connection.execute(insert(mendings).values(spider=run.spider, **values) if row is None
                           else update(mendings).where(mendings.c.id == row.id).values(**values))
        return True


def _is_recent(connection: Connection, row: Any, run: Run, now: datetime) -> bool:
    """Return whether the last search was made a short time ago, and every pass since then was suspect."""
    good = select(runs.c.id).where(runs.c.spider == run.spider, runs.c.id > row.run_id, runs.c.outcome == Outcome.SUCCEEDED.value,
                                   runs.c.suspect.is_(False)).limit(1)
    return bool(now - row.created_at < SEARCH_AGAIN) and connection.execute(good).first() is None


def last_suspect_runs(store: Store) -> list[Run]:
    """Return the last successful run of each spider whose last successful run is suspect."""
    last = select(func.max(runs.c.id)).where(runs.c.outcome == Outcome.SUCCEEDED.value).group_by(runs.c.spider)
    with store.read() as connection:
        return [run_of(row) for row in connection.execute(select(runs).where(runs.c.id.in_(last), runs.c.suspect).order_by(runs.c.id))]


def take(store: Store, *, owner: str, now: datetime, spider: str | None = None, skip: Collection[str] = ()) -> StoredMending | None:
    """Lease a search that waits, and return it; None if none waits. A search that was taken too often is ended as failed.

    spider: the spider whose search is wanted; None means any. skip: spiders whose searches must wait.
    """
    waiting = and_(mendings.c.state == MendingState.WAITING.value, mendings.c.spider.not_in(sorted(skip)),
                   *([mendings.c.spider == spider] if spider is not None else []))
    with store.write(durable=True) as connection:
        leases.release_dead(connection, [mendings], own=owner, now=now)
        while found := leases.take(connection, mendings, waiting, owner=owner, now=now, ttl=LEASE):
            mending = _of(connection.execute(select(mendings).where(mendings.c.id == found[0])).one())
            if mending.attempt <= MAX_ATTEMPTS:
                return mending
            leases.end(connection, mendings, mending.id, owner=owner, state=MendingState.FAILED.value,
                       report={"reason": f"the process that searches for new rules ended unexpectedly {MAX_ATTEMPTS} times"})
        return None


def finish(store: Store, mending: StoredMending, state: MendingState, report: Mapping[str, Any], *, owner: str) -> None:
    """Write the result of a search. Raises LeaseLostError."""
    with store.write(durable=True) as connection:
        leases.end(connection, mendings, mending.id, owner=owner, state=state.value, report=_stored(store, report))


def set_state(store: Store, mending: StoredMending, state: MendingState, *, after: MendingState, report: Mapping[str, Any] | None = None) -> bool:
    """Change the state of a proposal; return False if its state is not `after` any more, or if it is about another pass.

    report: replaces the report if not None.
    """
    values = {"state": state.value} if report is None else {"state": state.value, "report": _stored(store, report)}
    with store.write(durable=True) as connection:
        return connection.execute(update(mendings).where(
            mendings.c.id == mending.id, mendings.c.pass_id == mending.pass_id, mendings.c.state == after.value).values(
                **values)).rowcount == 1


def _stored(store: Store, report: Mapping[str, Any]) -> dict[str, Json]:
    """Return a report as it is stored: secrets are masked, but not in the rules, which would no longer work."""
    return {name: storable_json(value if name in _RULES else masked_json(value, store.mask)) for name, value in report.items()}


def of_spider(store: Store, spider: str) -> StoredMending | None:
    with store.read() as connection:
        row = connection.execute(select(mendings).where(mendings.c.spider == spider)).first()
    return _of(row) if row is not None else None


def interrupted(store: Store) -> list[StoredMending]:
    """Return the proposals that were being written to the settings file when the service ended."""
    with store.read() as connection:
        return [_of(row) for row in connection.execute(select(mendings).where(mendings.c.state == MendingState.APPLYING.value))]


def requested_since(store: Store, since: datetime) -> frozenset[int]:
    """Return the ids of the runs for which a search was requested after `since` and has not ended."""
    with store.read() as connection:
        return frozenset(connection.execute(select(mendings.c.run_id).where(
            mendings.c.state == MendingState.WAITING.value, mendings.c.created_at > since)).scalars())


def states(connection: Connection) -> dict[str, tuple[int, MendingState, str]]:
    """Return a mapping from each spider to the pass and the state of its last search, and why its new rules were not applied."""
    rows = connection.execute(select(mendings.c.spider, mendings.c.pass_id, mendings.c.state, mendings.c.report))
    return {spider: (pass_id, MendingState(state), report.get("not_applied") or "") for spider, pass_id, state, report in rows}


def _of(row: Any) -> StoredMending:
    return StoredMending(row.id, row.spider, row.pass_id, row.run_id, row.created_at, MendingState(row.state), row.report, row.attempt)
