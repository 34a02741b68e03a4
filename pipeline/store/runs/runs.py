"""Runs: the attempts at what slots asked for (slots.py).

Runs wait (started_at NULL), run (leased) and end (outcome). A running one whose lease ran out is abandoned, and
its pass gets a new run.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Connection, and_, exists, func, insert, literal, or_, select, update

from pipeline.model import ChangeKind, DownloadState, FrontierState, Outcome, Progress, Run, Transfer
from pipeline.store.crawl.compare import Coverage
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import changes, digests, downloads, frontier, items, messages, passes, rejects, runs
from pipeline.store.runs import leases
from pipeline.store.runs.follow_ups import FollowUps
from pipeline.store.runs.slots import (
    COUNTED_ATTEMPT,
    NOT_SKIPPED,
    PASS_MAX_AGE,
    PASS_MAX_RUNS,
    Overlap,
    SlotClaim,
    claim,
    insert_run,
    pass_for,
    run_of,
)

CLOCK_SET_BACK = timedelta(minutes=1)
"""A run that was made so far in the future was made before the clock was set back: what it waited for is over."""
_PASSES_BACK = 100
"""How far the last pass that found something is looked for."""
QUIET = "QuietHours"
"""The error_kind of a run that quiet hours stopped, or kept from beginning."""
HOST_PAUSED = "HostPaused"
"""The error_kind of a run that did not begin because its hosts asked to be left alone."""
_HELD = (QUIET, HOST_PAUSED)


@dataclass(frozen=True)
class Ending:
    """How a run ended. complete: the frontier ran empty with nothing missing; keep_open: the next run goes on;
    retry: what it failed of may pass.

    coverage: by field, the share of items that must have it for the run not to be suspect; keep_unseen: what this
    pass did not see is still there (a feed names its newest entries only).
    """

    outcome: Outcome
    error: str = ""
    error_kind: str = ""
    complete: bool = False
    keep_open: bool = False
    coverage: Mapping[str, float] = field(default_factory=dict)
    keep_unseen: bool = False
    retry: bool = False


def claim_slot(store: Store, spider: str, key: str, *, due_at: datetime, reason: str, now: datetime,
               overlap: Overlap = "skip") -> Run | None:
    """Claim one slot: its pass and a waiting run, or a run that says why it was skipped. None: claimed before."""
    with store.write(durable=True) as connection:
        return claim(connection, SlotClaim(spider, key, due_at, reason, overlap), now=now)


def start_run(store: Store, run_id: int | None, *, owner: str, now: datetime, limit: int,
              held: Collection[str] = ()) -> Run | None:
    """Lease a waiting run (any, oldest first, when run_id is None) while fewer than `limit` are running.

    held: spiders whose runs go on waiting.

    A spider has one run at work and, but for retries, one waiting: the oldest first is fair between spiders.
    """
    with store.write(durable=True) as connection:
        at_work = runs.alias()
        running = connection.execute(select(func.count()).where(
            runs.c.started_at.is_not(None), runs.c.ended_at.is_(None), runs.c.lease_until > now)).scalar_one()
        if running >= limit:
            return None
        busy = exists().where(at_work.c.spider == runs.c.spider, at_work.c.started_at.is_not(None),
                              at_work.c.ended_at.is_(None))
        waiting = and_(runs.c.started_at.is_(None), runs.c.ended_at.is_(None), ~busy,
                       or_(runs.c.not_before.is_(None), runs.c.not_before <= now,
                           runs.c.created_at > now + CLOCK_SET_BACK))
        if run_id is not None:
            waiting = and_(waiting, runs.c.id == run_id)
        if held:
            waiting = and_(waiting, runs.c.spider.not_in(sorted(held)))
        while taken := leases.take(connection, runs, waiting, owner=owner, now=now, order_by=[runs.c.id]):
            row = connection.execute(update(runs).where(runs.c.id == taken[0]).values(started_at=now).returning(runs))
            if (run := _with_open_pass(connection, run_of(row.one()), now)) is not None:
                return run
        return None


def _with_open_pass(connection: Connection, run: Run, now: datetime) -> Run | None:
    """The run, on a pass that is open. One that queued up behind another may find that one's pass finished."""
    closed_at = connection.execute(select(passes.c.closed_at).where(passes.c.id == run.pass_id)).scalar_one()
    if closed_at is None:
        return run
    if run.reason in ("resume", "retry"):
        leases.end(connection, runs, run.id, owner=run.lease_owner, started_at=None, ended_at=now,
                   outcome=Outcome.SKIPPED.value, error="its pass was finished by another run")
        return None
    row = connection.execute(update(runs).where(runs.c.id == run.id).values(
        pass_id=pass_for(connection, run.spider, run.slot_id, now)).returning(runs))
    return run_of(row.one())


def waiting_runs(store: Store) -> list[Run]:
    with store.read() as connection:
        return [run_of(row) for row in connection.execute(select(runs).where(
            runs.c.started_at.is_(None), runs.c.ended_at.is_(None)).order_by(runs.c.id))]


def report_progress(store: Store, run: Run, progress: Progress, transfers: Sequence[Transfer] = (), *,
                    now: datetime) -> bool:
    """Write what the run has done and what is under way, and renew its lease; False when it is no longer ours."""
    with store.write() as connection:
        if not leases.renew(connection, runs, run.id, owner=run.lease_owner, now=now):
            return False
        connection.execute(update(runs).where(runs.c.id == run.id).values(
            progress=asdict(progress), transfers=[asdict(each) for each in transfers]))
        return True


def end_run(store: Store, run: Run, ending: Ending, progress: Progress | None, *, now: datetime,
            follow_ups: FollowUps | None = None) -> Run:
    """Write the outcome; where the pass is complete, what it no longer saw is gone. Raises LeaseLostError.

    A pass that found nothing where there were items, or lacks a field they all had, is suspect: nothing is marked
    gone, and the reason stands where an error would.
    """
    with store.write(durable=True) as connection:
        leases.verify(connection, runs, run.id, owner=run.lease_owner)
        if progress is None:  # the child died: its last word is in the row
            stored = connection.execute(select(runs).where(runs.c.id == run.id)).one()
            progress = run_of(stored).progress
        doubt = ""
        if ending.complete and not ending.keep_unseen:
            present = select(func.count()).where(items.c.spider == run.spider, items.c.present)
            seen = connection.execute(present.where(items.c.pass_id == run.pass_id)).scalar_one()
            missing = connection.execute(present.where(items.c.pass_id < run.pass_id)).scalar_one()
            doubt = f"it found none of the {missing} items there were" if missing and not seen else \
                _lacking(connection, run, ending.coverage)
            if missing and not doubt:
                progress.gone += _mark_gone(connection, run, now)
        suspect = bool(doubt)
        if not ending.keep_open:
            connection.execute(update(passes).where(passes.c.id == run.pass_id).values(
                closed_at=now, complete=ending.complete and not suspect))
        leases.end(connection, runs, run.id, owner=run.lease_owner, ended_at=now, outcome=ending.outcome.value,
                   error="; ".join(filter(None, (doubt, ending.error))), error_kind=ending.error_kind, complete=ending.complete, suspect=suspect,
                   progress=asdict(progress), transfers=[])
        if follow_ups is not None:
            follow_ups.begin(connection, run, outcome=ending.outcome, open_pass=ending.keep_open, can_help=ending.retry,
                         now=now)
        return run_of(connection.execute(select(runs).where(runs.c.id == run.id)).one())


def _lacking(connection: Connection, run: Run, wanted: Mapping[str, float]) -> str:
    """What this pass lacks of the fields the last whole one had; a second pass without them is not sudden any more.

    One that found nothing says nothing of fields.
    """
    own = connection.execute(select(passes.c.coverage).where(passes.c.id == run.pass_id)).scalar_one()
    # Not asked of the database: PostgreSQL looks into no JSON whose names hold what scraped text holds.
    earlier = connection.execute(select(passes.c.coverage).join(runs, runs.c.pass_id == passes.c.id).where(
        passes.c.spider == run.spider, passes.c.id < run.pass_id, runs.c.complete,
    ).order_by(passes.c.id.desc()).limit(_PASSES_BACK)).scalars()
    before = next((found for found in map(Coverage.of_row, earlier) if found.items), Coverage())
    return Coverage.of_row(own).lacking(before, wanted)


def _mark_gone(connection: Connection, run: Run, now: datetime) -> int:
    """What was neither seen nor refused: an item kept aside for what is wrong with it is still there."""
    refused = select(rejects.c.key).join(runs, runs.c.id == rejects.c.run_id).where(runs.c.pass_id == run.pass_id)
    unseen = and_(items.c.spider == run.spider, items.c.present, items.c.pass_id < run.pass_id,
                  items.c.key.not_in(refused))
    result = connection.execute(insert(changes).from_select(
        ["run_id", "spider", "key", "kind", "at", "before", "after"],
        select(literal(run.id), items.c.spider, items.c.key, literal(ChangeKind.GONE.value), literal(now, changes.c.at.type),
               func.coalesce(items.c.reported, items.c.data), literal({}, changes.c.after.type)).where(unseen)))
    connection.execute(update(items).where(unseen).values(present=False, changed_at=now))
    return int(result.rowcount)


def renew_run(store: Store, run: Run, *, now: datetime) -> bool:
    """Renew the lease of a run whose process is alive, however busy; False when it is no longer ours."""
    with store.write() as connection:
        return leases.renew(connection, runs, run.id, owner=run.lease_owner, now=now)


def abandon_expired(store: Store, *, now: datetime, performing: Collection[int] | None = None) -> list[Run]:
    """End every running run whose lease ran out, and give its pass a new waiting run. Returns the ended ones.

    Owners of this machine that are gone are not waited for, and those that are there after all
    (the clock jumped, the machine slept) are spared. performing: the ids of those of our own that somebody still sees
    to; None: all.
    """
    with store.write(durable=True) as connection:
        leases.release_dead(connection, (runs, downloads, digests, messages), own=store.owner, now=now)
        expired = [run_of(row) for row in connection.execute(select(runs).where(
            runs.c.started_at.is_not(None), runs.c.ended_at.is_(None), leases.free(runs, now)))]
        lost = [run for run in expired if not _is_seen_to(run, store.owner, performing)]
        for run in lost:
            connection.execute(update(runs).where(runs.c.id == run.id).values(
                ended_at=now, outcome=Outcome.ABANDONED.value, lease_owner="", lease_until=None, transfers=[],
                error="its process was gone before it ended"))
            _take_up(connection, run, now)
        return lost


def _is_seen_to(run: Run, own: str, performing: Collection[int] | None) -> bool:
    if run.lease_owner == own and performing is not None:
        return run.id in performing
    return bool(leases.owner_is_alive(run.lease_owner, own))


def resume_stopped(store: Store, *, now: datetime, quiet_only: bool = False) -> list[Run]:
    """After a stop: new runs for passes that were cut short by it. Returns the waiting runs.

    quiet_only: for those that quiet hours stopped lately, or that waited for a host.
    """
    open_passes = select(passes.c.id).where(passes.c.closed_at.is_(None))
    last = select(func.max(runs.c.id)).where(NOT_SKIPPED, runs.c.pass_id.in_(open_passes)).group_by(runs.c.pass_id)
    wanted = runs.c.outcome == Outcome.STOPPED.value
    if quiet_only:
        lately = select(runs.c.pass_id).where(runs.c.ended_at > now - PASS_MAX_AGE, runs.c.error_kind.in_(_HELD))
        last = last.where(runs.c.pass_id.in_(lately))
        wanted = and_(wanted, runs.c.error_kind.in_(_HELD))
        with store.read() as connection:  # asked again and again, and seldom is there any: no need to hold up writers
            if connection.execute(lately.limit(1)).first() is None:
                return []
    with store.write(durable=True) as connection:
        cut = connection.execute(select(runs).where(wanted, runs.c.id.in_(last)))
        return [run for run in (_take_up(connection, run_of(row), now) for row in cut.all()) if run]


def _take_up(connection: Connection, run: Run, now: datetime) -> Run | None:
    found = connection.execute(select(passes).where(passes.c.id == run.pass_id)).one()
    attempts = connection.execute(select(func.count()).where(
        runs.c.pass_id == run.pass_id, COUNTED_ATTEMPT)).scalar_one()
    waits = connection.execute(select(runs.c.id).where(
        runs.c.spider == run.spider, runs.c.started_at.is_(None), runs.c.ended_at.is_(None))).first()
    if found.closed_at is not None or attempts >= PASS_MAX_RUNS or waits is not None:
        return None
    return insert_run(connection, pass_id=run.pass_id, slot_id=run.slot_id, spider=run.spider, reason="resume",
                      due_at=run.due_at, created_at=now)


def get_run(store: Store, run_id: int) -> Run | None:
    with store.read() as connection:
        row = connection.execute(select(runs).where(runs.c.id == run_id)).first()
        return run_of(row) if row is not None else None


def history(store: Store, spider: str | None = None, *, limit: int = 20) -> list[Run]:
    """Past and present runs, the newest first."""
    wanted = select(runs).order_by(runs.c.id.desc()).limit(limit)
    if spider is not None:
        wanted = wanted.where(runs.c.spider == spider)
    with store.read() as connection:
        return [run_of(row) for row in connection.execute(wanted)]


def work_left(store: Store, pass_id: int) -> tuple[int, int]:
    """Pages waiting in the frontier and downloads waiting, of one pass."""
    with store.read() as connection:
        pages_waiting = connection.execute(select(func.count()).where(
            frontier.c.pass_id == pass_id,
            frontier.c.state.in_([FrontierState.WAITING.value, FrontierState.TENTATIVE.value]))).scalar_one()
        files_waiting = connection.execute(select(func.count()).where(
            downloads.c.pass_id == pass_id, downloads.c.state == DownloadState.WAITING.value)).scalar_one()
        return int(pages_waiting), int(files_waiting)
