"""APScheduler triggers for crontab expressions, built from APScheduler's CronTrigger and OrTrigger.

These triggers add what APScheduler's triggers lack: crontab's day numbers (Sunday is 0); crontab's rule that a day
matches if its day of the month or its day of the week matches; wall-clock times at clock changes (a skipped time is due
at the end of the gap, a repeated time only once); days to skip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger

from pipeline.settings import Cron
from pipeline.settings.fields.schedule import WEEKDAYS

_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)
HORIZON = timedelta(days=41 * 366)
"""How far ahead to search for a matching time.

Any 40 years contain a 29 February on each weekday, even if a year such as 2100 has no leap day.
"""

Allows = Callable[[date], bool]


class _CronTrigger(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """Base class of triggers for a cron expression in a time zone.

    first, last: the first and the last day with slots. allows: a function that returns whether a day from `first` to
    `last` may have slots.
    """

    def __init__(self, cron: Cron, zone: ZoneInfo, *, allows: Allows = lambda day: True, first: date = date.min,
                 last: date = date.max) -> None:
        self._cron = cron
        self._zone = zone
        self._allows = allows
        self._first = first
        self._last = last


class WallClockTrigger(_CronTrigger):
    """Fires when the wall clock of the time zone shows a matching time.

    This trigger is for cron expressions with fixed hours.
    """

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """Return the first matching instant after the previous one; None if there is none.

        Without a previous instant, return the first matching instant that is not before `now`.
        """
        start = now - timedelta(microseconds=1) if previous_fire_time is None else previous_fire_time
        wall = start.astimezone(self._zone).replace(tzinfo=UTC, second=0, microsecond=0, fold=0)
        end = wall + HORIZON
        if self._first > wall.date():
            wall = _midnight_as_utc(self._first)
        while (found := next_wall_time(self._cron, wall)) is not None and found <= end and found.date() <= self._last:
            if not self._allows(found.date()):
                wall = _midnight_as_utc(found.date() + _DAY)
                continue
            at = first_instant(found.replace(tzinfo=None), self._zone)
            if at > start:
                return at
            wall = found + _MINUTE
        return None


class ElapsedTimeTrigger(_CronTrigger):
    """Fires in both occurrences of a repeated hour; for cron expressions that allow every hour.

    The trigger does not fire in an hour that a clock change skips.
    """

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """Return the first matching instant after the previous one; None if there is none.

        Without a previous instant, return the first matching instant that is not before `now`.
        """
        start = now - timedelta(microseconds=1) if previous_fire_time is None else previous_fire_time
        at = (start.astimezone(UTC) + _MINUTE).replace(second=0, microsecond=0)
        end = at + HORIZON
        while at < end:
            local = at.astimezone(self._zone)
            if local.date() < self._first:
                at = midnight(self._first, self._zone)
                continue
            found = self._next(at)
            if found is None or found.astimezone(self._zone).date() > self._last:
                return None
            day = found.astimezone(self._zone).date()
            if self._allows(day):
                return found
            at = midnight(day + _DAY, self._zone)
        return None

    def _next(self, at: datetime) -> datetime | None:
        """Return the first matching instant from `at` on; None if there is none.

        The instant is computed with the UTC offset that is valid at `at`. If a clock change comes before the instant,
        the search continues at the clock change with the new offset.
        """
        while True:
            offset = at.astimezone(self._zone).utcoffset() or timedelta()
            wall = next_wall_time(self._cron, at + offset)
            if wall is None:
                return None
            found = wall - offset
            change = self._change(at, found)
            if change is None:
                return found
            at = change

    def _change(self, start: datetime, end: datetime) -> datetime | None:
        """Return the first instant up to `end` with another UTC offset than `start`; None if there is none."""
        offset = start.astimezone(self._zone).utcoffset()
        at = start
        while at < end:
            later = min(end, at + _DAY)  # clocks change at most once a day
            if later.astimezone(self._zone).utcoffset() != offset:
                while later - at > timedelta(seconds=1):
                    middle = at + (later - at) / 2
                    if middle.astimezone(self._zone).utcoffset() == offset:
                        at = middle
                    else:
                        later = middle
                return later.replace(microsecond=0)
            at = later
        return None


@lru_cache(maxsize=4096)
def next_wall_time(cron: Cron, wall: datetime) -> datetime | None:
    """Return the first matching wall-clock time from `wall` on.

    Both times are labelled UTC, because UTC has no clock changes. The result is cached, because many schedules are
    equal and each time is computed more than once.
    """
    found: datetime | None = _of_cron(cron).get_next_fire_time(None, wall)
    return found


@lru_cache(maxsize=1024)
def _of_cron(cron: Cron) -> BaseTrigger:
    """Return an APScheduler trigger that matches the cron expression in UTC."""
    times = {"minute": _listed(cron.minutes), "hour": _listed(cron.hours), "month": _listed(sorted(cron.months)), "second": 0,
             "timezone": UTC}
    days = _listed(sorted(cron.days))
    weekdays = ",".join(WEEKDAYS[day] for day in sorted(cron.weekdays))
    if cron.either_day:
        return OrTrigger([CronTrigger(day=days, **times), CronTrigger(day_of_week=weekdays, **times)])
    return CronTrigger(day=days, day_of_week=weekdays, **times)


def _listed(values: Iterable[int]) -> str:
    return ",".join(map(str, values))


def _midnight_as_utc(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """Return the first instant of a day, even if a clock change skips 00:00."""
    return _instant(datetime.combine(day, datetime.min.time()), zone)


def first_instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """Return the first instant at which the wall clock of a time zone shows the time `wall`.

    If a clock change skips this time, return the end of the gap.
    """
    at = _instant(wall, zone)
    return at if at.astimezone(zone).replace(tzinfo=None) == wall else _end_of_gap(wall, zone)


def _instant(wall: datetime, zone: ZoneInfo, *, fold: int = 0) -> datetime:
    return wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)


def _end_of_gap(wall: datetime, zone: ZoneInfo) -> datetime:
    """Return the first instant after the gap that contains the skipped time `wall`."""
    after, before = _instant(wall, zone), _instant(wall, zone, fold=1)
    offset = before.astimezone(zone).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = before + (after - before) / 2
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after.replace(microsecond=0)
