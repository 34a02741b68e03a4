"""Computes the due times of a schedule, with skipped days, clock changes and jitter.

A cron expression with fixed hours follows wall-clock time. A time that a clock change skips is due at the first minute
after the gap, and a time that a clock change repeats is due only once, at its first occurrence. The slots of such an
expression are identified by wall-clock time and time zone.

A cron expression that allows every hour, and a schedule "every …", follow elapsed time. Their slots are identified by
the instant in UTC.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from pipeline.schedule.triggers import HORIZON, ElapsedTimeTrigger, WallClockTrigger, midnight
from pipeline.settings import Cron, Days, Every, ScheduleTable, Settings, parse_when

_DAY = timedelta(days=1)
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, order=True)
class DueTime:
    """The due time of one slot.

    at: the due time, including jitter. planned: the due time without jitter. key: the text that identifies the slot in
    the store.
    """

    at: datetime
    planned: datetime
    key: str


class SlotTimes:
    """The due times of one schedule.

    schedule: the text of the schedule, such as "every 30m". seed: a text from which the jitter is computed, such as the
    name of the spider; spiders with the same schedule then have different delays. jitter_s: the maximum delay of a slot.
    skip: days without slots. first, last: the first and the last day with slots. Days begin at midnight in `zone`.
    """

    def __init__(self, schedule: str, zone: ZoneInfo, *, seed: str = "", jitter_s: float = 0.0, skip: Days | None = None,
                 first: date | None = None, last: date | None = None) -> None:
        self.schedule = schedule
        self.zone = zone
        self._when = parse_when(schedule)
        self._seed = seed
        self._jitter_s = jitter_s
        self._skip = skip or Days()
        self._first = first or date.min
        self._last = last or date.max
        self._triggers = {cron: (WallClockTrigger if cron.fixed_hour else ElapsedTimeTrigger)(
            cron, zone, allows=self._allows, first=self._first, last=self._last)
            for cron in (() if isinstance(self._when, Every) else self._when)}

    @classmethod
    def of(cls, name: str, table: ScheduleTable, settings: Settings, zone: ZoneInfo) -> SlotTimes:
        """Return the due times of a schedule in settings.toml.

        name: the spider or digest. zone: the default time zone.
        """
        return cls(table.when, table.zone(zone), seed=name, jitter_s=table.jitter, skip=settings.days(table.skip),
                   first=table.from_, last=table.until)

    def cursor_before(self, now: datetime) -> datetime:
        """Return the time from which the slots of a new schedule are computed.

        The first slot of "every …" is then due now, and the first slot of a cron expression at its next matching time.
        """
        return now - timedelta(seconds=self._when.seconds) if isinstance(self._when, Every) else now

    def after(self, planned: datetime | None, now: datetime) -> DueTime | None:
        """Return the first due time that is planned later than `planned`; None if there is none.

        planned: the planned time of the previous slot; None means that there was no slot. Without a previous slot, a
        schedule "every …" is due now, and a cron expression is due at its next matching time after `now`.
        """
        found = self._planned_after(planned, now)
        if found is None or not self._jitter_s:
            return found
        following = self._planned_after(found.planned, now)
        room_s = (following.planned - found.planned).total_seconds() if following else self._jitter_s
        share = int.from_bytes(hashlib.sha256(f"{self._seed}\n{found.key}".encode()).digest()[:8]) / 2**64
        return DueTime(found.planned + timedelta(seconds=share * min(self._jitter_s, room_s)), found.planned, found.key)

    def latest(self, planned: datetime | None, now: datetime) -> DueTime | None:
        """Return the newest due time after `planned` that is not in the future; None if there is none.

        If several slots were missed, only the slot with this due time is processed.
        """
        due = self.after(planned, now)
        if due is None or due.at > now:
            return None
        # Begin the search shortly before `now`, so that not every missed slot is computed.
        step = now - due.planned
        while step > _MINUTE:
            later = self.after(self._aligned(now - step, due.planned), now)
            if later is not None and due < later and later.at <= now:
                due = later
            step /= 2
        while (later := self.after(due.planned, now)) is not None and later.at <= now:
            due = later
        return due

    def planned_by(self, at: datetime, known: datetime | None) -> datetime:
        """Return the time from which to continue when the slot due at `at` was processed.

        The result is passed as `planned` to `after` or `latest`, which then return a later slot.
        known: an earlier planned time, from which a schedule "every …" counts; None means that `at` itself is returned.
        """
        return self._aligned(at, known) if known is not None and known <= at else at

    def _aligned(self, moment: datetime, planned: datetime) -> datetime:
        """Return the last planned time of a schedule "every …" that is not after `moment`.

        planned: a planned time from which the intervals are counted. For a cron expression, return `moment` itself.
        """
        if not isinstance(self._when, Every):
            return moment
        every = timedelta(seconds=self._when.seconds)
        return planned + (moment - planned) // every * every

    def _planned_after(self, planned: datetime | None, now: datetime) -> DueTime | None:
        if isinstance(self._when, Every):
            return self._every_after(self._when, planned, now)
        start = planned if planned is not None else now
        found = [due for cron in self._when if (due := self._cron_after(cron, start)) is not None]
        return min(found, default=None)

    def _allows(self, day: date) -> bool:
        return self._first <= day <= self._last and day not in self._skip

    # Schedules "every …"

    def _every_after(self, every: Every, planned: datetime | None, now: datetime) -> DueTime | None:
        step = timedelta(seconds=every.seconds)
        at = planned + step if planned is not None else now
        end = at + HORIZON
        while not self._allows(day := at.astimezone(self.zone).date()):
            if day > self._last or at > end:
                return None
            # Continue with the first time on the next day that is not skipped.
            at += -((at - midnight(max(day + _DAY, self._first), self.zone)) // step) * step
        return DueTime(at, at, _instant_key(at))

    # Cron expressions

    def _cron_after(self, cron: Cron, start: datetime) -> DueTime | None:
        at = self._triggers[cron].get_next_fire_time(start, start)
        if at is None:
            return None
        if not cron.fixed_hour:
            return DueTime(at, at, _instant_key(at))
        wall = at.astimezone(self.zone).replace(tzinfo=None)
        return DueTime(at, at, f"{wall.isoformat(timespec='minutes')} {self.zone.key}")


def _instant_key(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"
