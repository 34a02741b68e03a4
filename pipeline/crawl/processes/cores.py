"""Determine how many CPU cores this process may use, and how many of these are idle."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_STAT = Path("/proc/stat")


def usable_cores() -> int:
    """Return the number of cores that this process may use: its CPU affinity and the CPU quotas of its control groups."""
    cores = len(_affinity())
    own = Path("/proc/self/cgroup")
    return max(1, min(cores, int(_quota(own.read_text("ascii", "replace"), _CGROUPS, cores)))) if own.exists() else cores


def idle_core_s() -> float | None:
    """Return the total idle time of the usable cores since the system started, in seconds; None if unknown."""
    try:
        lines = _STAT.read_text("ascii").splitlines()
    except OSError:
        return None
    usable = {f"cpu{core}" for core in _affinity()}
    ticks = [sum(map(int, fields[4:6])) for fields in map(str.split, lines) if fields and fields[0] in usable]  # idle, iowait
    return sum(ticks) / os.sysconf("SC_CLK_TCK") if ticks else None


def _affinity() -> set[int]:
    return os.sched_getaffinity(0) if sys.platform == "linux" else set(range(os.cpu_count() or 1))


def _quota(membership: str, mounted: Path, cores: float) -> float:
    """Return the smallest CPU quota, in cores, of the control groups of this process; `cores` if there is none.

    In a container, /proc/self/cgroup may name a group of the host that is not mounted. Therefore all parent groups are tried too,
    up to the root of the mount, which is then the container's group. membership: the text of /proc/self/cgroup (cgroups(7)).
    """
    for line in membership.splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = mounted / controllers if controllers else mounted
        folder = root / group.strip("/")
        for each in (folder, *folder.parents):
            if not each.is_relative_to(root):
                break
            cores = min(cores, _limit(each))
    return cores


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
