"""What downloads may take: bytes, seconds, tries."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """Bounds of one spider's downloads. Sizes in bytes, durations in seconds; None: no bound.

    stall_s: how long a server may be silent, and how long it has for each `stall_bytes` of a body.
    sync_bytes: a kill or a power cut loses no more than this of one file (1 MiB of its beginning).
    chunk_bytes: what is received at a time; None: as much as is good for the number of workers.
    patience_s: a retry that is further away than this is left to the next run.
    """

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

    def buffer_bytes(self, workers: int) -> int:
        """The size of each worker's buffers: all of them together stay below 32 MiB, and far fewer than that are
        touched while files are small. Under a slow rate they are smaller, so that nothing comes by fits and starts."""
        if self.chunk_bytes is not None:
            return self.chunk_bytes
        size = min(MIB, max(MIB // 8, 4 * MIB // workers))
        return size if self.rate_bytes_s is None else min(size, max(MIB // 64, int(self.rate_bytes_s / 8)))
