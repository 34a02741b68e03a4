"""An APScheduler trigger for one schedule in the settings, which fires once for several missed slots."""

from __future__ import annotations

from datetime import datetime

from apscheduler.triggers.base import BaseTrigger

from pipeline.schedule.slot_times import SlotTimes


class SlotTrigger(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """Fires when a slot is due, including jitter.

    since: the planned time of the slot that was processed last; None if there was no slot. If the machine was off for a
    year, a standard APScheduler trigger would compute every slot of that year; this trigger computes only the newest.
    """

    def __init__(self, times: SlotTimes, since: datetime | None) -> None:
        self._times = times
        self._since = since
        self._last: tuple[datetime | None, datetime, datetime | None] | None = None

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """Return when the trigger fires next; None if it never fires again.

        Without a previous fire time, return the first due time after `since`, which may be in the past. Otherwise, return
        the first due time that is later than both the previous fire time and `now`.
        """
        if self._last is None or self._last[:2] != (previous_fire_time, now):  # APScheduler requests each fire time twice
            self._last = (previous_fire_time, now, self._next(previous_fire_time, now))
        return self._last[2]

    def _next(self, previous: datetime | None, now: datetime) -> datetime | None:
        if previous is None:
            due = self._times.after(self._since, now)
        else:
            planned = self._times.planned_by(previous, self._since)
            latest = self._times.latest(planned, now)
            due = self._times.after(latest.planned if latest is not None else planned, now)
        return due.at if due is not None else None
