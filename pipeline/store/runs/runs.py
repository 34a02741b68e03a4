"""Runs: how they start, report progress, end and are resumed.

A run is one attempt at the pass of a slot (slots.py). A run first waits (started_at is NULL), then runs (leased), and then
ends (with an outcome). If the lease of a run in progress expires, the run is abandoned, and its pass gets a new run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, and_, exists, func, insert, literal, or_, select, update

from pipeline.model import ChangeKind, DownloadState, FrontierState, Outcome, Progress, Run, Transfer
from pipeline.store.crawl import members
from pipeline.store.crawl.compare import Coverage
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import changes, digests, downloads, frontier, items, messages, passes, rejects, runs
from pipeline.store.runs import jobs, leases
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
from pipeline.store.runs.stop_requests import STOP_REQUESTED, STOPPED_BY_PERSON
from pipeline.text import counted

CLOCK_SET_BACK = timedelta(minutes=1)
"""A run whose creation time is further in the future than this was created before the clock was set back.

The run's not_before is then ignored.
"""
_PASSES_BACK = 100
"""The number of earlier passes to search for the last pass that found items."""
QUIET = "QuietHours"
"""The error_kind of a run that was stopped, or not allowed to start, because of quiet hours."""
HOST_PAUSED = "HostPaused"
"""The error_kind of a run that did not start because the host of its login, or of all its start URLs, is paused."""
_HELD = (QUIET, HOST_PAUSED)
UNKNOWN_SPIDER = "the spider is no longer in the settings"
"""The error of a run that was waiting when its spider was removed from the settings."""


@dataclass(frozen=True)
class Ending:
    """How a run ended.

    complete: whether the frontier is empty and no page is missing.
    keep_open: whether the pass stays open, so that the next run resumes it.
    coverage: maps a field to the share of the items (0 to 1) that must have the field; if fewer items have it, the run is suspect.
    keep_unseen: whether items that this pass did not see are not marked as gone, because the site shows only its newest entries, as
    a feed does.
    retry: whether a retry may succeed, because the cause of the failure may be temporary.
    doubt: why the run is suspect although it succeeded, such as a rule that matched nothing; "" if nothing is known that makes it
    suspect. allow_empty: whether it is normal that a pass finds no item.
    """

    outcome: Outcome
    error: str = ""
    error_kind: str = ""
    complete: bool = False
    keep_open: bool = False
    coverage: Mapping[str, float] = field(default_factory=dict)
    keep_unseen: bool = False
    retry: bool = False
    doubt: str = ""
    allow_empty: bool = False


def claim_slot(store: Store, spider: str, key: str, *, due_at: datetime, reason: str, now: datetime,
               overlap: Overlap = "skip") -> Run | None:
    """Claim a slot: create its pass and a waiting run, or a skipped run with the reason; return the run.

    Returns None if the slot was already claimed.
    """
    with store.write(durable=True) as connection:
        return claim(connection, SlotClaim(spider, key, due_at, reason, overlap), now=now)


def start_run(store: Store, run_id: int | None, *, owner: str, now: datetime, limit: int,
              held: Collection[str] = (), queues: Collection[str] = (), spider: str = "",
              stopping: Callable[[], bool] = lambda: False) -> Run | None:
    """Start a waiting run if fewer than `limit` runs are in progress. Returns None if no run can start.

    run_id: the run to start; None means the oldest waiting run. owner: the owner of the run's lease.
    limit: on a shared store, only the runs in progress of this owner count.
    held: the spiders whose runs must not start now. queues: the queues whose runs may start; empty means all queues.
    spider: the spider of the run `run_id`, so that runs of other spiders can start at the same time (PostgreSQL); "" if unknown.
    stopping: whether the owner stops and starts nothing more; asked within the transaction, for which a busy store can make it wait.
    A spider has at most one run in progress and, besides retries, one waiting run, so starting the oldest run first is fair.
    """
    with store.write(durable=True, spider=spider) as connection:
        if stopping():
            return None
        here, now = now, leases.shared_time(connection, now)
        at_work = runs.alias()
        running = select(func.count()).where(runs.c.started_at.is_not(None), runs.c.ended_at.is_(None), runs.c.lease_until > now)
        if store.shared:
            running = running.where(runs.c.lease_owner == owner)
        if connection.execute(running).scalar_one() >= limit:
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
        if queues:
            waiting = and_(waiting, runs.c.queue.in_(sorted(queues)))
        while taken := leases.take(connection, runs, waiting, owner=owner, now=here, order_by=[runs.c.id]):
            row = connection.execute(update(runs).where(runs.c.id == taken[0]).values(started_at=now).returning(runs))
            if (run := _with_open_pass(connection, run_of(row.one()), now)) is not None:
                return run
        return None


def _with_open_pass(connection: Connection, run: Run, now: datetime) -> Run | None:
    """Give the run a new pass if another run has finished the pass of this run, and return the run.

    A run that was created to resume or retry the finished pass is skipped instead, and the function returns None.
    """
    closed_at = connection.execute(select(passes.c.closed_at).where(passes.c.id == run.pass_id)).scalar_one()
    if closed_at is None:
        return run
    if run.reason in ("resume", "retry"):
        leases.end(connection, runs, run.id, owner=run.lease_owner, started_at=None, ended_at=now,
                   outcome=Outcome.SKIPPED.value, error="another run has already finished the pass of this run")
        return None
    row = connection.execute(update(runs).where(runs.c.id == run.id).values(
        pass_id=pass_for(connection, run.spider, run.slot_id, now)).returning(runs))
    return run_of(row.one())


def waiting_runs(store: Store) -> list[Run]:
    with store.read() as connection:
        return [run_of(row) for row in connection.execute(select(runs).where(
            runs.c.started_at.is_(None), runs.c.ended_at.is_(None)).order_by(runs.c.id))]


def report_progress(store: Store, run: Run, progress: Progress, transfers: Sequence[Transfer] = (), *,
                    now: datetime, on_stop: Callable[[], None] = lambda: None) -> bool:
    """Write the progress and the transfers of the run, and renew its lease.

    Returns False if another process has taken the run. on_stop: called if a person has asked to stop the run.
    """
    with store.write(spider=run.spider) as connection:
        if not leases.renew(connection, runs, run.id, owner=run.lease_owner, now=now):
            return False
        stop = connection.execute(update(runs).where(runs.c.id == run.id).values(
            progress=asdict(progress), transfers=[asdict(each) for each in transfers]).returning(runs.c.stop_requested_at)).scalar_one()
    if stop is not None:
        on_stop()
    return True


def end_run(store: Store, run: Run, ending: Ending, progress: Progress | None, *, now: datetime,
            follow_ups: FollowUps | None = None) -> Run:
    """Write the outcome of a run, and return the ended run. Raises LeaseLostError.

    If the pass is complete, items that the pass did not see are marked as gone. A pass is suspect if `ending.doubt` says so, if it
    found no items although the spider had items before, or if too few items have a field. If the pass is suspect, no item is marked
    as gone, and the run's error says why.
    progress: the final progress; None means the last progress that the run reported.
    """
    alone = follow_ups is None or not follow_ups.followers  # only the runs of other spiders that follow concern other spiders
    with store.write(durable=True, spider=run.spider if alone else "") as connection:
        leases.verify(connection, runs, run.id, owner=run.lease_owner)
        now = leases.shared_time(connection, now)
        stored = run_of(connection.execute(select(runs).where(runs.c.id == run.id)).one())
        if progress is None:  # the child process died: the row has the last progress that it reported
            progress = members.progress_of(connection, stored)
        if stored.stop_requested_at is not None and ending.outcome is Outcome.STOPPED:
            ending = replace(ending, error="; ".join(filter(None, (STOPPED_BY_PERSON, ending.error))), error_kind=STOP_REQUESTED)
        doubt = ending.doubt
        if ending.complete and not ending.keep_unseen:
            present = select(func.count()).where(items.c.spider == run.spider, items.c.present)
            seen = connection.execute(present.where(items.c.pass_id == run.pass_id)).scalar_one()
            missing = connection.execute(present.where(items.c.pass_id < run.pass_id)).scalar_one()
            if missing and not seen and not ending.allow_empty:
                doubt = f"no items were found, although the spider had {counted(missing, 'item')} before" + (f": {doubt}" if doubt else "")
            else:
                doubt = doubt or _lacking(connection, run, ending.coverage)
            if missing and not doubt:
                progress.gone += _mark_gone(connection, run, now)
        suspect = bool(doubt)
        if not ending.keep_open:
            connection.execute(update(passes).where(passes.c.id == run.pass_id).values(
                closed_at=now, complete=ending.complete and not suspect))
        leases.end(connection, runs, run.id, owner=run.lease_owner, ended_at=now, outcome=ending.outcome.value,
                   error="; ".join(filter(None, (doubt, ending.error))), error_kind=ending.error_kind, complete=ending.complete, suspect=suspect,
                   progress=asdict(progress), transfers=[])
        members.end_with_run(connection, run, now)
        if follow_ups is not None:
            follow_ups.begin(connection, run, outcome=ending.outcome, open_pass=ending.keep_open, can_help=ending.retry,
                         now=now)
        jobs.defer_waiting(connection, run.spider)
        return run_of(connection.execute(select(runs).where(runs.c.id == run.id)).one())


def _lacking(connection: Connection, run: Run, wanted: Mapping[str, float]) -> str:
    """Return why this pass is suspect because its items lack a field; "" if the pass is not suspect.

    The pass is compared with the last complete pass that found items. If two complete passes in a row lack a field, only the
    first one is suspect.
    """
    own = connection.execute(select(passes.c.coverage).where(passes.c.id == run.pass_id)).scalar_one()
    return Coverage.of_row(own).lacking(last_complete(connection, run), wanted)[1]


def last_complete(connection: Connection, run: Run) -> Coverage:
    """Return the coverage of the last complete pass before the pass of a run that found items, suspect or not."""
    # Compared in Python: PostgreSQL cannot query JSON whose names contain some characters of scraped text.
    earlier = connection.execute(select(passes.c.coverage).join(runs, runs.c.pass_id == passes.c.id).where(
        passes.c.spider == run.spider, passes.c.id < run.pass_id, runs.c.complete,
    ).order_by(passes.c.id.desc()).limit(_PASSES_BACK)).scalars()
    return next((found for found in map(Coverage.of_row, earlier) if found.items), Coverage())


def _mark_gone(connection: Connection, run: Run, now: datetime) -> int:
    """Mark the items as gone that the pass did not see, and return their number.

    An item that the pass rejected is still on the site and is not marked.
    """
    refused = select(rejects.c.key).join(runs, runs.c.id == rejects.c.run_id).where(runs.c.pass_id == run.pass_id)
    unseen = and_(items.c.spider == run.spider, items.c.present, items.c.pass_id < run.pass_id,
                  items.c.key.not_in(refused))
    earlier = changes.alias()
    last_page = select(earlier.c.page_url).where(earlier.c.spider == run.spider, earlier.c.key == items.c.key, earlier.c.page_url != "").order_by(
        earlier.c.id.desc()).limit(1).correlate(items).scalar_subquery()
    connection.execute(insert(changes).from_select(
        ["run_id", "spider", "key", "kind", "at", "before", "after", "page_url"],
        select(literal(run.id), items.c.spider, items.c.key, literal(ChangeKind.GONE.value), literal(now, changes.c.at.type),
               func.coalesce(items.c.reported, items.c.data), literal({}, changes.c.after.type), func.coalesce(last_page, "")).where(unseen)))
    # The number of rows that an INSERT has written is unknown on PostgreSQL; the one of an UPDATE is known.
    return int(connection.execute(update(items).where(unseen).values(present=False, changed_at=now)).rowcount)


def renew_run(store: Store, run: Run, *, now: datetime) -> bool:
    """Renew the lease of a run whose process is alive; return False if another process has taken the run."""
    with store.write(spider=run.spider) as connection:
        return leases.renew(connection, runs, run.id, owner=run.lease_owner, now=now)


def abandon_expired(store: Store, *, now: datetime, performing: Collection[int] | None = None) -> list[Run]:
    """End every run in progress whose lease has expired, and create a new run for its pass.

    Returns the ended runs. The leases of dead processes on this machine are ended first. Runs of living processes on this machine are
    kept, even if their leases have expired because the clock was changed or the machine was suspended. On a shared store, they are not:
    there, leases are compared with the clock of the server, and a process that cannot renew the lease of its run ends the run.
    performing: the ids of the runs that this process is still performing; its other runs are ended when their leases expire. None
    means that this process is still performing all its runs.
    """
    with store.write(durable=True) as connection:
        leases.release_dead(connection, (runs, downloads, digests, messages), own=store.owner, now=now)
        now = leases.shared_time(connection, now)
        expired = [run_of(row) for row in connection.execute(select(runs).where(
            runs.c.started_at.is_not(None), runs.c.ended_at.is_(None), leases.free(runs, now)))]
        lost = [run for run in expired if not _is_performed(run, store, performing)]
        for run in lost:
            ended = Outcome.STOPPED if run.stop_requested_at is not None else Outcome.ABANDONED
            connection.execute(update(runs).where(runs.c.id == run.id).values(
                ended_at=now, outcome=ended.value, lease_owner="", lease_until=None, transfers=[],
                progress=asdict(members.progress_of(connection, run)), error_kind=STOP_REQUESTED if ended is Outcome.STOPPED else "",
                error="the process of the run ended before the run was finished"))
            members.end_with_run(connection, run, now)
            if ended is Outcome.ABANDONED:
                _resume(connection, run, now)
            jobs.defer_waiting(connection, run.spider)
        return lost


def _is_performed(run: Run, store: Store, performing: Collection[int] | None) -> bool:
    if run.lease_owner == store.owner:
        return performing is None or run.id in performing
    return not store.shared and bool(leases.owner_is_alive(run.lease_owner, store.owner))


def resume_stopped(store: Store, *, now: datetime, quiet_only: bool = False) -> list[Run]:
    """Create a new run for each open pass whose last run was stopped, and return the new runs.

    quiet_only: if True, only for runs that were stopped because of quiet hours or a paused host, at most PASS_MAX_AGE ago.
    """
    open_passes = select(passes.c.id).where(passes.c.closed_at.is_(None))
    last = select(func.max(runs.c.id)).where(NOT_SKIPPED, runs.c.pass_id.in_(open_passes)).group_by(runs.c.pass_id)
    wanted = and_(runs.c.outcome == Outcome.STOPPED.value, runs.c.error_kind != STOP_REQUESTED)
    if quiet_only:
        lately = select(runs.c.pass_id).where(runs.c.ended_at > now - PASS_MAX_AGE, runs.c.error_kind.in_(_HELD))
        last = last.where(runs.c.pass_id.in_(lately))
        wanted = and_(wanted, runs.c.error_kind.in_(_HELD))
        with store.read() as connection:  # this is called often and seldom finds a run: look without blocking writers
            if connection.execute(lately.limit(1)).first() is None:
                return []
    with store.write(durable=True) as connection:
        cut = connection.execute(select(runs).where(wanted, runs.c.id.in_(last)))
        return [run for run in (_resume(connection, run_of(row), now) for row in cut.all()) if run]


def _resume(connection: Connection, run: Run, now: datetime) -> Run | None:
    found = connection.execute(select(passes).where(passes.c.id == run.pass_id)).one()
    attempts = connection.execute(select(func.count()).where(
        runs.c.pass_id == run.pass_id, COUNTED_ATTEMPT)).scalar_one()
    waits = connection.execute(select(runs.c.id).where(
        runs.c.spider == run.spider, runs.c.started_at.is_(None), runs.c.ended_at.is_(None))).first()
    if found.closed_at is not None or attempts >= PASS_MAX_RUNS or waits is not None:
        return None
    return insert_run(connection, pass_id=run.pass_id, slot_id=run.slot_id, spider=run.spider, reason="resume",
                      due_at=run.due_at, created_at=now)


def resume_run(store: Store, run: Run, *, now: datetime) -> Run | None:
    """Create a new run for the open pass of a run that was stopped; return None if the pass needs none, such as after a request to stop.

    A run that was stopped for quiet hours or a paused host is left to `resume_stopped`.
    """
    if run.outcome is not Outcome.STOPPED or run.stop_requested_at is not None or run.error_kind in _HELD:
        return None
    with store.write(durable=True) as connection:
        return _resume(connection, run, now)


def give_back(store: Store, run: Run, *, now: datetime, wait: timedelta) -> None:
    """Let a leased run wait again, because this process cannot perform it. Raises LeaseLostError.

    wait: how long no process starts the run, so that it does not return to this process at once.
    """
    with store.write(durable=True) as connection:
        until = leases.shared_time(connection, now) + wait
        leases.end(connection, runs, run.id, owner=run.lease_owner, started_at=None, not_before=until)
        jobs.defer_run(connection, run, at=until)


def end_unknown(store: Store, known: Collection[str], *, owner: str, now: datetime, wait: timedelta) -> list[Run]:
    """End the runs that have waited for longer than `wait` although their spiders are not in the settings, and return them.

    known: the spiders in the settings. owner: the owner of the leases that end the runs.
    """
    unknown = [run for run in waiting_runs(store) if run.spider not in known and run.created_at < now - wait]
    started = [start_run(store, run.id, owner=owner, now=max(now, run.not_before or now), limit=2**31) for run in unknown]
    return [end_run(store, run, Ending(Outcome.FAILED, UNKNOWN_SPIDER, "SpiderError"), None, now=now) for run in started if run is not None]


def get_run(store: Store, run_id: int) -> Run | None:
    with store.read() as connection:
        row = connection.execute(select(runs).where(runs.c.id == run_id)).first()
        return run_of(row) if row is not None else None


def history(store: Store, spider: str | None = None, *, limit: int = 20) -> list[Run]:
    """Return the newest `limit` runs, the newest first, including runs that wait or are in progress.

    spider: only runs of this spider; None means all spiders.
    """
    wanted = select(runs).order_by(runs.c.id.desc()).limit(limit)
    if spider is not None:
        wanted = wanted.where(runs.c.spider == spider)
    with store.read() as connection:
        return [run_of(row) for row in connection.execute(wanted)]


def work_left(store: Store, pass_id: int) -> tuple[int, int]:
    """Return the number of waiting pages and the number of waiting downloads of a pass."""
    with store.read() as connection:
        pages_waiting = connection.execute(select(func.count()).where(
            frontier.c.pass_id == pass_id,
            frontier.c.state.in_([FrontierState.WAITING.value, FrontierState.TENTATIVE.value]))).scalar_one()
        files_waiting = connection.execute(select(func.count()).where(
            downloads.c.pass_id == pass_id, downloads.c.state == DownloadState.WAITING.value)).scalar_one()
        return int(pages_waiting), int(files_waiting)
