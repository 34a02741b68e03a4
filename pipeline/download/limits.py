"""Limits on downloads (sizes, timeouts, attempts, workers), and the rate limiter of a run."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True)
class DownloadLimits:
    """Limits on the downloads of one spider.

    Sizes are in bytes, durations in seconds; None means no limit.

    workers: how many files are fetched concurrently; per_host: how many files are fetched concurrently from one host. stall_s,
    stall_bytes: a transfer that receives less than `stall_bytes` in `stall_s` is considered stalled, and is retried. sync_bytes:
    a checkpoint is made each time that this number of bytes was received; a kill or a power failure loses at most the bytes since
    the last checkpoint. The first checkpoint is made after 1 MiB at most. chunk_bytes: the size of a read; None means that the
    size depends on the number of workers. patience_s: the run waits at most this long for the next attempt at a file; an attempt
    that must be made later is left to the next run. lease_renewal_s: how often the leases of active downloads are renewed; None
    means every third of a lease's lifetime.
    """

    workers: int = 4
    per_host: int | None = None
    max_bytes: int = 2 * 10**9
    max_run_bytes: int | None = None
    keep_free_bytes: int = 200 * 10**6
    rate_bytes_s: float | None = None
    connect_s: float = 20.0
    stall_s: float = 60.0
    stall_bytes: int = 1024
    attempts: int = 4
    backoff_s: float = 2.0
    backoff_max_s: float = 300.0
    patience_s: float = 120.0
    chunk_bytes: int | None = None
    sync_bytes: int = 8 * MIB
    lease_renewal_s: float | None = None

    @property
    def buffer_bytes(self) -> int:
        """The size of each buffer of a worker, chosen so that the buffers of all workers together stay below 32 MiB.

        If the rate limit is low, buffers are smaller, so that bytes arrive steadily.
        """
        if self.chunk_bytes is not None:
            return self.chunk_bytes
        size = min(MIB, max(MIB // 8, 4 * MIB // self.workers))
        return size if self.rate_bytes_s is None else min(size, max(MIB // 64, int(self.rate_bytes_s / 8)))


class RateLimiter:
    """Limits the average rate of all transfers together. bytes_s: the limit in bytes per second; None means no limit.

    A transfer receives bytes first and waits afterwards, so that every transfer makes progress.
    """

    def __init__(self, bytes_s: float | None) -> None:
        self._bytes_s = bytes_s
        self._lock = threading.Lock()
        self._free_at = 0.0

    def spend(self, count: int, stopped: threading.Event) -> None:
        """Count the bytes just received, and wait until the average rate is within the limit or `stopped` is set."""
        if self._bytes_s is None:
            return
        with self._lock:
            now = time.monotonic()
            self._free_at = max(now, self._free_at) + count / self._bytes_s
            wait_s = self._free_at - now
        stopped.wait(wait_s)
