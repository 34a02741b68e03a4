"""Find the control groups of this process, whose quotas limit its CPU time and memory (cgroups(7))."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

MOUNTED = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def membership() -> str:
    """Return the text that names the control groups of this process; "" if the system has none."""
    try:
        return _MEMBERSHIP.read_text("ascii", "replace")
    except OSError:
        return ""


def folders(names: str, mounted: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's control groups for a controller such as "cpu", and of their parents.

    All these groups limit the process. In a container, `names` may contain a group of the host that is not mounted; the root of
    the mount, which is the last parent, is then the container's own group. names: the text of membership(). mounted: the folder
    in which control groups are mounted.
    """
    for line in names.splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = mounted / controllers if controllers else mounted  # version 2 has one hierarchy for all controllers
        folder = root / group.strip("/")
        yield from (each for each in (folder, *folder.parents) if each.is_relative_to(root))
