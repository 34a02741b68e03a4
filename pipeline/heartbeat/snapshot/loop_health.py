"""Measures the lag of the service's event loop, and detects jumps of the wall clock."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime

from pipeline.heartbeat.snapshot.schema import LoopStatus, Snapshot
from pipeline.text import span_for_people

LAG_S = 5.0
"""A lag of the event loop of more seconds than this makes the health `degraded`, because a lag delays the whole service."""
JUMP_S = 5.0
"""A jump of the wall clock of this many seconds makes the health `degraded`."""
_LAG_SHOWN_S = 60.0
_JUMP_SHOWN_S = 600.0


@dataclass(frozen=True)
class HealthThresholds:
    """The limits, in seconds, beyond which a lag, a clock jump or a slow write makes the health worse.

    lag_after_s: lag of the event loop. jump_after_s: jump of the wall clock. write_after_s: duration of a test write.
    """

    lag_after_s: float = LAG_S
    jump_after_s: float = JUMP_S
    write_after_s: float = 15.0


class LoopHealth:
    """Records the event loop lags of the last minute, and the latest clock jump in the last ten minutes.

    A timer calls record() at a fixed interval.
    """

    def __init__(self, *, jump_after_s: float = JUMP_S) -> None:
        self._jump_after_s = jump_after_s
        self._last: tuple[float, datetime] | None = None
        self._lags: deque[tuple[float, float]] = deque()
        self._jump = (float("-inf"), 0.0)

    def record(self, monotonic_s: float, wall: datetime, *, expected_s: float) -> None:
        """Record that the timer has fired.

        monotonic_s: the time of the monotonic clock. wall: the time of the wall clock. expected_s: the interval of the timer in
        seconds; the lag is the time by which the actual interval is longer.
        """
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


def with_service_health(snapshot: Snapshot, loop: LoopStatus, *, lag_after_s: float = LAG_S, unwritable: str = "",
                        no_storage: str = "") -> Snapshot:
    """Return the snapshot with the health of the event loop, the database and the object store added.

    The health of the snapshot can only become worse. unwritable: why the database cannot be written; "" means that the
    database is writable. no_storage: why the object store cannot be used; "" if it can, or if there is none.
    """
    reasons = []
    if loop["lag_s"] > lag_after_s:
        reasons.append(f"service: the event loop was blocked for {span_for_people(loop['lag_s'])}")
    if loop["clock_jump_s"]:
        direction = "forward" if loop["clock_jump_s"] > 0 else "back"
        reasons.append(f"service: the system clock jumped {direction} by {span_for_people(abs(loop['clock_jump_s']))}")
    if no_storage:
        reasons.append(f"storage: {no_storage}")
    found: Snapshot = {**snapshot, "loop": loop, "reasons": snapshot["reasons"] + reasons}
    if reasons and found["health"] == "ok":
        found["health"] = "degraded"
    if unwritable and found["store"]["readable"]:
        found["health"] = "failing"
        found["reasons"] = [f"store: {unwritable}", *found["reasons"]]
        found["store"] = {**found["store"], "writable": False, "error": unwritable}
    return found
