"""A sample of the torture, every kind of answer in it; `make torture` runs it all."""

from __future__ import annotations

from pathlib import Path

from tests.transfer.torture import KINDS, torture


def test_no_answer_that_was_cut_is_taken_for_whole(tmp_path: Path) -> None:
    tally = torture(tmp_path, 7, cuts=300, copies=1, alone=2)
    assert len(tally.cuts) == len(KINDS)
    assert tally.cuts.total() >= 300
    assert tally.resumed > 0
