"""Keeps the next slot of every schedule in memory, with the state of the slot."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline.schedule.slot_times import DueTime, SlotTimes

HELD_LOOK = timedelta(seconds=20)
"""How often to look whether the pause of a spider with a due slot has ended: by itself, or by a command of another process."""


@dataclass
class NextSlot:
    """The next slot of one schedule.

    number: the position of the schedule among all schedules. name: the spider or digest. schedule: the name of the schedule.
    times: the due times of the schedule. due: the due time of the next slot. since: the planned time of the slot that was
    processed last; None if there was no slot. wake_at: when the slot must be processed, which is later than `due` if the slot
    was postponed. taken: whether the slot is being processed. held: whether the slot waits because the spider is paused.
    """

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
    """The next slots of all schedules. Not thread-safe."""

    def __init__(self, schedules: Iterable[tuple[str, str, SlotTimes]], cursors: Mapping[tuple[str, str], datetime],
                 *, now: datetime) -> None:
        """Compute the first slots.

        schedules: for each schedule, the name of the spider or digest, the name of the schedule, and the due times.
        cursors: maps these two names to the planned time of the slot that was processed last. A schedule without an entry
        begins at `now`.
        """
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
        """The next slots of all schedules that have a next slot."""
        return list(self._entries.values())

    def due(self, now: datetime, *, paused: Collection[str] = ()) -> list[NextSlot]:
        """Return the schedules that have a due slot, each with its newest due slot, and mark them as taken.

        The caller must then call advance() or wait() for each returned schedule. paused: the names of paused spiders,
        whose slots are held back until the spider is resumed.
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
        """Mark the slot as processed, and continue with the next slot of the same schedule.

        If there is no next slot, remove the schedule.
        """
        self._continue_after(entry, entry.due.planned, now)

    def follow(self, cursors: Mapping[tuple[str, str], datetime], now: datetime) -> None:
        """Continue after the slots that another service has processed. cursors: see the constructor."""
        for entry in self.entries:
            since = cursors.get((entry.name, entry.schedule))
            if since is not None and since != entry.since and not entry.taken:
                self._continue_after(entry, since, now)

    def _continue_after(self, entry: NextSlot, since: datetime, now: datetime) -> None:
        entry.since = since
        due = entry.times.after(since, now)
        if due is None:
            del self._entries[entry.number]
        else:
            entry.due = due
            self.wait(entry, due.at)

    def wait(self, entry: NextSlot, until: datetime) -> None:
        """Postpone the slot to the time `until`."""
        entry.wake_at = until
        entry.taken = False

    @property
    def next_at(self) -> datetime | None:
        """When the next slot must be processed; None if there is no next slot."""
        return min((entry.wake_at for entry in self._entries.values() if not (entry.taken or entry.held)), default=None)

    def put_off_until(self, now: datetime) -> datetime | None:
        """Return when the first postponed or held slot must be retried; None if there is none."""
        return min((now + HELD_LOOK if entry.held else entry.wake_at for entry in self._entries.values()
                    if entry.held or (entry.wake_at > entry.due.at and entry.wake_at > now and not entry.taken)), default=None)

    def upcoming(self) -> dict[str, datetime]:
        """Return a mapping from the name of each spider or digest to its next due time."""
        found: dict[str, datetime] = {}
        for entry in self._entries.values():
            if not entry.taken:
                at = max(entry.wake_at, entry.due.at)
                found[entry.name] = min(at, found.get(entry.name, at))
        return found


def newest_of_each(entries: Iterable[NextSlot]) -> Iterator[tuple[NextSlot, list[NextSlot]]]:
    """Group due slots by spider or digest; yield the newest and a list of the other slots of each group.

    The caller should process only the newest slot, and then advance the schedules of all slots in the group.
    """
    by_name: dict[str, list[NextSlot]] = {}
    for entry in sorted(entries, key=lambda entry: entry.number):
        by_name.setdefault(entry.name, []).append(entry)
    for found in by_name.values():
        newest = max(found, key=lambda entry: entry.due.at)
        yield newest, [entry for entry in found if entry is not newest]
