"""Seeded samples of the torture; the long one, with all of it at once, is `make torture`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.download.torture import can_mount
from tests.service.torture import torture


def test_nothing_is_lost_and_nothing_told_twice_under_kills_and_faults(tmp_path: Path) -> None:
    tally = torture(tmp_path, rounds=3, seed=5, child_kills=2)
    assert tally.kills
    assert tally.told.changes >= 20


@pytest.mark.needs("faketime")
def test_nor_with_a_clock_that_jumps(tmp_path: Path) -> None:
    tally = torture(tmp_path, rounds=2, seed=4, clock=True)
    assert tally.odds["clock jumped"]
    assert tally.told.changes >= 20


@pytest.mark.skipif(not can_mount(), reason="the disk is not filled: a tmpfs can be mounted by root on Linux only")
def test_nor_with_a_disk_that_fills_up(tmp_path: Path) -> None:
    tally = torture(tmp_path, rounds=2, seed=4, disk=True)
    assert tally.odds["disk filled"] + tally.odds["started on a full disk"]
    assert tally.told.changes >= 20
