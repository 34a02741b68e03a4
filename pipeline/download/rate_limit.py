"""A bound on bytes per second, shared by all transfers of a run."""

from __future__ import annotations

import threading
import time


class Pace:
    """Lets through `bytes_s` on average. Each spends first and then waits its turn, so that none starves."""

    def __init__(self, bytes_s: float | None) -> None:
        self._bytes_s = bytes_s
        self._lock = threading.Lock()
        self._free_at = 0.0

    def spend(self, count: int, stopped: threading.Event) -> None:
        """Wait until `count` bytes fit, or until stopped."""
        if self._bytes_s is None:
            return
        with self._lock:
            now = time.monotonic()
            self._free_at = max(now, self._free_at) + count / self._bytes_s
            wait_s = self._free_at - now
        stopped.wait(wait_s)
