"""The processes that a child has started, such as a browser.

Their memory, and their end together with the child.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PROC = Path("/proc")


def descendants(pid: int) -> list[int]:
    """Return the ids of all processes below a process; [] on a system without /proc.

    Linux lists the children of a thread in /proc, unless it was built without that (CONFIG_PROC_CHILDREN). Then all processes are
    looked at, which takes about 10 ms.
    """
    listed = (_PROC / str(pid) / "task" / str(pid) / "children").exists()
    children = None if listed else _all_children()
    found: list[int] = []
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        below = list(_listed(parent)) if children is None else children.get(parent, [])
        found += below
        waiting += below
    return found


def _listed(pid: int) -> Iterator[int]:
    """Yield the ids of the processes that the threads of a process have started."""
    with contextlib.suppress(OSError):  # the process has just ended
        for thread in (_PROC / str(pid) / "task").iterdir():
            yield from map(int, (thread / "children").read_text("ascii").split())


def _all_children() -> dict[int, list[int]]:
    """Return the ids of the children of each process on this machine that has any."""
    children: dict[int, list[int]] = {}
    with contextlib.suppress(OSError):  # there is no /proc
        for entry in os.scandir(_PROC):
            if entry.name.isdecimal():
                with contextlib.suppress(OSError), open(f"{entry.path}/stat", "rb") as stat:  # it may have just ended
                    parent = int(stat.read().rpartition(b")")[2].split()[1])
                    children.setdefault(parent, []).append(int(entry.name))
    return children


def memory_bytes(pid: int) -> int:
    """Return the memory of a process and of all processes below it; 0 on a system without /proc.

    Memory that is shared with other processes, such as the browser's program, counts once: only that of the process which shares most.
    """
    own, shared = 0, 0
    for each in (pid, *descendants(pid)):
        with contextlib.suppress(OSError, IndexError, ValueError):  # the process has just ended
            _, resident, in_common, *_ = map(int, (_PROC / str(each) / "statm").read_text("ascii").split())
            own += resident - in_common
            shared = max(shared, in_common)
    return (own + shared) * _PAGE_BYTES


def kill(pids: list[int]) -> None:
    """Kill processes, of which some may have ended."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
