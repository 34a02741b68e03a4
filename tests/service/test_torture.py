"""A seeded sample of the torture; the long one is `make torture`."""

from __future__ import annotations

from pathlib import Path

from tests.service.torture import torture


def test_nothing_is_lost_and_nothing_told_twice_under_kills_and_faults(tmp_path: Path) -> None:
    tally = torture(tmp_path, rounds=5, seed=3)
    assert tally.digests
    assert tally.changes >= 20
