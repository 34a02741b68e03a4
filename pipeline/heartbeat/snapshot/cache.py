"""Caches the snapshot, so that the requests of many clients cause only one read of the store."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from pipeline.errors import PipelineError
from pipeline.heartbeat.snapshot.build import unreadable_snapshot
from pipeline.heartbeat.snapshot.loop_health import HealthThresholds, LoopHealth, with_service_health
from pipeline.heartbeat.snapshot.schema import Snapshot
from pipeline.heartbeat.snapshot.write_probe import WriteProbe


class SnapshotSource(Protocol):
    """The interface through which the server gets snapshots; the service implements this interface."""

    async def status(self) -> Snapshot:
        """Return a new snapshot, which `build_snapshot` builds in a thread. May raise PipelineError."""


@dataclass(frozen=True)
class HealthChecks:
    """The checks of the service itself whose results a snapshot includes.

    write_probe: tests whether the database can be written; None means no test. storage_probe: tests whether the object store answers;
    None if there is none. thresholds: the limits beyond which an
    event loop lag, a clock jump or a slow write makes the health worse.
    """

    write_probe: WriteProbe | None = None
    thresholds: HealthThresholds = field(default_factory=HealthThresholds)
    storage_probe: WriteProbe | None = None

    @property
    def probes(self) -> list[WriteProbe]:
        return [probe for probe in (self.write_probe, self.storage_probe) if probe is not None]


class SnapshotCache:
    """Provides snapshots that are at most `fresh_s` seconds old.

    Only one task reads the store at a time, however many clients request a snapshot. A snapshot of which half of this time is over is replaced
    in the background, so that frequent requests do not wait. If reading the store takes longer than
    `patience_s` seconds, the provided snapshot has the health `failing` and contains the reason.
    """

    def __init__(self, source: SnapshotSource, loop_health: LoopHealth, checks: HealthChecks, *, started_at: datetime,
                 version: str, fresh_s: float, patience_s: float) -> None:
        self._source = source
        self._loop_health = loop_health
        self._checks = checks
        self._started_at = started_at
        self._version = version
        self._fresh_s = fresh_s
        self._patience_s = patience_s
        self._task: asyncio.Task[Snapshot] | None = None
        self._began = float("-inf")
        self._last: tuple[asyncio.Task[Snapshot], float] | None = None

    async def get(self, now: datetime) -> Snapshot:
        found = await self._read(now)
        clock = time.monotonic()
        probe, storage, thresholds = self._checks.write_probe, self._checks.storage_probe, self._checks.thresholds
        return with_service_health(found, self._loop_health.status(clock), lag_after_s=thresholds.lag_after_s,
                                   unwritable=probe.problem(clock, after_s=thresholds.write_after_s) if probe else "",
                                   no_storage=storage.problem(clock, after_s=thresholds.write_after_s) if storage else "")

    async def _read(self, now: datetime) -> Snapshot:
        asked = time.monotonic()
        if self._last is not None and self._last[1] >= asked - self._fresh_s:
            if self._last[1] < asked - self._fresh_s / 2:
                self._build()
            return self._result(self._last[0], now)
        while True:
            if self._began < asked - self._fresh_s:
                self._build()
            task, began = self._task, self._began
            assert task is not None
            await asyncio.wait({task}, timeout=max(0.0, asked + self._patience_s - time.monotonic()))
            if not task.done():
                return self._failing(now, f"the database did not answer within {self._patience_s:g} s")
            if began >= asked - self._fresh_s:
                return self._result(task, now)

    def _build(self) -> None:
        """Begin to build a snapshot, unless one is being built."""
        if self._task is None or self._task.done():
            task, began = asyncio.create_task(self._source.status(), name="heartbeat-snapshot"), time.monotonic()
            task.add_done_callback(lambda task: self._built(task, began))
            self._task, self._began = task, began

    def _built(self, task: asyncio.Task[Snapshot], began: float) -> None:
        if not task.cancelled():
            self._last = task, began

    def _result(self, task: asyncio.Task[Snapshot], now: datetime) -> Snapshot:
        try:
            return task.result()
        except PipelineError as error:
            return self._failing(now, str(error))

    async def stop(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})

    def _failing(self, now: datetime, why: str) -> Snapshot:
        return unreadable_snapshot(why, started_at=self._started_at, now=now, version=self._version)
