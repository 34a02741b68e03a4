"""The memory and the end of the processes that a child has started."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.workers import process_tree
from tests.servers.program import eventually

GREEDY = """
import subprocess, sys
kept = bytearray({size})
for at in range(0, len(kept), 4096):
    kept[at] = 1
if {depth}:
    subprocess.Popen([sys.executable, "-c", {inner!r}], start_new_session=True)
else:
    print("ready", flush=True)
sys.stdin.read()
"""
SIZE = 30_000_000


@pytest.fixture
def family() -> Iterator[subprocess.Popen[str]]:
    """A process with a child in a session of its own, as a browser is, and a grandchild; each has used 30 MB."""
    program = ""
    for depth in range(3):
        program = GREEDY.format(size=SIZE, depth=depth, inner=program)
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == "ready\n"
        yield started
        process_tree.kill([started.pid, *process_tree.descendants(started.pid)])


def test_the_memory_of_all_processes_below_a_child_counts(family: subprocess.Popen[str]) -> None:
    assert len(process_tree.descendants(family.pid)) == 2
    assert 3 * SIZE < process_tree.memory_bytes(family.pid) < 3 * SIZE + 60_000_000
    assert os.getpid() not in process_tree.descendants(family.pid)


def test_processes_that_left_the_group_of_a_child_can_be_killed(family: subprocess.Popen[str]) -> None:
    below = process_tree.descendants(family.pid)
    process_tree.kill([family.pid, *below, 2**22 + 1])  # the last has never existed
    family.wait()
    assert process_tree.descendants(family.pid) == []
    eventually(lambda: all(has_ended(pid) for pid in below), within_s=10)  # a killed process ends a little after the signal


def has_ended(pid: int) -> bool:
    """Whether a process is gone or a zombie: nobody may wait for processes whose parent was killed."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] == "Z"
    except (FileNotFoundError, ProcessLookupError):  # it goes while its file is read
        return True


def test_processes_are_found_whether_or_not_the_kernel_lists_children(family: subprocess.Popen[str]) -> None:
    every = process_tree._all_children()
    child, = every[family.pid]
    grandchild, = every[child]
    assert process_tree.descendants(family.pid) == [child, grandchild]
