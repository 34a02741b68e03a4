"""Measures the lag of the service's event loop and jumps of the wall clock."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime

from pipeline.heartbeat.snapshot.schema import LoopStatus, Snapshot
from pipeline.text import span_for_people

LAG_S = 5.0
"""A longer lag of the event loop is a reason for degraded: everything else in the service waited, too."""
JUMP_S = 5.0
"""A larger jump of the wall clock is a reason for degraded."""
_LAG_SHOWN_S = 60.0
_JUMP_SHOWN_S = 600.0


@dataclass(frozen=True)
class HealthThresholds:
    """From how many seconds on a loop lag, a clock jump and a hanging write count against the service's health."""

    lag_after_s: float = LAG_S
    jump_after_s: float = JUMP_S
    write_after_s: float = 15.0


class LoopHealth:
    """Keeps the lags of the last minute and the last clock jump of ten minutes, from the ticks of a timer."""

    def __init__(self, *, jump_after_s: float = JUMP_S) -> None:
        self._jump_after_s = jump_after_s
        self._last: tuple[float, datetime] | None = None
        self._lags: deque[tuple[float, float]] = deque()
        self._jump = (float("-inf"), 0.0)

    def record(self, monotonic_s: float, wall: datetime, *, expected_s: float) -> None:
        """Record a tick of the timer, which was expected `expected_s` seconds after the one before."""
        if self._last is not None:
            passed = monotonic_s - self._last[0]
            self._lags.append((monotonic_s, max(0.0, passed - expected_s)))
            moved = (wall - self._last[1]).total_seconds() - passed
            if abs(moved) >= self._jump_after_s:
                self._jump = (monotonic_s, moved)
        self._last = (monotonic_s, wall)
        while self._lags and self._lags[0][0] < monotonic_s - _LAG_SHOWN_S:
            self._lags.popleft()

    def status(self, monotonic_s: float) -> LoopStatus:
        jumped_at, jump_s = self._jump
        return {"lag_s": round(max((lag for _, lag in self._lags), default=0.0), 3),
                "clock_jump_s": round(jump_s, 1) if monotonic_s - jumped_at <= _JUMP_SHOWN_S else 0.0}


def with_service_health(snapshot: Snapshot, loop: LoopStatus, *, lag_after_s: float = LAG_S, unwritable: str = "") -> Snapshot:
    """The snapshot with the health of the event loop and the database added; it never becomes better.

    unwritable: why the database cannot be written, or "".
    """
    reasons = []
    if loop["lag_s"] > lag_after_s:
        reasons.append(f"service: its event loop was blocked for {span_for_people(loop['lag_s'])}")
    if loop["clock_jump_s"]:
        direction = "forward" if loop["clock_jump_s"] > 0 else "back"
        reasons.append(f"service: the clock jumped {direction} by {span_for_people(abs(loop['clock_jump_s']))}")
    found: Snapshot = {**snapshot, "loop": loop, "reasons": snapshot["reasons"] + reasons}
    if reasons and found["health"] == "ok":
        found["health"] = "degraded"
    if unwritable and found["store"]["readable"]:
        found["health"] = "failing"
        found["reasons"] = [f"store: {unwritable}", *found["reasons"]]
        found["store"] = {**found["store"], "writable": False, "error": unwritable}
    return found
