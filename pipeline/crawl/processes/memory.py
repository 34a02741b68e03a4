"""Determine how much memory this process uses, and how much is available."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pipeline.crawl.processes.control_groups import MOUNTED, folders, membership

_MEMINFO = Path("/proc/meminfo")
_STATM = Path("/proc/self/statm")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def own_memory_bytes() -> int:
    """Return the resident memory of this process; 0 on a system without /proc."""
    try:
        return int(_STATM.read_text("ascii").split()[1]) * _PAGE_BYTES
    except OSError:
        return 0


def available_memory_bytes() -> float:
    """Return the memory that new processes can use, in the machine and in the control groups; infinity if unknown."""
    try:
        found = re.search(r"^MemAvailable:\s*(\d+) kB", _MEMINFO.read_text("ascii"), re.MULTILINE)
    except OSError:
        found = None
    machine = int(found[1]) * 1024 if found is not None else float("inf")
    return min(machine, free_in_groups(membership(), MOUNTED))


def free_in_groups(names: str, mounted: Path) -> float:
    """Return the smallest amount of memory that any control group of this process has left.

    Return infinity if no group has a limit. Memory used for the file cache counts as free. names: the text of
    control_groups.membership(). mounted: the folder in which control groups are mounted.
    """
    return min((_free(group) for group in folders(names, mounted, "memory")), default=float("inf"))


def _free(group: Path) -> float:
    version_2 = (group / "memory.max").exists()
    limit, used, cache = ("memory.max", "memory.current", "inactive_file") if version_2 else (
        "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    try:
        limit_bytes = int((group / limit).read_text("ascii"))  # "max" in version 2 means that there is no limit
        cached = re.search(rf"^{cache} (\d+)", (group / "memory.stat").read_text("ascii"), re.MULTILINE)
        return limit_bytes - int((group / used).read_text("ascii")) + (int(cached[1]) if cached is not None else 0)
    except (OSError, ValueError):
        return float("inf")
