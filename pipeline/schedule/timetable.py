"""When a schedule is due: APScheduler's triggers, with crontab(5)'s weekdays and one slot for a repeated hour.

APScheduler counts weekdays from Monday and fires a fixed hour twice when clocks go back; both are put right
here. A slot's key is the wall-clock time for schedules with a fixed hour, so that the repeated hour is one
slot, and the instant for all others, which go by elapsed time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger

from pipeline.settings import every_s, parse_cron

_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


@dataclass(frozen=True)
class Due:
    """One due time. key names its slot."""

    at: datetime
    key: str


class Timetable:
    """The due times of one schedule ("0 7 * * *" or "every 30m") in one zone."""

    def __init__(self, schedule: str, zone: ZoneInfo) -> None:
        self.schedule = schedule
        self._zone = zone
        seconds = every_s(schedule)
        self._every = timedelta(seconds=seconds) if seconds is not None else None
        if self._every is None:
            minute, hour, day, month, weekday = parse_cron(schedule)
            self._fixed_hour = len(hour) < 24
            self._trigger = CronTrigger(
                minute=_listed(minute), hour=_listed(hour), day=_listed(day), month=_listed(month),
                day_of_week=",".join(_WEEKDAYS[value] for value in sorted(weekday)), timezone=zone)

    def after(self, last: datetime | None, now: datetime) -> Due:
        """The next due time after `last`, the slot claimed before (None: there was none).

        "every …" without a slot before is due now; cron is due at its next time after now.
        """
        if self._every is not None:
            at = now if last is None else last + self._every
            return Due(at, at.astimezone(UTC).isoformat())
        start = (last if last is not None else now).astimezone(self._zone)
        return self._cron_after(start)

    def latest(self, last: datetime | None, now: datetime) -> Due | None:
        """The newest time due up to now that has no slot yet: what was missed is caught up once. None: nothing."""
        due = self.after(last, now)
        if due.at > now:
            return None
        if self._every is not None:
            missed = (now - due.at) // self._every
            at = due.at + missed * self._every
            return Due(at, at.astimezone(UTC).isoformat())
        # Every slot between would be caught up one by one; only the newest tells anything new.
        step = timedelta(days=366)
        while step > timedelta(minutes=1):
            later = self._cron_after((now - step).astimezone(self._zone))
            if due.at < later.at <= now:
                due = later
            step /= 2
        return self._newest(due, now)

    def _newest(self, due: Due, now: datetime) -> Due:
        while (later := self._cron_after(due.at.astimezone(self._zone))).at <= now:
            due = later
        return due

    def _cron_after(self, start: datetime) -> Due:
        found = self._trigger.get_next_fire_time(start, start)
        assert found is not None  # a schedule has no end
        at = found.astimezone(UTC)
        if not self._fixed_hour:
            return Due(at, at.isoformat(timespec="minutes"))
        wall = found.astimezone(self._zone)
        if wall.fold:  # the same wall time an hour later: that slot has been
            return self._cron_after(found)
        if at.astimezone(self._zone).replace(tzinfo=None) != wall.replace(tzinfo=None):  # a time clocks skip
            at = _end_of_gap(wall, self._zone)
            wall = at.astimezone(self._zone)
        return Due(at, wall.replace(tzinfo=None).isoformat(timespec="minutes"))


def _end_of_gap(wall: datetime, zone: ZoneInfo) -> datetime:
    """The first instant after the hour that clocks skip, for a wall time inside of it."""
    after, before = wall.replace(fold=0).astimezone(UTC), wall.replace(fold=1).astimezone(UTC)
    offset = before.astimezone(zone).utcoffset()
    while after - before > timedelta(minutes=1):
        middle = before + (after - before) / 2
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after.replace(second=0, microsecond=0)


def _listed(values: frozenset[int]) -> str:
    return ",".join(str(value) for value in sorted(values))
