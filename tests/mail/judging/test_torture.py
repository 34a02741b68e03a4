"""A short run of the torture; the long one is `python -m tests.mail.judging.torture --rounds 50`."""

from __future__ import annotations

from tests.mail.judging.torture import torture


def test_kills_between_judgement_and_mail_change_no_judgement_and_ask_nothing_again(tmp_path) -> None:
    tally = torture(tmp_path, rounds=1, seed=3)
    assert tally.kills > 0
    assert tally.told > 0
    assert tally.left_out > 0
