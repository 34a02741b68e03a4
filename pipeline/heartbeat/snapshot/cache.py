"""The latest snapshot: worked out by whoever asks first, shared by all who ask meanwhile."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from typing import Protocol

from pipeline.errors import PipelineError
from pipeline.heartbeat.snapshot.build import unreadable
from pipeline.heartbeat.snapshot.loop_health import Thresholds, Vitals, judged
from pipeline.heartbeat.snapshot.schema import Snapshot
from pipeline.heartbeat.snapshot.write_probe import Probe


class Answers(Protocol):
    """What the service tells the heartbeat. Everything it answers is made of this one snapshot."""

    async def status(self) -> Snapshot:
        """`pipeline.heartbeat.snapshot.build.snapshot`, worked out off the loop. May raise PipelineError."""


class Latest:
    """A snapshot no older than `fresh_s` at the moment it was asked for, by one reader of the store at a time.

    However many clients ask, the store is read once, and again only for those who came too late for that.
    When the store does not answer within `patience_s`, the truth is that it does not: `failing`.
    """

    def __init__(self, answers: Answers, vitals: Vitals, *, started_at: datetime, version: str, fresh_s: float,
                 patience_s: float, probe: Probe | None = None, thresholds: Thresholds | None = None) -> None:
        self._answers = answers
        self._vitals = vitals
        self._probe = probe
        self._thresholds = thresholds or Thresholds()
        self._started_at = started_at
        self._version = version
        self._fresh_s = fresh_s
        self._patience_s = patience_s
        self._task: asyncio.Task[Snapshot] | None = None
        self._began = float("-inf")

    async def get(self, now: datetime) -> Snapshot:
        found = await self._read(now)
        clock = time.monotonic()
        return judged(found, self._vitals.now(clock), lag_after_s=self._thresholds.lag_after_s,
                      unwritable=self._probe.problem(clock, after_s=self._thresholds.write_after_s)
                      if self._probe else "")

    async def _read(self, now: datetime) -> Snapshot:
        asked = time.monotonic()
        while True:
            if self._task is None or (self._task.done() and self._began < asked - self._fresh_s):
                self._began = time.monotonic()
                self._task = asyncio.create_task(self._answers.status(), name="heartbeat-snapshot")
            task, began = self._task, self._began
            await asyncio.wait({task}, timeout=max(0.0, asked + self._patience_s - time.monotonic()))
            if not task.done():
                return self._failing(now, f"the store did not answer within {self._patience_s:g} s")
            if began >= asked - self._fresh_s:
                break
        try:
            return task.result()
        except PipelineError as error:
            return self._failing(now, str(error))

    async def stop(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})

    def _failing(self, now: datetime, why: str) -> Snapshot:
        return unreadable(why, started_at=self._started_at, now=now, version=self._version)
