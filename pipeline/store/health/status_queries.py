"""Queries for the status: the runs of each spider, totals of a day, the outbox, digests and downloads."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import BigInteger, Connection, Integer, bindparam, cast, exists, func, select

from pipeline.model import DownloadState, MessageState, Outcome, Progress, Run
from pipeline.store.database.schema import digests, downloads, messages, runs
from pipeline.store.mail.refused_addresses import SETTLED
from pipeline.store.runs.slots import run_of

FAILURES = (Outcome.FAILED, Outcome.TIMED_OUT, Outcome.KILLED, Outcome.ABANDONED)
"""The outcomes that count as a failure of the spider. A stopped run was stopped by request, and a skipped run never began."""

FIGURES = tuple(field.name for field in fields(Progress) if field.name != "waiting")
"""The counters of a run's progress that can be added up over several runs."""

# The statements are built once, because building a statement takes longer than running it, and each is run for every spider.
_ENDED = select(runs).where(runs.c.spider == bindparam("spider"), runs.c.ended_at.is_not(None)).order_by(
    runs.c.ended_at.desc(), runs.c.id.desc())
_RECENT = _ENDED.where(runs.c.outcome != Outcome.SKIPPED).limit(bindparam("rows", type_=Integer))
_LAST_SUCCESS = _ENDED.where(runs.c.outcome == Outcome.SUCCEEDED).limit(1)
_DAY_OF_SPIDER = select(runs.c.ended_at, runs.c.outcome, runs.c.progress).where(
    runs.c.spider == bindparam("spider"), runs.c.ended_at > bindparam("since", type_=runs.c.ended_at.type)).order_by(
    runs.c.ended_at).limit(bindparam("rows", type_=Integer))
_WAITING = select(runs.c.id, runs.c.spider).where(runs.c.started_at.is_(None), runs.c.ended_at.is_(None))
_NEWER = select(runs.c.id, runs.c.spider).where(runs.c.id > bindparam("id"))
_LAST_ID = select(func.max(runs.c.id))
_RUNNING = select(runs).where(runs.c.started_at.is_not(None), runs.c.ended_at.is_(None)).order_by(runs.c.id)
_DAY = select(
    runs.c.spider, runs.c.outcome, func.count().label("ended"),
    *(func.sum(cast(runs.c.progress[name].as_string(), BigInteger)).label(name) for name in FIGURES),
).where(runs.c.ended_at > bindparam("since", type_=runs.c.ended_at.type)).group_by(
    runs.c.spider.concat(""), runs.c.outcome, runs.c.spider)  # by an expression, or SQLite would scan all runs in the order of the index


class DayRun(NamedTuple):
    """What the sums of a day need of an ended run. figures: its counters, in the order of FIGURES."""

    ended_at: datetime
    outcome: str
    figures: tuple[int, ...]


@dataclass(frozen=True)
class RunTotals:
    """Totals of the runs of one spider that ended in a period.

    outcomes: the number of runs by outcome. progress: the sum of each counter in FIGURES.
    """

    outcomes: dict[str, int]
    progress: dict[str, int]


@dataclass(frozen=True)
class OutboxTotals:
    """The number of waiting and of parked messages in the outbox.

    Parked messages of which a person has seen that they were refused for good for everybody are not counted.
    oldest_at: when the oldest waiting message was created; None if none is waiting. last_error: the newest error of a message.
    """

    waiting: int
    oldest_at: datetime | None
    parked: int
    last_error: str


def running(connection: Connection) -> list[Run]:
    """Return the runs that have started and not ended, of all processes, the oldest first."""
    return [run_of(row) for row in connection.execute(_RUNNING)]


def waiting(connection: Connection) -> dict[int, str]:
    """Return a mapping from the id of each run that has not started to its spider."""
    return {row.id: row.spider for row in connection.execute(_WAITING)}


def newer_than(connection: Connection, run_id: int) -> dict[int, str]:
    """Return a mapping from the id of each run with a higher id than `run_id` to its spider."""
    return {row.id: row.spider for row in connection.execute(_NEWER, {"id": run_id})}


def last_id(connection: Connection) -> int:
    """Return the id of the newest run; 0 if there is none."""
    return connection.execute(_LAST_ID).scalar() or 0


def recent(connection: Connection, spider: str, limit: int) -> list[Run]:
    """Return the last `limit` ended runs of a spider, the newest first, without skipped runs."""
    return [run_of(row) for row in connection.execute(_RECENT, {"spider": spider, "rows": limit})]


def ended_since(connection: Connection, spider: str, since: datetime, limit: int) -> list[DayRun]:
    """Return at most `limit` runs of a spider that ended after `since`, the oldest first."""
    return [DayRun(ended_at, outcome, tuple((progress or {}).get(name) or 0 for name in FIGURES))
            for ended_at, outcome, progress in connection.execute(_DAY_OF_SPIDER, {"spider": spider, "since": since, "rows": limit})]


def last_success(connection: Connection, spider: str) -> Run | None:
    row = connection.execute(_LAST_SUCCESS, {"spider": spider}).first()
    return None if row is None else run_of(row)


def failures_since(connection: Connection, spider: str, since: datetime | None) -> int:
    """Return the number of failed runs of a spider that ended after `since`.

    since: None means that all failed runs of the spider are counted.
    """
    wanted = select(func.count()).select_from(runs).where(runs.c.spider == spider, runs.c.ended_at.is_not(None),
                                                          runs.c.outcome.in_(FAILURES))
    if since is not None:
        wanted = wanted.where(runs.c.ended_at > since)
    return connection.execute(wanted).scalar_one()


def totals_since(connection: Connection, since: datetime) -> dict[str, RunTotals]:
    """Return a mapping from each spider to the totals of its runs that ended after `since`."""
    found: dict[str, RunTotals] = {}
    for row in connection.execute(_DAY, {"since": since}):
        entry = found.setdefault(row.spider, RunTotals({}, dict.fromkeys(FIGURES, 0)))
        entry.outcomes[row.outcome] = row.ended
        for name in FIGURES:
            entry.progress[name] += int(getattr(row, name) or 0)  # PostgreSQL sums into decimals
    return found


@dataclass(frozen=True)
class DigestProblem:
    """A digest that could not be rendered, or only in part.

    since: when the runs were claimed for the digest. next_at: when the program will try to render the digest again; None if the
    digest was sent incomplete.
    """

    name: str
    since: datetime
    error: str
    next_at: datetime | None


def digest_problem(connection: Connection, name: str) -> DigestProblem | None:
    """Return the current problem of a digest; None if it has no problem.

    If the rendering of open claims failed, return the error of the oldest of these claims. Otherwise, return the error of the digest
    that was sent last, if that digest was incomplete.
    """
    of_it = select(digests).where(digests.c.name == name).limit(1)
    row = connection.execute(of_it.where(digests.c.closed_at.is_(None), digests.c.error != "").order_by(digests.c.id)).first()
    if row is None:
        sent = exists().where(messages.c.digest_id == digests.c.id)
        row = connection.execute(of_it.where(digests.c.closed_at.is_not(None), sent).order_by(digests.c.id.desc())).first()
    return DigestProblem(name, row.created_at, row.error, row.lease_until) if row is not None and row.error else None


def outbox(connection: Connection) -> OutboxTotals:
    counts = {row.state: row for row in connection.execute(
        select(messages.c.state, func.count().label("number"), func.min(messages.c.created_at).label("oldest"))
        .where(messages.c.state.in_((MessageState.WAITING, MessageState.PARKED)), ~SETTLED).group_by(messages.c.state))}
    waiting, parked = counts.get(MessageState.WAITING), counts.get(MessageState.PARKED)
    error = connection.execute(
        select(messages.c.last_error).where(messages.c.state.in_((MessageState.WAITING, MessageState.PARKED)), ~SETTLED,
                                            messages.c.last_error != "").order_by(messages.c.id.desc()).limit(1))
    return OutboxTotals(waiting=waiting.number if waiting else 0, oldest_at=waiting.oldest if waiting else None,
                  parked=parked.number if parked else 0, last_error=error.scalar() or "")


def download_counts(connection: Connection) -> dict[str, int]:
    """Return the number of waiting and of failed downloads, by state."""
    wanted = select(downloads.c.state, func.count().label("number")).where(
        downloads.c.state.in_((DownloadState.WAITING, DownloadState.FAILED))).group_by(downloads.c.state)
    return {row.state: row.number for row in connection.execute(wanted)}


@dataclass(frozen=True)
class WaitingRuns:
    """The runs of one queue that could start now. oldest_at: since when the first of them waits."""

    queue: str
    waiting: int
    oldest_at: datetime | None


def waiting_by_queue(connection: Connection, now: datetime) -> list[WaitingRuns]:
    """Return the runs that could start now, of each queue that has such a run. A run whose `not_before` is later is left out."""
    ready_at = func.coalesce(runs.c.not_before, runs.c.created_at)
    rows = connection.execute(select(runs.c.queue, func.count().label("waiting"), func.min(ready_at).label("oldest_at")).where(
        runs.c.started_at.is_(None), runs.c.ended_at.is_(None), ready_at <= now).group_by(runs.c.queue))
    return [WaitingRuns(row.queue, row.waiting, row.oldest_at) for row in rows]
