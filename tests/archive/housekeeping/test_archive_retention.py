"""Which files of the archive retention deletes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pipeline.archive.housekeeping.retention import ArchiveRules, surplus_files
from pipeline.store.files.archive_files import ArchiveFile

NOW = datetime(2026, 12, 31, 10, tzinfo=UTC)
DAY = timedelta(days=1)


def file_of(name: str, *, refers_to: str = "", size: int = 90) -> ArchiveFile:
    """name: spider and day of December, such as "a 24", or "a 24s" for a segment. refers_to: the oldest day that it refers to."""
    spider, _, day = name.partition(" ")
    number = int(day.removesuffix("s"))
    key = f"archive/{spider}/{name}.warc.gz"
    return ArchiveFile(id=hash(name), spider=spider, day=f"2026-12-{number:02}", state="segment" if day.endswith("s") else "day", number=1, run_id=None, node="",
                       key=key, index_key="", size_bytes=size, index_bytes=10, records=1, sha256="", oldest_day=f"2026-12-{refers_to or number:02}",
                       created_at=NOW, timestamp_key="", timestamped_at=None, timestamp_error="", timestamp_attempts=0)


def named(rows: list[ArchiveFile]) -> list[str]:
    return [row.key.removeprefix(f"archive/{row.spider}/").removesuffix(".warc.gz") for row in rows]


@pytest.mark.parametrize(("rules", "files", "deleted", "over"), [
    pytest.param(ArchiveRules(), ["a 01", "a 31"], [], 0, id="everything is kept by default"),
    pytest.param(ArchiveRules(2 * DAY), ["a 28", "a 29", "a 30s", "a 31"], ["a 28"], 0, id="a day is old when its last second is"),
    pytest.param(ArchiveRules(2 * DAY), ["a 28s", "a 29"], ["a 28s"], 0, id="segments that were never merged, too"),
    pytest.param(ArchiveRules(2 * DAY), ["a 24", "a 25", "a 28", "a 30>25"], ["a 24"], 0, id="a kept file keeps those to which it refers"),
    pytest.param(ArchiveRules(2 * DAY), ["a 18", "a 25>18", "a 30>25"], ["a 18"], 0, id="but not those to which only old files refer"),
    pytest.param(ArchiveRules(2 * DAY), ["a 25", "b 30>25"], ["a 25"], 0, id="another spider refers to files of its own"),
    pytest.param(ArchiveRules(2 * DAY, {"b": 9 * DAY}), ["a 25", "b 25", "gone 25"], ["a 25", "gone 25"], 0, id="a spider with its own age, and one that is gone"),
    pytest.param(ArchiveRules(None, {"b": 2 * DAY}), ["a 25", "b 25", "gone 25"], ["b 25"], 0, id="no age for all"),
    pytest.param(ArchiveRules(quota_bytes=200), ["a 18", "b 19", "a 20", "b 31"], ["a 18", "b 19"], 0, id="the quota is of all spiders, oldest days first"),
    pytest.param(ArchiveRules(quota_bytes=250), ["a 17", "a 18", "a 20>18"], ["a 17"], 0, id="a quota deletes no file that is referred to"),
    pytest.param(ArchiveRules(quota_bytes=150), ["a 18", "a 20>18", "a 31"], ["a 18", "a 20>18"], 0, id="but the files that refer to it with it"),
    pytest.param(ArchiveRules(quota_bytes=150), ["a 17", "a 23", "a 24>18", "a 31"], ["a 17"], 150, id="what new files may refer to stays, and what it refers to"),
    pytest.param(ArchiveRules(2 * DAY, quota_bytes=100), ["a 17", "a 25", "a 30"], ["a 17", "a 25"], 0, id="age and quota"),
])
def test_retention_deletes(rules: ArchiveRules, files: list[str], deleted: list[str], over: int) -> None:
    rows = [file_of(name.partition(">")[0], refers_to=name.partition(">")[2]) for name in files]
    found, excess = surplus_files(rows, rules, now=NOW)
    assert (sorted(named(found)), excess) == (sorted(name.partition(">")[0] for name in deleted), over)
