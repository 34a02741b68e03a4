"""The snapshot that the heartbeat serves, read from the store in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime

import pipeline
from pipeline.heartbeat import Past, Snapshot
from pipeline.heartbeat.snapshot.build import snapshot
from pipeline.schedule.timetable import Timetable
from pipeline.service.state import ServiceState, utc_now
from pipeline.settings.masking import Mask


class StatusSource:
    """What the heartbeat asks for its answers. upcoming: the next due time of each spider; mask: of the current settings."""

    def __init__(self, state: ServiceState, *, upcoming: Callable[[], Mapping[str, datetime]], mask: Callable[[], Mask]) -> None:
        self._state = state
        self._upcoming = upcoming
        self._mask = mask
        self._past = Past()

    async def status(self) -> Snapshot:
        state = self._state
        return await asyncio.to_thread(
            snapshot, state.store, state.settings, next_slots={**self._upcoming()}, started_at=state.started_at, now=utc_now(),
            version=pipeline.__version__, due_after=self.due_after, mask=self._mask(), past=self._past)

    def due_after(self, name: str, after: datetime) -> datetime | None:
        """The first due time of a spider after an instant; None when no schedule names one."""
        settings = self._state.settings
        tables = (Timetable.of(name, table, settings, settings.zone) for table in settings.spiders[name].schedule)
        return min((due.at for table in tables if (due := table.after(after, after)) is not None), default=None)
