"""A short run of tests/session/responses/torture.py with every kind of response.

`make torture` runs the long one.
"""

from __future__ import annotations

from pathlib import Path

from tests.session.responses.torture import KINDS, torture


def test_no_response_that_was_cut_off_counts_as_complete(tmp_path: Path) -> None:
    tally = torture(tmp_path, 7, cuts=300, copies=1, alone=2)
    assert len(tally.cuts) == len(KINDS)
    assert tally.cuts.total() >= 300
    assert tally.resumed > 0
