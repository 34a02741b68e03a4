"""A short run of tests/store/files/torture.py; `make torture` runs the long one."""

from __future__ import annotations

from pathlib import Path

from tests.servers.s3 import S3Server
from tests.store.files.torture import FAILED, Torture


def test_every_row_names_a_whole_object_after_kills_and_outages(s3: S3Server, tmp_path: Path) -> None:
    torture = Torture(1281, tmp_path, s3)  # the first process is killed, the second one meets an outage
    try:
        torture.round(0)
    finally:
        torture.close()
    assert torture.ends[-9] > 0 or torture.ends[FAILED] > 0
