"""The plan: of every schedule the next due time, the soonest first."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from pipeline.schedule.timetable import Due, Timetable


@dataclass(order=True)
class Planned:
    """One schedule's next due time. wake_at: when to look at it; name: of its spider or digest."""

    wake_at: datetime
    number: int
    name: str = field(compare=False)
    schedule: str = field(compare=False)
    table: Timetable = field(compare=False)
    due: Due = field(compare=False)
    since: datetime | None = field(compare=False)


class Plan:
    """Schedules by the time they are next due. Not safe for several threads at once."""

    def __init__(self, timetables: Iterable[tuple[str, str, Timetable]], cursors: Mapping[tuple[str, str], datetime],
                 *, now: datetime) -> None:
        """timetables: name of the spider or digest, of its schedule, and when it is due."""
        self._heap: list[Planned] = []
        self._aside: list[Planned] = []
        for number, (name, schedule, table) in enumerate(timetables):
            since = cursors.get((name, schedule))
            if since is not None and since > now:  # the clock was set back
                since = now
            due = table.after(since, now)
            if due is not None:
                self._heap.append(Planned(due.at, number, name, schedule, table, due, since))
        heapq.heapify(self._heap)

    def due(self, now: datetime, *, paused: Collection[str] = ()) -> list[Planned]:
        """Take out what is due by now, each at its newest time. The caller gives each back by advance() or wait().

        Those of paused ones are kept until they no longer are.
        """
        ready = [entry for entry in self._aside if entry.name not in paused]
        self._aside = [entry for entry in self._aside if entry.name in paused]
        while self._heap and self._heap[0].wake_at <= now:
            entry = heapq.heappop(self._heap)
            (self._aside if entry.name in paused else ready).append(entry)
        for entry in ready:
            entry.due = entry.table.latest(entry.since, now) or entry.due
        return ready

    def advance(self, entry: Planned, now: datetime) -> None:
        """Its slot is dealt with: on to the next one. A schedule that is over is dropped."""
        entry.since = entry.due.planned
        due = entry.table.after(entry.since, now)
        if due is not None:
            entry.due = due
            self.wait(entry, due.at)

    def wait(self, entry: Planned, until: datetime) -> None:
        """Its slot is still to be dealt with, then."""
        entry.wake_at = until
        heapq.heappush(self._heap, entry)

    @property
    def next_at(self) -> datetime | None:
        """When to look next; None: never."""
        return self._heap[0].wake_at if self._heap else None

    def upcoming(self) -> dict[str, datetime]:
        """By name, when it is next due."""
        found: dict[str, datetime] = {}
        for entry in (*self._heap, *self._aside):
            at = max(entry.wake_at, entry.due.at)
            found[entry.name] = min(at, found.get(entry.name, at))
        return found


def newest_of_each(entries: Iterable[Planned]) -> Iterator[tuple[Planned, list[Planned]]]:
    """By name, the newest of what is due at once and the others, which are caught up with it."""
    by_name: dict[str, list[Planned]] = {}
    for entry in sorted(entries, key=lambda entry: entry.number):
        by_name.setdefault(entry.name, []).append(entry)
    for found in by_name.values():
        newest = max(found, key=lambda entry: entry.due.at)
        yield newest, [entry for entry in found if entry is not newest]
