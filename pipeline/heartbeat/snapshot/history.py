"""Caches ended runs, which never change, so that a snapshot reads only new runs from the store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, tzinfo
from itertools import islice
from typing import NamedTuple

from sqlalchemy import Connection

from pipeline.heartbeat.snapshot.schema import FieldStatus, PastRun, RuleStatus
from pipeline.model import Run
from pipeline.settings import Settings
from pipeline.store.crawl import rule_counts
from pipeline.store.health import status_queries as queries
from pipeline.text import iso, quoted

MOST_RUNS = 5000
"""Maximum number of runs of the last day that are cached, for which a few megabytes are needed. If there are more runs, the
database computes the sums for each snapshot."""


MOST_RULES = 50
"""Maximum number of rules, and of fields, of a spider in a snapshot."""


class RuleFigures(NamedTuple):
    """What the rules of a spider matched in the pass of a run, in the form in which a snapshot contains it."""

    rules: list[RuleStatus]
    fields: list[FieldStatus]


class EndedRun(NamedTuple):
    """An ended run, with secrets masked.

    shown: the run in the form in which a snapshot contains it. figures: the run's counters, in the order of
    queries.FIGURES.
    """

    run: Run
    shown: PastRun
    figures: tuple[int, ...]


class RunHistory:
    """The ended runs that the previous snapshot contained, with the runs needed for its sums.

    Threads may share a RunHistory, because a reader replaces all of its content at once.
    """

    def __init__(self) -> None:
        self._last: HistoryReader | None = None

    def reader(self, settings: Settings, mask: Callable[[str], str]) -> HistoryReader:
        """Return a reader for one snapshot; pass the reader to keep() when the snapshot is complete.

        settings: if this is not the same object as for the previous snapshot, the cache is not used. mask: masks secrets in
        error texts; must be the same function for the same settings, because the cache contains masked texts.
        """
        last = self._last
        if last is None or last.settings is not settings:
            return HistoryReader(settings, mask, {}, {})
        return HistoryReader(settings, mask, last.runs, last.figures)

    def keep(self, reader: HistoryReader) -> None:
        self._last = reader


class HistoryReader:
    """Reads the ended runs for one snapshot.

    known: maps the ids of the cached runs to these runs; all other runs are read from the store. known_figures: the same for the
    figures of their rules.
    """

    def __init__(self, settings: Settings, mask: Callable[[str], str], known: dict[int, EndedRun],
                 known_figures: dict[int, RuleFigures]) -> None:
        self.settings = settings
        self.runs: dict[int, EndedRun] = {}
        self.figures: dict[int, RuleFigures] = {}
        self._mask = mask
        self._known = known
        self._known_figures = known_figures

    def recent(self, connection: Connection, spider: str, limit: int) -> list[EndedRun]:
        """Return the last ended runs of a spider, newest first, without skipped runs."""
        return self._runs(connection, queries.recent(connection, spider, limit))

    def rule_figures(self, connection: Connection, run: Run) -> RuleFigures:
        """Return what the rules matched in the pass of a spider's last ended run."""
        found = self._known_figures.get(run.id)
        if found is None:
            coverage = rule_counts.of_pass(connection, run.pass_id)
            found = RuleFigures(
                [{"rule": quoted(self._mask(name)), "pages": count.pages, "pages_matched": count.pages_matched, "matches": count.matches,
                  "items": count.items} for name, count in islice(coverage.rules.items(), MOST_RULES)],
                [{"field": quoted(self._mask(name)), "items": coverage.items, "filled": filled}
                 for name, filled in islice(coverage.fields.items(), MOST_RULES)])
        self.figures[run.id] = found
        return found

    def day(self, connection: Connection, since: datetime) -> dict[str, queries.RunTotals]:
        """Return, for each spider, the outcomes and the summed counters of the runs that ended after `since`."""
        ids = queries.ended_since(connection, since, MOST_RUNS + 1)
        if len(ids) > MOST_RUNS:
            return queries.totals_since(connection, since)
        by_spider: dict[str, list[EndedRun]] = defaultdict(list)
        for each in self._runs(connection, ids):
            by_spider[each.run.spider].append(each)
        return {spider: _sums(ended) for spider, ended in by_spider.items()}

    def _runs(self, connection: Connection, ids: list[int]) -> list[EndedRun]:
        found = {number: each for number in ids if (each := self._known.get(number) or self.runs.get(number)) is not None}
        found |= {run.id: self._ended(run)
                  for run in queries.runs_of(connection, [number for number in ids if number not in found])}
        if len(self.runs) < MOST_RUNS:
            self.runs |= found
        return [found[number] for number in ids]

    def _ended(self, run: Run) -> EndedRun:
        run = replace(run, error=self._mask(run.error)) if run.error else run
        return EndedRun(run, past_run(run, self.settings.zone), tuple(getattr(run.progress, name) for name in queries.FIGURES))


def past_run(run: Run, zone: tzinfo) -> PastRun:
    assert run.ended_at is not None
    assert run.outcome is not None
    return {
        "id": run.id, "ended_at": iso(run.ended_at, zone), "outcome": run.outcome.value,
        "duration_s": duration_s(run, run.ended_at), "pages": run.progress.pages, "items": run.progress.items,
        "error": quoted(run.error),
    }


def duration_s(run: Run, until: datetime) -> float | None:
    """Return the seconds from the start of a run until `until`; None for a run that never started."""
    return round((until - run.started_at).total_seconds(), 3) if run.started_at else None


def _sums(ended: Iterable[EndedRun]) -> queries.RunTotals:
    outcomes: dict[str, int] = defaultdict(int)
    figures = []
    for each in ended:
        outcomes[each.shown["outcome"]] += 1
        figures.append(each.figures)
    return queries.RunTotals(dict(outcomes), dict(zip(queries.FIGURES, map(sum, zip(*figures, strict=True)), strict=True)))
