"""Determine how many CPU cores this process may use, and how many of these are idle."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pipeline.crawl.processes.control_groups import MOUNTED, folders, membership

_STAT = Path("/proc/stat")


def usable_cores() -> int:
    """Return the number of cores that this process may use: its CPU affinity and the CPU quotas of its control groups."""
    cores = len(_affinity())
    return max(1, min(cores, int(cpu_quota(membership(), MOUNTED, cores))))


def idle_core_s() -> float | None:
    """Return the total idle time of the usable cores since the system started, in seconds; None if unknown."""
    try:
        lines = _STAT.read_text("ascii").splitlines()
    except OSError:
        return None
    usable = {f"cpu{core}" for core in _affinity()}
    ticks = [sum(map(int, fields[4:6])) for fields in map(str.split, lines) if fields and fields[0] in usable]  # idle, iowait
    return sum(ticks) / os.sysconf("SC_CLK_TCK") if ticks else None


def cpu_quota(names: str, mounted: Path, cores: float) -> float:
    """Return the smallest CPU quota, in cores, of this process's control groups; `cores` if no group has a quota.

    names: the text of control_groups.membership(). mounted: the folder in which control groups are mounted.
    """
    return min([cores, *map(_limit, folders(names, mounted, "cpu"))])


def _affinity() -> set[int]:
    return os.sched_getaffinity(0) if sys.platform == "linux" else set(range(os.cpu_count() or 1))


def _limit(group: Path) -> float:
    """Return the CPU quota of one control group in cores; infinity if the group has no quota."""
    try:
        if (group / "cpu.max").exists():  # version 2: "max 100000" or "150000 100000"
            quota, period = (group / "cpu.max").read_text("ascii").split()
        else:
            quota, period = ((group / name).read_text("ascii").strip() for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
        return int(quota) / int(period) if quota != "max" and int(quota) > 0 else float("inf")
    except (OSError, ValueError):
        return float("inf")
