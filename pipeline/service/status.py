"""Create the status snapshots of the service for the heartbeat; a thread reads the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo

import pipeline
from pipeline.heartbeat.snapshot.build import build_snapshot, worst
from pipeline.heartbeat.snapshot.history import RunHistory
from pipeline.heartbeat.snapshot.schema import JobsStatus, Snapshot
from pipeline.heartbeat.snapshot.spider_status import DueTimes
from pipeline.schedule.slot_times import SlotTimes
from pipeline.service.scheduling import Jobs
from pipeline.service.state import ServiceState, utc_now
from pipeline.settings import Settings
from pipeline.settings.masking import Mask
from pipeline.text import iso, quoted

_DUE_TIMES = 10
"""Maximum number of due times that are remembered, for each spider."""


@dataclass(frozen=True)
class _DueTimes:
    """The due times that were computed with these settings, by spider and by the time after which they are."""

    settings: Settings
    times: dict[tuple[str, datetime], datetime | None] = field(default_factory=dict)


class StatusSource:
    """Builds the status snapshots for the heartbeat.

    upcoming: a function that returns the next due time of each spider.
    jobs: a function that returns the jobs of the scheduler.
    mask: a function that returns a Mask, which hides the secrets of the current settings in texts.
    data_id: the id of data_dir, which each snapshot contains.
    """

    def __init__(self, state: ServiceState, *, upcoming: Callable[[], Mapping[str, datetime]], jobs: Callable[[], Jobs],
                 mask: Callable[[], Mask], data_id: str) -> None:
        self._state = state
        self._upcoming = upcoming
        self._jobs = jobs
        self._mask = mask
        self._data_id = data_id
        self._history = RunHistory()
        self._due = _DueTimes(state.settings)

    async def status(self) -> Snapshot:
        state = self._state
        snapshot = await asyncio.to_thread(
            build_snapshot, state.store, state.settings, DueTimes(self._upcoming(), state.started_at, utc_now(), self.due_after),
            version=pipeline.__version__, mask=self._mask(), history=self._history)
        error = quoted(self._mask()(state.settings_error))
        reasons = [f"{state.settings.file.rpartition('/')[2]}: {error}"] if error else []
        return {**snapshot, "jobs": jobs_status(self._jobs(), state.settings.zone),
                "health": worst([snapshot["health"], "degraded" if reasons else "ok"]), "reasons": [*snapshot["reasons"], *reasons],
                "settings": {"error": error, "waiting_for_restart": state.waiting_for_restart},
                "data": {"id": self._data_id, "folder": str(state.settings.data_dir.absolute())}}

    def due_after(self, name: str, after: datetime) -> datetime | None:
        """Return the first due time of a spider after the time `after`; None if there is none."""
        settings = self._state.settings
        due = self._due
        if due.settings is not settings or len(due.times) > _DUE_TIMES * len(settings.spiders):
            due = self._due = _DueTimes(settings)
        if (name, after) not in due.times:
            tables = (SlotTimes.of(name, table, settings, settings.zone) for table in settings.spiders[name].schedule)
            due.times[name, after] = min((slot.at for table in tables if (slot := table.after(after, after)) is not None), default=None)
        return due.times[name, after]


def jobs_status(jobs: Jobs, zone: tzinfo) -> JobsStatus:
    return {"schedules": jobs.schedules, "next_schedule_at": iso(jobs.next_schedule_at, zone) if jobs.next_schedule_at else None,
            "intervals": [{"name": job.name, "every_s": job.every_s, "next_at": iso(job.next_at, zone) if job.next_at else None}
                          for job in jobs.intervals],
            "late": jobs.late, "longest_late_s": round(jobs.longest_late_s, 1), "skipped": jobs.skipped}
