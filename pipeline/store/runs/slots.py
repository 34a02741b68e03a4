"""Slots: claim each due time once, which creates a pass and a run, or a skipped run with the reason.

The cursor of a schedule is the time up to which the slots of the schedule were processed, so that a restart neither misses
a slot nor examines old slots. The unique key of a slot ensures that the slot is claimed only once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection, Row, func, insert, select, update

from pipeline.model import Outcome, Progress, Run, Transfer
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import cursors, passes, runs, slots
from pipeline.store.runs import jobs, leases
from pipeline.store.runs.paused_spiders import pauses

PASS_MAX_AGE = timedelta(hours=24)
"""An open pass older than this is outdated: the next slot starts a new pass instead of resuming it."""
PASS_MAX_RUNS = 8
"""The maximum number of attempts at one pass. After the last attempt, the next slot starts a new pass."""
KILL_GRACE = timedelta(seconds=2)
"""How long a run that replaces a killed run waits, so that the process of the killed run notices the loss of its lease.

With PostgreSQL, it waits until the lease would have expired, if this is later: a process that is cut off from the database ends before.
"""

Overlap = Literal["skip", "queue", "kill"]

NOT_SKIPPED = func.coalesce(runs.c.outcome, "") != Outcome.SKIPPED.value
"""SQL for runs that were not skipped. A run that has not ended has no outcome."""

COUNTED_ATTEMPT = func.coalesce(runs.c.outcome, "").not_in((Outcome.SKIPPED.value, Outcome.STOPPED.value))
"""SQL for runs that count towards PASS_MAX_RUNS.

PASS_MAX_RUNS ends passes that fail again and again. A stopped run does not count, because a stop is not a failure.
"""

_PROGRESS = set(Progress.__dataclass_fields__)


@dataclass(frozen=True)
class SlotClaim:
    """A slot to claim.

    key: identifies the slot: the due time by the wall clock, or the request that created the slot.
    reason: why the slot is due (schedule, catch-up, manual, after).
    schedule: the name of the schedule to which the slot belongs; "" if there is none.
    planned: the planned time of the slot, up to which the schedule then counts as processed; None if there is no schedule.
    skip: why the slot must be skipped; "" if it must not be skipped.
    """

    spider: str
    key: str
    due_at: datetime
    reason: str
    overlap: Overlap = "skip"
    schedule: str = ""
    planned: datetime | None = None
    skip: str = ""


def run_of(row: Row[Any]) -> Run:
    """Convert a row of the table `runs` to a Run."""
    values = row._asdict()
    values["outcome"] = Outcome(values["outcome"]) if values["outcome"] else None
    values["progress"] = Progress(**{k: v for k, v in (values["progress"] or {}).items() if k in _PROGRESS})
    values["transfers"] = tuple(Transfer(**each) for each in values["transfers"] or ())
    return Run(**values)


def insert_run(connection: Connection, **values: Any) -> Run:
    """Insert a run, with the queue of its spider, and defer the job of the run if it waits."""
    queue = jobs.queue_of(connection, values["spider"])
    run = run_of(connection.execute(insert(runs).values(progress={}, queue=queue, **values).returning(runs)).one())
    if run.ended_at is None:
        jobs.defer_run(connection, run)
    return run


def claim_due(store: Store, wanted: Sequence[SlotClaim], *, now: datetime) -> list[Run]:
    """Claim several slots in one transaction.

    Returns the runs of the slots that had not been claimed before.
    """
    with store.write(durable=True) as connection, jobs.deferred_together(connection):
        return [run for slot in wanted if (run := claim(connection, slot, now=now)) is not None]


def claim(connection: Connection, wanted: SlotClaim, *, now: datetime) -> Run | None:
    """Claim a slot: create its pass and a waiting run, or a skipped run with the reason; return the run.

    Returns None if the slot was already claimed. If a run of the spider is already waiting, a manual claim returns this run, so
    that `pipeline run` can start the run without a service.
    """
    if wanted.planned is not None:
        _move(connection, "spider", wanted.spider, wanted.schedule, wanted.planned)
    taken = select(slots.c.id).where(slots.c.spider == wanted.spider, slots.c.key == wanted.key)
    if connection.execute(taken).first() is not None:
        return None
    slot_id = connection.execute(insert(slots).values(
        spider=wanted.spider, key=wanted.key, due_at=wanted.due_at, claimed_at=now, reason=wanted.reason,
    ).returning(slots.c.id)).scalar_one()
    values = {"spider": wanted.spider, "slot_id": slot_id, "reason": wanted.reason, "due_at": wanted.due_at,
              "created_at": now}
    if wanted.skip:
        return _skipped(connection, None, wanted.skip, **values)
    pass_id: int | None = None
    for other in _unended(connection, wanted.spider):
        if other.started_at is None and other.reason == "retry":
            _end(connection, other.id, Outcome.SKIPPED, "this run was replaced by the run of the next slot", now)
        elif other.started_at is None or wanted.overlap == "skip":
            if other.started_at is None and wanted.reason == "manual":
                return _run(connection, other.id)
            doing = "is still running" if other.started_at is not None else "has not started yet"
            return _skipped(connection, other.pass_id, f"run {other.id} {doing}", **values)
        elif wanted.overlap == "queue":
            pass_id = other.pass_id  # start_run decides which pass the queued run works on
        else:
            _end(connection, other.id, Outcome.KILLED, "this run was replaced by the run of the next slot (overlap = \"kill\")", now)
            values["not_before"] = _after_kill(connection, other.lease_until, now)
    if pass_id is None:
        pass_id = pass_for(connection, wanted.spider, slot_id, now)
    return insert_run(connection, pass_id=pass_id, **values)


def _after_kill(connection: Connection, lease_until: datetime | None, now: datetime) -> datetime:
    """Return when a run may start that replaces a killed run with this lease."""
    earliest = leases.shared_time(connection, now) + KILL_GRACE
    return earliest if lease_until is None or connection.dialect.name != "postgresql" else max(earliest, lease_until)


def _run(connection: Connection, run_id: int) -> Run:
    return run_of(connection.execute(select(runs).where(runs.c.id == run_id)).one())


def _unended(connection: Connection, spider: str) -> Sequence[Any]:
    """Return the spider's runs that have not ended, waiting runs first."""
    return connection.execute(select(runs.c.id, runs.c.pass_id, runs.c.started_at, runs.c.reason, runs.c.lease_until).where(
        runs.c.spider == spider, runs.c.ended_at.is_(None)).order_by(runs.c.started_at.is_not(None), runs.c.id)).all()


def _end(connection: Connection, run_id: int, outcome: Outcome, error: str, now: datetime) -> None:
    """End a run of another process. That process then notices that it has lost its lease."""
    connection.execute(update(runs).where(runs.c.id == run_id).values(
        ended_at=now, outcome=outcome.value, error=error, lease_owner="", lease_until=None))


def _skipped(connection: Connection, pass_id: int | None, why: str, **values: Any) -> Run:
    if pass_id is None:  # a skipped run needs a pass, too, which is never crawled
        pass_id = _open_pass(connection, values["spider"], values["slot_id"], values["created_at"],
                             closed_at=values["created_at"])
    return insert_run(connection, pass_id=pass_id, ended_at=values["created_at"], outcome=Outcome.SKIPPED.value,
                      error=why, **values)


def pass_for(connection: Connection, spider: str, slot_id: int, now: datetime) -> int:
    """Return the id of the spider's open pass if the pass can be resumed, otherwise the id of a new pass."""
    found = connection.execute(select(passes).where(passes.c.spider == spider, passes.c.closed_at.is_(None))
                               .order_by(passes.c.id.desc())).first()
    if found is not None:
        attempts = connection.execute(select(func.count()).where(runs.c.pass_id == found.id, COUNTED_ATTEMPT)).scalar_one()
        if found.resumable and now - found.opened_at < PASS_MAX_AGE and attempts < PASS_MAX_RUNS:
            return int(found.id)
        connection.execute(update(passes).where(passes.c.spider == spider, passes.c.closed_at.is_(None))
                           .values(closed_at=now))
    return _open_pass(connection, spider, slot_id, now)


def _open_pass(connection: Connection, spider: str, slot_id: int, now: datetime, **values: Any) -> int:
    return int(connection.execute(insert(passes).values(
        spider=spider, slot_id=slot_id, opened_at=now, complete=False, resumable=True, **values,
    ).returning(passes.c.id)).scalar_one())


def claim_after(connection: Connection, run: Run, followers: Mapping[str, Overlap], *, now: datetime) -> None:
    """Claim a slot for each spider that runs after the spider of this run.

    This happens in the transaction that ends the pass.
    followers: maps each of these spiders to its `overlap` setting.
    """
    stopped = pauses(connection, now=now) if followers else {}
    for spider, overlap in followers.items():
        claim(connection, SlotClaim(spider, f"after {run.spider} pass {run.pass_id}", now, "after", overlap,
                                 skip="the spider is paused" if spider in stopped else ""), now=now)


# Cursors


def read_cursors(store: Store, kind: Literal["spider", "digest"]) -> dict[tuple[str, str], datetime]:
    """Return a mapping from each schedule to the time up to which its slots were processed.

    The keys are pairs: the name of the spider or digest, and the name of the schedule.
    """
    with store.read() as connection:
        rows = connection.execute(select(cursors.c.name, cursors.c.schedule, cursors.c.planned).where(
            cursors.c.kind == kind))
        return {(row.name, row.schedule): row.planned for row in rows}


def move_cursor(store: Store, kind: Literal["spider", "digest"], name: str, schedule: str, planned: datetime) -> None:
    with store.write() as connection:
        _move(connection, kind, name, schedule, planned)


def begin_cursors(store: Store, kind: Literal["spider", "digest"], fresh: Iterable[tuple[str, str, datetime]]) -> None:
    """Create cursors for new schedules. An existing cursor is left unchanged.

    fresh: for each schedule, the name of its spider or digest, the name of the schedule, and the time for the cursor.
    """
    with store.write() as connection:
        known = {(row.name, row.schedule) for row in connection.execute(
            select(cursors.c.name, cursors.c.schedule).where(cursors.c.kind == kind))}
        rows = {(name, schedule): planned for name, schedule, planned in fresh if (name, schedule) not in known}
        if rows:
            connection.execute(insert(cursors), [
                {"kind": kind, "name": name, "schedule": schedule, "planned": planned}
                for (name, schedule), planned in rows.items()])


def _move(connection: Connection, kind: str, name: str, schedule: str, planned: datetime) -> None:
    """Move a cursor forward, never back: another service may already have moved the cursor further."""
    connection.execute(update(cursors).where(
        cursors.c.kind == kind, cursors.c.name == name, cursors.c.schedule == schedule, cursors.c.planned < planned,
    ).values(planned=planned))
