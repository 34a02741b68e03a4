"""Decide whether the system clock is plausible, before anything is deleted because of its age.

On a machine with an empty battery, a wrong time server or a restored snapshot, the clock may be wrong by days until it is
corrected. Each process that opens the store compares the system clock with the monotonic clock since boot and, once after
each boot, with the newest times in the store. If a comparison shows a difference of more than an hour, nothing is deleted
because of its age until the system clock has run steadily for a quarter of an hour.
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
"""The file in data_dir that holds the last observation, for the next process that checks the clock."""


@dataclass(frozen=True)
class ClockObservation:
    """The last observation of the system clock and the monotonic clock.

    boot: the id of the machine's boot.
    at_s: the time of the observation on the monotonic clock.
    wall: the time of the observation on the system clock (seconds since 1970).
    since_s: the time on the monotonic clock since which both clocks have advanced equally.
    off_s: how many seconds the system clock was ahead of the expected time (negative: behind) at the last comparison.
    """

    boot: str
    at_s: float
    wall: float
    since_s: float
    off_s: float


def since_start() -> tuple[str, float]:
    """Return the id of the machine's boot and the seconds since that boot, including suspended time.

    On a system without /proc, the id names this process, and the seconds are those of time.monotonic().
    """
    try:  # /proc/uptime counts as CLOCK_BOOTTIME, also under libraries that fake the time
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return boot, float(Path("/proc/uptime").read_text("ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return f"process {os.getpid()}", time.monotonic()


class ClockTrust:
    """Decides whether the system clock is plausible.

    All code that deletes or gives up something because of its age asks this class first.
    counted: a function that returns the boot id and the time on the monotonic clock, like `since_start`.
    """

    def __init__(self, store: Store, *, counted: Callable[[], tuple[str, float]] = since_start) -> None:
        self._store = store
        self._file = store.data_dir / FILE
        self._counted = counted

    def doubt(self, now: datetime) -> str:
        """Return why the system clock is not plausible now; "" if the clock is plausible. Raises StoreError."""
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
        return (f"the system clock shows {now.astimezone(UTC):%Y-%m-%d %H:%M} UTC, {span_for_people(abs(seen.off_s))} "
                f"{'ahead of' if seen.off_s > 0 else 'behind'} the last known time; nothing is deleted or given up because of its "
                f"age until the clock has run steadily for {span_for_people(left_s)}")

    def _off_the_store_s(self, now: datetime) -> float:
        """Return how many seconds the clock is ahead of the newest time in the store; 0 if the store is empty."""
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
        """Write the observation to the file. If this fails, the next observation counts as the first one."""
        with contextlib.suppress(OSError):
            replace_file(self._file, json.dumps(asdict(seen)).encode())


def observe_clock(store: Store) -> None:
    """Check that the system clock is plausible, before this process writes any timestamps to the store.

    The result is recorded in data_dir for later checks. Errors are ignored.
    """
    with contextlib.suppress(PipelineError):
        ClockTrust(store).doubt(datetime.now(UTC))
