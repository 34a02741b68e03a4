"""A short run of tests/download/torture.py with every kind of fault; `make torture` runs the long one."""

from __future__ import annotations

from pathlib import Path

from tests.download.torture import KINDS, Torture


def test_every_file_equals_its_source_after_faults_and_kills(tmp_path: Path) -> None:
    torture = Torture(7, tmp_path, max_bytes=3_000_000)
    try:
        tally = torture.run(len(KINDS) + 6)
    finally:
        torture.close()
    assert set(tally.kinds) == set(KINDS)
    assert tally.resumed > 0
