"""A seeded sample of the torture of a service.

`make torture` runs all of it, with jumps of the clock and a full disk.
"""

from __future__ import annotations

from pathlib import Path

from tests.service.torture import torture


def test_nothing_is_lost_or_reported_twice_under_kills_and_faults(tmp_path: Path) -> None:
    tally = torture(tmp_path, rounds=1, seed=7, child_kills=1)
    assert tally.kills
    assert tally.told.changes >= 20
