"""Seeded samples of the torture of a service; `make torture` runs all of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.service.torture import torture


def test_nothing_is_lost_or_reported_twice_under_kills_and_faults(tmp_path: Path) -> None:
    tally = torture(tmp_path, rounds=1, seed=7, child_kills=1)
    assert tally.kills
    assert tally.told.changes >= 20


@pytest.mark.needs("faketime")
def test_nothing_is_lost_or_reported_twice_when_the_clock_jumps(tmp_path: Path) -> None:
    tally = torture(tmp_path, rounds=1, seed=7, clock=True)
    assert tally.odds["clock jumped"]
    assert tally.told.changes >= 20
