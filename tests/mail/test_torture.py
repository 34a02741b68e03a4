"""A short run of the torture; the long one is `python -m tests.mail.torture --rounds 100`."""

from __future__ import annotations

from tests.mail.torture import torture


def test_kills_lose_nothing_and_only_lost_replies_cause_second_copies(tmp_path) -> None:
    tally = torture(tmp_path / "var", rounds=4, seed=6)
    assert tally.killed_at_work > 0
    assert tally.twice <= tally.killed_at_work
