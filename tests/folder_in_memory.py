"""A place in memory for the folders of tests, where no test waits for a disk.

Tests commit tens of thousands of transactions, each of which waits some milliseconds for a disk (fsync). What a test proves stays the
same: tests kill processes, whose writes the kernel keeps, and never the machine. Full disks are mounted by the tests about them.
"""

from __future__ import annotations

import os
from pathlib import Path

PLACE = Path("/dev/shm")
FREE_BYTES = 4 * 2**30
"""What a run of the whole suite may need: the folders of tests that fail, and 250 databases of PostgreSQL with 8 MB each."""


def folder_in_memory(place: Path = PLACE) -> Path | None:
    """Return a folder in memory with enough room, in which programs can be executed; None if there is none."""
    try:
        found = os.statvfs(place)
    except OSError:
        return None
    fits = found.f_bavail * found.f_frsize >= FREE_BYTES and not found.f_flag & os.ST_NOEXEC
    return place if fits and os.access(place, os.W_OK) and _available_bytes() >= 2 * FREE_BYTES else None


def _available_bytes() -> int:
    """Return how much memory is available (proc(5)); 0 if that is unknown."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), 0)
