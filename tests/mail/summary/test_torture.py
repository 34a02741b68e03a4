"""A short run of the torture; the long one is `python -m tests.torture mail/summary --rounds 100`."""

from __future__ import annotations

from tests.mail.summary.torture import torture


def test_kills_neither_change_a_stored_summary_nor_lose_or_repeat_a_change(tmp_path) -> None:
    tally = torture(tmp_path, rounds=1, seed=6, moments=("stored",))
    assert (tally.stored, tally.finished) == (1, 0)
    assert tally.asked == 1
