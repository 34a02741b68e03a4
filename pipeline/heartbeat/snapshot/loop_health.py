"""Whether the service itself keeps time: how late its loop is, and whether the wall clock jumped."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime

from pipeline.heartbeat.snapshot.schema import LoopStatus, Snapshot
from pipeline.text import span_for_people

LAG_S = 5.0
"""A loop that was held up for longer is a reason to be degraded; everything else in the service waited, too."""
JUMP_S = 5.0
"""A wall clock that jumped by more is one, too."""
_LAG_SHOWN_S = 60.0
_JUMP_SHOWN_S = 600.0


@dataclass(frozen=True)
class Thresholds:
    """What of the service itself is a reason to worry, in seconds."""

    lag_after_s: float = LAG_S
    jump_after_s: float = JUMP_S
    write_after_s: float = 15.0


class Vitals:
    """Fed by one beat after another; tells the worst lag of the last minute and the last jump of ten minutes."""

    def __init__(self, *, jump_after_s: float = JUMP_S) -> None:
        self._jump_after_s = jump_after_s
        self._last: tuple[float, datetime] | None = None
        self._lags: deque[tuple[float, float]] = deque()
        self._jump = (float("-inf"), 0.0)

    def beat(self, monotonic_s: float, wall: datetime, *, asked_s: float) -> None:
        """A beat that was asked for `asked_s` after the one before."""
        if self._last is not None:
            passed = monotonic_s - self._last[0]
            self._lags.append((monotonic_s, max(0.0, passed - asked_s)))
            moved = (wall - self._last[1]).total_seconds() - passed
            if abs(moved) >= self._jump_after_s:
                self._jump = (monotonic_s, moved)
        self._last = (monotonic_s, wall)
        while self._lags and self._lags[0][0] < monotonic_s - _LAG_SHOWN_S:
            self._lags.popleft()

    def now(self, monotonic_s: float) -> LoopStatus:
        jumped_at, jump_s = self._jump
        return {"lag_s": round(max((lag for _, lag in self._lags), default=0.0), 3),
                "clock_jump_s": round(jump_s, 1) if monotonic_s - jumped_at <= _JUMP_SHOWN_S else 0.0}


def judged(snapshot: Snapshot, loop: LoopStatus, *, lag_after_s: float = LAG_S, unwritable: str = "") -> Snapshot:
    """The snapshot with what the service says of itself. unwritable: why the database takes no write."""
    reasons = []
    if loop["lag_s"] > lag_after_s:
        reasons.append(f"service: its loop was held up for {span_for_people(loop['lag_s'])}")
    if loop["clock_jump_s"]:
        way = "forward" if loop["clock_jump_s"] > 0 else "back"
        reasons.append(f"service: the clock jumped {way} by {span_for_people(abs(loop['clock_jump_s']))}")
    found: Snapshot = {**snapshot, "loop": loop, "reasons": snapshot["reasons"] + reasons}
    if reasons and found["health"] == "ok":
        found["health"] = "degraded"
    if unwritable and found["store"]["readable"]:
        found["health"] = "failing"
        found["reasons"] = [f"store: {unwritable}", *found["reasons"]]
        found["store"] = {**found["store"], "writable": False, "error": unwritable}
    return found
