"""The next slot of every schedule, in memory: due, being processed, held or postponed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from pipeline.schedule.slot_times import DueTime, SlotTimes


@dataclass
class NextSlot:
    """The next slot of one schedule. name: its spider or digest; since: the last slot that was processed; wake_at: when it
    has to be processed; taken: it is being processed; held: its spider is paused."""

    number: int
    name: str
    schedule: str
    times: SlotTimes
    due: DueTime
    since: datetime | None
    wake_at: datetime
    taken: bool = False
    held: bool = False


class NextSlots:
    """All schedules with their next slots. Not thread-safe."""

    def __init__(self, schedules: Iterable[tuple[str, str, SlotTimes]], cursors: Mapping[tuple[str, str], datetime],
                 *, now: datetime) -> None:
        """Compute the first slots. schedules: name of the spider or digest, name of the schedule, due times."""
        self._entries: dict[int, NextSlot] = {}
        for number, (name, schedule, table) in enumerate(schedules):
            since = cursors.get((name, schedule))
            if since is not None and since > now:  # the clock was set back
                since = now
            due = table.after(since, now)
            if due is not None:
                self._entries[number] = NextSlot(number, name, schedule, table, due, since, due.at)

    @property
    def entries(self) -> list[NextSlot]:
        """The schedules that have a next slot."""
        return list(self._entries.values())

    def due(self, now: datetime, *, paused: Collection[str] = ()) -> list[NextSlot]:
        """Take the schedules that are due, each with its newest slot. The caller returns each with advance() or wait().

        Schedules of paused spiders stay until the spider is resumed.
        """
        reached = [entry for entry in self._entries.values() if entry.wake_at <= now and not entry.taken]
        for entry in reached:
            entry.held = entry.name in paused
        ready = [entry for entry in reached if not entry.held]
        for entry in ready:
            entry.taken = True
            entry.due = entry.times.latest(entry.since, now) or entry.due
        return ready

    def advance(self, entry: NextSlot, now: datetime) -> None:
        """Continue with the next slot, because this one was processed. A schedule without a next slot is removed."""
        entry.since = entry.due.planned
        due = entry.times.after(entry.since, now)
        if due is None:
            del self._entries[entry.number]
        else:
            entry.due = due
            self.wait(entry, due.at)

    def wait(self, entry: NextSlot, until: datetime) -> None:
        """Process the slot at a later time."""
        entry.wake_at = until
        entry.taken = False

    @property
    def next_at(self) -> datetime | None:
        """When the next slot has to be processed; None for never."""
        return min((entry.wake_at for entry in self._entries.values() if not (entry.taken or entry.held)), default=None)

    def put_off_until(self, now: datetime) -> datetime | None:
        """When to retry a due slot that could not be processed; None if there is none."""
        return min((entry.wake_at for entry in self._entries.values()
                    if entry.wake_at > entry.due.at and entry.wake_at > now and not entry.taken), default=None)

    def upcoming(self) -> dict[str, datetime]:
        """The next due time of each spider or digest, by name."""
        found: dict[str, datetime] = {}
        for entry in self._entries.values():
            if not entry.taken:
                at = max(entry.wake_at, entry.due.at)
                found[entry.name] = min(at, found.get(entry.name, at))
        return found


def newest_of_each(entries: Iterable[NextSlot]) -> Iterator[tuple[NextSlot, list[NextSlot]]]:
    """Group due slots by name: the newest one, and the others, which are claimed together with it."""
    by_name: dict[str, list[NextSlot]] = {}
    for entry in sorted(entries, key=lambda entry: entry.number):
        by_name.setdefault(entry.name, []).append(entry)
    for found in by_name.values():
        newest = max(found, key=lambda entry: entry.due.at)
        yield newest, [entry for entry in found if entry is not newest]
