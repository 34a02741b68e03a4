"""The archive in the status: its size and days, missing timestamps, segments that wait for merging."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta

from sqlalchemy import Connection

from pipeline.heartbeat.snapshot.schema import ArchiveStatus
from pipeline.settings import Settings
from pipeline.store.files.archive_files import totals
from pipeline.text import counted, quoted

UNMERGED_AFTER = timedelta(days=2)
"""The age of a segment from which something must be wrong: segments are merged when their day has ended, and their run."""
FAILED_ATTEMPTS = 4
"""The number of failed attempts, which are made within about an hour, from which a missing timestamp is a problem."""


def archive_status(connection: Connection, settings: Settings) -> dict[str, ArchiveStatus]:
    """Return the status of the archive of each spider that has one, also of spiders that are no longer in the settings."""
    found = totals(connection)
    names = dict.fromkeys([*(name for name, table in settings.spiders.items() if table.archive is not None), *found])
    status: dict[str, ArchiveStatus] = {}
    for name in names:
        total = found.get(name)
        status[name] = {
            "size_bytes": total.size_bytes if total else 0, "files": total.files if total else 0,
            "first_day": total.first_day if total else "", "last_day": total.last_day if total else "", "oldest_segment": total.oldest_segment if total else "",
            "without_timestamp": total.without_timestamp if total and settings.archive.timestamp_url is not None else 0,
            "timestamp_attempts": total.timestamp_attempts if total else 0, "timestamp_error": quoted(total.timestamp_error) if total else ""}
    return status


def archive_reasons(archive: Mapping[str, ArchiveStatus], settings: Settings, now: datetime) -> Iterator[str]:
    """Yield why the archive is not ok."""
    for name, found in archive.items():
        if found["oldest_segment"] and now.date() - date.fromisoformat(found["oldest_segment"]) > UNMERGED_AFTER:
            yield f"{name}: archived pages of {found['oldest_segment']} have not been merged into the file of their day; see the log of the service, and `pipeline doctor`"
    late = [name for name, found in archive.items() if found["without_timestamp"] and found["timestamp_attempts"] >= FAILED_ATTEMPTS]
    if late and settings.archive.timestamp_url is not None:
        number = sum(archive[name]["without_timestamp"] for name in late)
        yield f"archive: {counted(number, 'file')} without a timestamp ({archive[late[0]]['timestamp_error']}); it is tried again"
