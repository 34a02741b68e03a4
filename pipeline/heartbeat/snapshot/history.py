"""Ended runs, read once. They change no more, and every snapshot tells of the same ones again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, tzinfo
from typing import NamedTuple

from sqlalchemy import Connection

from pipeline.heartbeat.snapshot.schema import PastRun
from pipeline.model import Run
from pipeline.settings import Settings
from pipeline.store.health import status_queries as queries
from pipeline.text import iso, quoted

ROOM = 5000
"""Runs that are kept: some megabytes. Where there are more to tell of, the rest is read each time."""


class Ended(NamedTuple):
    """An ended run without our secrets, as a snapshot shows it, and its figures in the order of queries.FIGURES."""

    run: Run
    shown: PastRun
    figures: tuple[int, ...]


class Past:
    """What the last snapshot read. Threads may share it: it is only ever replaced as a whole."""

    def __init__(self) -> None:
        self._last: Reading | None = None

    def reading(self, settings: Settings, mask: Callable[[str], str]) -> Reading:
        """For one snapshot; keep() what came of it. mask: takes secrets out of errors; one for each Settings."""
        last = self._last
        return Reading(settings, mask, last.read if last is not None and last.settings is settings else {})

    def keep(self, reading: Reading) -> None:
        self._last = reading


class Reading:
    """The ended runs that one snapshot tells of. before: those that the snapshot before it did."""

    def __init__(self, settings: Settings, mask: Callable[[str], str], before: dict[int, Ended]) -> None:
        self.settings = settings
        self.read: dict[int, Ended] = {}
        self._mask = mask
        self._before = before

    def recent(self, connection: Connection, spider: str, limit: int) -> list[Ended]:
        """The last ended runs of a spider that began, newest first."""
        return self._runs(connection, queries.recent(connection, spider, limit))

    def day(self, connection: Connection, since: datetime) -> dict[str, queries.RunTotals]:
        """By spider: outcomes and summed figures of the runs that ended after `since`."""
        ids = queries.ended_since(connection, since, ROOM + 1)
        if len(ids) > ROOM:
            return queries.totals_since(connection, since)
        by_spider: dict[str, list[Ended]] = defaultdict(list)
        for each in self._runs(connection, ids):
            by_spider[each.run.spider].append(each)
        return {spider: _sums(ended) for spider, ended in by_spider.items()}

    def _runs(self, connection: Connection, ids: list[int]) -> list[Ended]:
        known = {number: each for number in ids if (each := self._before.get(number) or self.read.get(number)) is not None}
        known |= {run.id: self._ended(run)
                  for run in queries.runs_of(connection, [number for number in ids if number not in known])}
        if len(self.read) < ROOM:
            self.read |= known
        return [known[number] for number in ids]

    def _ended(self, run: Run) -> Ended:
        run = replace(run, error=self._mask(run.error)) if run.error else run
        return Ended(run, shown(run, self.settings.zone), tuple(getattr(run.progress, name) for name in queries.FIGURES))


def shown(run: Run, zone: tzinfo) -> PastRun:
    assert run.ended_at is not None
    assert run.outcome is not None
    return {
        "id": run.id, "ended_at": iso(run.ended_at, zone), "outcome": run.outcome.value,
        "duration_s": duration_s(run, run.ended_at), "pages": run.progress.pages, "items": run.progress.items,
        "error": quoted(run.error),
    }


def duration_s(run: Run, until: datetime) -> float | None:
    """Seconds from its start; None for one that never began."""
    return round((until - run.started_at).total_seconds(), 3) if run.started_at else None


def _sums(ended: Iterable[Ended]) -> queries.RunTotals:
    outcomes: dict[str, int] = defaultdict(int)
    figures = []
    for each in ended:
        outcomes[each.shown["outcome"]] += 1
        figures.append(each.figures)
    return queries.RunTotals(dict(outcomes), dict(zip(queries.FIGURES, map(sum, zip(*figures, strict=True)), strict=True)))
