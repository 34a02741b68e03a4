"""Whether the wall clock can be believed, before anything is deleted or given up on its word.

A machine that starts with a dead battery, a wrong time server or a snapshot restored may be days ahead for seconds. So each
process that opens the store holds the wall clock against the clock that counts since the machine started, which
nobody sets, and at the first time since then against the newest times in the store. Where they disagree by more than
an hour, ages mean nothing until the clock has gone steadily for a quarter of an hour.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import func, select

from pipeline.atomic_write import replace_file
from pipeline.errors import PipelineError
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import messages, pulse, runs
from pipeline.text import span_for_people

SLACK = timedelta(hours=1)
SETTLES_S = 15 * 60.0
FILE = "clock"
"""In data_dir, so that commands that follow each other know what the one before saw."""


@dataclass(frozen=True)
class ClockObservation:
    """What was seen of the clock. boot: of the machine; at_s, since_s: on the clock that counts from there: the last look,
    and since when the wall clock has gone with it; wall: at the last look, POSIX time; off_s: how far it disagreed then."""

    boot: str
    at_s: float
    wall: float
    since_s: float
    off_s: float


def since_start() -> tuple[str, float]:
    """Which start of the machine this is, and the seconds since, suspended or not; of the process where nothing says."""
    try:  # /proc/uptime counts as CLOCK_BOOTTIME does, whatever a process is told by its libraries
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return boot, float(Path("/proc/uptime").read_text("ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return f"process {os.getpid()}", time.monotonic()


class ClockTrust:
    """Asked by all who delete, expire or give up by age. counted: the clock that nobody sets, as `since_start`."""

    def __init__(self, store: Store, *, counted: Callable[[], tuple[str, float]] = since_start) -> None:
        self._store = store
        self._file = store.data_dir / FILE
        self._counted = counted

    def doubt(self, now: datetime) -> str:
        """Why ages mean nothing at present, "" when they can be believed. Raises StoreError."""
        boot, at_s = self._counted()
        before = self._read()
        if before is None or before.boot != boot or before.at_s > at_s:
            off_s = self._off_the_store_s(now)
            seen = ClockObservation(boot, at_s, now.timestamp(), at_s, off_s)
        else:
            jumped_s = now.timestamp() - before.wall - (at_s - before.at_s)
            seen = ClockObservation(boot, at_s, now.timestamp(), before.since_s, before.off_s)
            if abs(jumped_s) > SLACK.total_seconds():
                seen = ClockObservation(boot, at_s, now.timestamp(), at_s, jumped_s)
        self._write(seen)
        left_s = seen.since_s + SETTLES_S - at_s
        if abs(seen.off_s) <= SLACK.total_seconds() or left_s <= 0:
            return ""
        return (f"the clock says {now.astimezone(UTC):%Y-%m-%d %H:%M} UTC, {span_for_people(abs(seen.off_s))} "
                f"{'ahead of' if seen.off_s > 0 else 'behind'} what was known before; nothing is deleted or given up by its "
                f"age until it has gone steadily for {span_for_people(left_s)}")

    def _off_the_store_s(self, now: datetime) -> float:
        """How far ahead of the newest time in the store it is; 0 for a store without any."""
        with self._store.read() as connection:
            newest = [found for column in (runs.c.created_at, pulse.c.at, messages.c.created_at)
                      if (found := connection.execute(select(func.max(column))).scalar()) is not None]
        return (now - max(newest)).total_seconds() if newest else 0.0

    def _read(self) -> ClockObservation | None:
        try:
            return ClockObservation(**json.loads(self._file.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def _write(self, seen: ClockObservation) -> None:
        """Where that fails, the next look takes itself for the first."""
        with contextlib.suppress(OSError):
            replace_file(self._file, json.dumps(asdict(seen)).encode())


def observe_clock(store: Store) -> None:
    """Take note of the clock before this process writes times of its own into the store."""
    with contextlib.suppress(PipelineError):
        ClockTrust(store).doubt(datetime.now(UTC))
