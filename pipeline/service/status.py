"""The status snapshot of the service for the heartbeat, read from the store in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime

import pipeline
from pipeline.heartbeat.snapshot.build import build_snapshot
from pipeline.heartbeat.snapshot.history import RunHistory
from pipeline.heartbeat.snapshot.schema import Snapshot
from pipeline.heartbeat.snapshot.spider_status import DueTimes
from pipeline.schedule.slot_times import SlotTimes
from pipeline.service.state import ServiceState, utc_now
from pipeline.settings.masking import Mask


class StatusSource:
    """Builds the status snapshots for the heartbeat. upcoming: the next due time of each spider; mask: of the current settings."""

    def __init__(self, state: ServiceState, *, upcoming: Callable[[], Mapping[str, datetime]], mask: Callable[[], Mask]) -> None:
        self._state = state
        self._upcoming = upcoming
        self._mask = mask
        self._history = RunHistory()

    async def status(self) -> Snapshot:
        state = self._state
        return await asyncio.to_thread(
            build_snapshot, state.store, state.settings, DueTimes(self._upcoming(), state.started_at, utc_now(), self.due_after),
            version=pipeline.__version__, mask=self._mask(), history=self._history)

    def due_after(self, name: str, after: datetime) -> datetime | None:
        """The first due time of a spider after an instant; None if it has none."""
        settings = self._state.settings
        tables = (SlotTimes.of(name, table, settings, settings.zone) for table in settings.spiders[name].schedule)
        return min((due.at for table in tables if (due := table.after(after, after)) is not None), default=None)
