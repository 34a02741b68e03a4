"""A few kills of runs that archive, with a fixed seed.

`python -m tests.torture crawl/archive` makes many.
"""

from __future__ import annotations

from pathlib import Path

from tests.crawl.archive.torture import torture


def test_every_committed_page_is_archived_whenever_the_run_is_killed(tmp_path: Path) -> None:
    ends = torture(tmp_path, 2, 1, variants=(("all", 1, True), ("changed", 2, False)))
    assert ends["killed"]
