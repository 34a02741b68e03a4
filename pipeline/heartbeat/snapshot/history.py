"""Caches what the store has about the ended runs of each spider.

A snapshot reads it again only if a run of the spider has ended.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from itertools import islice
from typing import NamedTuple

from sqlalchemy import Connection

from pipeline.heartbeat.snapshot.schema import FieldStatus, PastRun, RuleStatus, RunStatus, SpiderStatus
from pipeline.model import Outcome, Run
from pipeline.settings import Settings
from pipeline.store.crawl import rule_counts
from pipeline.store.health import status_queries as queries
from pipeline.text import iso, quoted

RECENT = 20
"""Maximum number of ended runs of each spider in a snapshot, enough for a sparkline."""
MOST_RUNS = 20_000
"""Maximum number of runs of the last day that are cached, for which about five megabytes are needed. If there are more runs, the
database computes the sums for each snapshot."""
MOST_RULES = 50
"""Maximum number of rules, and of fields, of a spider in a snapshot."""
READ_AGAIN_S = 60.0
"""After this time, runs are read again although none has ended: retention may have deleted some."""
_SHARE_READ_AGAIN = 10
"""A snapshot reads at most one of so many spiders again for this reason, so that no snapshot takes much longer than the others."""
_DAY = timedelta(days=1)


class RuleFigures(NamedTuple):
    """What the rules of a spider matched in the pass of a run, in the form in which a snapshot contains it."""

    rules: list[RuleStatus]
    fields: list[FieldStatus]


@dataclass(frozen=True)
class SpiderHistory:
    """The ended runs of a spider.

    recent: the last runs as a snapshot shows them, newest first, without skipped runs. last: the first of them; shown: all that a snapshot shows of it.
    success: the last successful run. failures: the number of runs that have failed since. figures: what its rules matched in the last run. day: the runs that ended after `since`, the oldest first; None if there are too many.
    totals: their sums. read_at_s: when the store was read, by the monotonic clock.
    """

    recent: list[PastRun]
    last: Run | None
    shown: RunStatus | None
    success: Run | None
    failures: int
    figures: RuleFigures
    day: Sequence[queries.DayRun] | None
    since: datetime
    totals: queries.RunTotals | None
    read_at_s: float

    def at(self, since: datetime) -> SpiderHistory:
        """Return this history without the runs that ended before `since`."""
        if not self.day or self.day[0].ended_at > since:
            return self
        day = [run for run in self.day if run.ended_at > since]
        return replace(self, day=day, totals=_sums(day), since=since)


class KnownStatus(NamedTuple):
    """The status of a spider in a snapshot. The next snapshot has the same one unless something that it depends on has changed.

    past: the history of its runs, which is another object after a change. others: what else the status depends on, apart from the time.
    late_at: when the spider becomes late; None if it never does.
    """

    past: SpiderHistory
    others: tuple[object, ...]
    late_at: datetime | None
    status: SpiderStatus


class RunHistory:
    """What the previous snapshot read. Threads may share a RunHistory, because a reader replaces all of its content at once."""

    def __init__(self) -> None:
        self._last: HistoryReader | None = None

    def reader(self, settings: Settings, mask: Callable[[str], str], now: datetime) -> HistoryReader:
        """Return a reader for one snapshot; pass the reader to keep() when the snapshot is complete.

        settings: if this is not the same object as for the previous snapshot, the cache is not used. mask: masks secrets in
        error texts; must be the same function for the same settings, because the cache contains masked texts.
        """
        last = self._last
        return HistoryReader(settings, mask, now, last if last is not None and last.settings is settings else None)

    def keep(self, reader: HistoryReader) -> None:
        self._last = reader


class HistoryReader:
    """Reads the ended runs for one snapshot: only of spiders of which a run has ended since the snapshot before it.

    A run has ended if the snapshot before it saw the run waiting or in progress, and now it is neither, or if the run is newer than that
    snapshot. No clock is compared, so that a clock that was set changes nothing. last: the reader of the snapshot before; None reads all.
    statuses: where the statuses of the spiders are kept for the next snapshot. known_statuses: those of the snapshot before.
    """

    def __init__(self, settings: Settings, mask: Callable[[str], str], now: datetime, last: HistoryReader | None) -> None:
        self.settings = settings
        self.spiders: dict[str, SpiderHistory] = {}
        self.statuses: dict[str, KnownStatus] = {}
        self.known_statuses: Mapping[str, KnownStatus] = last.statuses if last is not None else {}
        self._mask = mask
        self._known: Mapping[str, SpiderHistory] = last.spiders if last is not None else {}
        self._last_id: int = last._last_id if last is not None else 0
        self._open: Mapping[int, str] = last._open if last is not None else {}
        self._kept_runs = 0
        self._totals: dict[str, queries.RunTotals] | None = None
        self._since = now - _DAY

    def begin(self, connection: Connection, at_work: Sequence[Run]) -> None:
        """Find out which spiders must be read. at_work: all runs in progress."""
        still_open = queries.waiting(connection) | {run.id: run.spider for run in at_work}
        new = queries.newer_than(connection, self._last_id) if self._known else {}
        changed = {spider for number, spider in self._open.items() if number not in still_open} | set(new.values())
        self._last_id = max(new, default=self._last_id) if self._known else queries.last_id(connection)
        self._open = still_open
        self._known = {name: known for name, known in self._known.items() if name not in changed and known.since <= self._since}
        for name in _long_ago(self._known):
            del self._known[name]

    def of(self, connection: Connection, spider: str) -> SpiderHistory:
        """Return the history of a spider."""
        known = self._known.get(spider)
        found = known.at(self._since) if known is not None else self._read(connection, spider)
        self._kept_runs += len(found.day or ())
        self.spiders[spider] = found
        return found

    def totals(self, connection: Connection, spider: str) -> queries.RunTotals | None:
        """Return the outcomes and the summed counters of the runs of a spider that ended within a day; None if none has."""
        found = self.spiders[spider]
        if found.day is not None:
            return found.totals
        if self._totals is None:
            self._totals = queries.totals_since(connection, self._since)
        return self._totals.get(spider)

    def _read(self, connection: Connection, spider: str) -> SpiderHistory:
        recent = [self._masked(run) for run in queries.recent(connection, spider, RECENT)]
        success, failures = _success_and_failures(connection, spider, recent)
        day: list[queries.DayRun] | None = queries.ended_since(connection, spider, self._since, MOST_RUNS - self._kept_runs + 1)
        if day is not None and len(day) > MOST_RUNS - self._kept_runs:
            day = None
        last, zone = recent[0] if recent else None, self.settings.zone
        return SpiderHistory([past_run(run, zone) for run in recent], last, run_status(last, self._since, zone) if last is not None else None, success, failures,
                             self._rule_figures(connection, last) if last is not None else RuleFigures([], []),
                             day, self._since, _sums(day) if day is not None else None, time.monotonic())

    def _rule_figures(self, connection: Connection, run: Run) -> RuleFigures:
        coverage = rule_counts.of_pass(connection, run.pass_id)
        return RuleFigures(
            [{"rule": quoted(self._mask(name)), "pages": count.pages, "pages_matched": count.pages_matched, "matches": count.matches,
              "items": count.items} for name, count in islice(coverage.rules.items(), MOST_RULES)],
            [{"field": quoted(self._mask(name)), "items": coverage.items, "filled": filled}
             for name, filled in islice(coverage.fields.items(), MOST_RULES)])

    def _masked(self, run: Run) -> Run:
        return replace(run, error=self._mask(run.error)) if run.error else run


def _long_ago(known: Mapping[str, SpiderHistory]) -> Collection[str]:
    """Return the spiders that this snapshot reads again because they were read long ago, at most a share of all."""
    before = time.monotonic() - READ_AGAIN_S
    old = sorted((each.read_at_s, name) for name, each in known.items() if each.read_at_s < before)
    return [name for _, name in old[:1 + len(known) // _SHARE_READ_AGAIN]]


def _success_and_failures(connection: Connection, name: str, recent: Sequence[Run]) -> tuple[Run | None, int]:
    """Return the last successful run of a spider, and the number of runs that have failed after this run.

    If no run has succeeded, the first value is None and all failed runs are counted. recent: the spider's last runs, newest
    first; the store is queried only if none of them succeeded.
    """
    for position, run in enumerate(recent):
        if run.outcome is Outcome.SUCCEEDED:
            return run, sum(earlier.outcome in queries.FAILURES for earlier in recent[:position])
    if len(recent) < RECENT:  # the store contains no further runs
        return None, sum(run.outcome in queries.FAILURES for run in recent)
    success = queries.last_success(connection, name)
    return success, queries.failures_since(connection, name, success.ended_at if success else None)


def past_run(run: Run, zone: tzinfo) -> PastRun:
    assert run.ended_at is not None
    assert run.outcome is not None
    return {
        "id": run.id, "ended_at": iso(run.ended_at, zone), "outcome": run.outcome.value,
        "duration_s": duration_s(run, run.ended_at), "pages": run.progress.pages, "items": run.progress.items,
        "error": quoted(run.error),
    }


def run_status(run: Run, now: datetime, zone: tzinfo) -> RunStatus:
    return {
        "id": run.id, "spider": run.spider, "reason": run.reason, "due_at": iso(run.due_at, zone),
        "started_at": iso(run.started_at, zone) if run.started_at else None,
        "ended_at": iso(run.ended_at, zone) if run.ended_at else None,
        "duration_s": duration_s(run, run.ended_at or now),
        "outcome": run.outcome.value if run.outcome else None, "complete": run.complete, "suspect": run.suspect,
        "error": quoted(run.error), "progress": dict(vars(run.progress)),
    }


def duration_s(run: Run, until: datetime) -> float | None:
    """Return the seconds from the start of a run until `until`; None for a run that never started."""
    return round((until - run.started_at).total_seconds(), 3) if run.started_at else None


def _sums(day: Sequence[queries.DayRun]) -> queries.RunTotals | None:
    if not day:
        return None
    figures = map(sum, zip(*(run.figures for run in day), strict=True))
    return queries.RunTotals(dict(Counter(run.outcome for run in day)), dict(zip(queries.FIGURES, figures, strict=True)))
