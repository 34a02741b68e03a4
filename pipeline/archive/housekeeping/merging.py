"""Merges the segments of ended days into one file a day and spider, and many of today into one.

A spider that runs each minute has 1,440 segments a day: a lookup would read as many indexes. The merged file is written, renamed and uploaded;
then its row replaces those of the segments in one transaction; then the segments are deleted. Killed in between, either the segments still have their rows and are merged again, or their rows are marked and their files are deleted.
"""

from __future__ import annotations

import logging
import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

from pipeline.archive.housekeeping.deletion import finish_deletions
from pipeline.archive.housekeeping.places import is_within_reach, key_of, node_of
from pipeline.archive.housekeeping.segments import upload
from pipeline.archive_names import FOLDER, PART, SEGMENTS, WARC, index_of
from pipeline.errors import DiskFullError, PipelineError, StoreError
from pipeline.settings import Settings
from pipeline.store import Store
from pipeline.store.files import archive_files
from pipeline.store.files.archive_files import DAY, SEGMENT, ArchiveFile, NewFile
from pipeline.text import counted, size_for_people

if TYPE_CHECKING:
    from pipeline.archive.writing.day_file import DayFile

CROWDED = 20
"""The number of segments of one day from which they are merged before the day has ended."""

_log = logging.getLogger(__name__)


def segments_to_merge(store: Store, settings: Settings, today: str) -> dict[tuple[str, str], list[ArchiveFile]]:
    """Return the segments of ended days that this node can merge, by spider and day, in the order of their rows. Raises StoreError."""
    found = defaultdict(list)
    node = node_of(store, settings)
    for row in archive_files.files_of(store, state=SEGMENT):
        if row.day < today and is_within_reach(row, node) and not _is_being_written(store, row.spider, row.day):
            found[row.spider, row.day].append(row)
    return {name: sorted(rows, key=lambda row: row.id) for name, rows in found.items()}


def crowded_segments(store: Store, settings: Settings, today: str) -> dict[tuple[str, str], list[ArchiveFile]]:
    """Return the segments of today that are too many, as `segments_to_merge` does. Raises StoreError.

    A segment that is larger than half of all smaller ones together is left out, so that no record is copied more often than the logarithm of the size.
    """
    groups = defaultdict(list)
    node = node_of(store, settings)
    for row in archive_files.files_of(store, state=SEGMENT, first_day=today):
        if is_within_reach(row, node):
            groups[row.spider, row.day].append(row)
    found = {}
    for name, rows in groups.items():
        rows.sort(key=lambda row: row.size_bytes)
        rest = sum(row.size_bytes for row in rows)
        while rows and 2 * rows[-1].size_bytes > (rest := rest - rows[-1].size_bytes):
            rows.pop()
        if len(rows) >= CROWDED:
            found[name] = sorted(rows, key=lambda row: row.id)
    return found


def merge_days(store: Store, settings: Settings, *, now: datetime, go_on: Callable[[], bool] = lambda: True) -> tuple[list[str], list[str]]:
    """Merge the segments of all days that have ended (UTC), and of today if they are many.

    Return what was done, and what failed, in sentences. The caller holds the lock.
    """
    done, problems = [], []
    today = now.date().isoformat()
    for (spider, day), rows in (segments_to_merge(store, settings, today) | crowded_segments(store, settings, today)).items():
        if not go_on():
            break
        try:
            new = _merge(store, settings, rows, now)
        except (PipelineError, OSError) as error:
            problems.append(f"{spider}: the segments of {day} could not be merged: {error}")
            continue
        if new is None:
            continue
        if new.state == DAY:
            done.append(f"{spider}: merged {counted(len(rows), 'segment')} of {day} into {new.key} ({counted(new.records, 'record')}, {size_for_people(new.size_bytes)})")
        try:
            finish_deletions(store, settings)
        except (PipelineError, OSError) as error:
            problems.append(f"the merged segments could not be deleted, and are deleted later: {error}")
    return done, problems


def _is_being_written(store: Store, spider: str, day: str) -> bool:
    """Return whether a run of this node that began before the end of the day has not closed its segment yet."""
    return any(store.files.path(f"{FOLDER}/{spider}/{SEGMENTS}").glob(f"{day}-*{PART}"))


def _merge(store: Store, settings: Settings, rows: Sequence[ArchiveFile], now: datetime) -> NewFile | None:
    """Merge the segments of one day of a spider. Return None if none of them can be read. Raises StoreError, DiskFullError, OSError."""
    spider, day = rows[0].spider, rows[0].day
    rows, paths = _readable(store, rows)
    if not rows:
        return None
    _require_space(store, settings, sum(row.size_bytes + row.index_bytes for row in rows))
    if day < now.date().isoformat():
        number = archive_files.next_number(store, spider, day)
        name = f"{day}{f'-{number}' if number > 1 else ''}"
    else:
        number, name = 0, f"{day}-{now:%H%M%S}-{token_hex(6)}"
    target = store.files.path(f"{FOLDER}/{spider}/{name}{WARC}")
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        new = _write(store, settings, rows, paths, target=target, number=number)
    except BaseException:
        _remove(target)
        raise
    # From here on, the file stays whatever is raised: the row may have been committed nevertheless. orphaned_files.py finds a file without a row.
    archive_files.replace_by_day(store, rows, new, now=now)
    if store.files.is_remote:
        _remove(target)
    return new


def _write(store: Store, settings: Settings, rows: Sequence[ArchiveFile], paths: Sequence[tuple[Path, Path]], *, target: Path, number: int) -> NewFile:
    """Write the merged file, upload it if there is an object store, and return its row, which is not stored yet.

    number: of a day file; 0 for a segment of today.
    """
    from pipeline.archive.writing.day_file import merge  # noqa: PLC0415  loads warcio, which only few calls need
    merged = merge(paths, target, target.with_name(index_of(target.name)))
    wanted = sum(row.records for row in rows)
    if merged.records != wanted:
        raise StoreError(f"the merged file has {merged.records} records instead of {wanted}; the segments are kept", where=target.name,
                         fix="run `pipeline doctor` to find the damaged file")
    new = _row(store, settings, rows, merged, number=number)
    if store.files.is_remote:
        upload(store, merged.index_path, new.index_key)
        upload(store, merged.path, new.key)
    return new


def _row(store: Store, settings: Settings, rows: Sequence[ArchiveFile], merged: DayFile, *, number: int) -> NewFile:
    key = key_of(store, merged.path)
    return NewFile(spider=rows[0].spider, day=rows[0].day, state=DAY if number else SEGMENT, number=number or 1, key=key, index_key=index_of(key), size_bytes=merged.size_bytes,
                   index_bytes=merged.index_path.stat().st_size, records=merged.records, sha256=merged.sha256, oldest_day=min(row.oldest_day for row in rows),
                   node=node_of(store, settings))


def _readable(store: Store, rows: Sequence[ArchiveFile]) -> tuple[list[ArchiveFile], list[tuple[Path, Path]]]:
    """Return the segments whose files exist, and their paths. A missing file is logged, and stays in the list of files."""
    found, paths = [], []
    for row in rows:
        try:
            paths.append((store.files.local(row.key), store.files.local(row.index_key)))
        except FileNotFoundError as error:
            _log.warning("%s: a segment of %s is missing, and is left out of the day's file: %s", row.spider, row.day, error)
        else:
            found.append(row)
    return found, paths


def _require_space(store: Store, settings: Settings, size_bytes: int) -> None:
    free = shutil.disk_usage(store.data_dir).free
    if free - size_bytes < settings.pipeline.keep_free:
        raise DiskFullError(f"only {size_for_people(free)} free, but {size_for_people(size_bytes)} are needed, and [pipeline] keep_free is "
                            f"{size_for_people(settings.pipeline.keep_free)}", where=str(store.data_dir), fix="free some disk space", retry=True)


def _remove(target: Path) -> None:
    for path in (target, target.with_name(index_of(target.name))):
        path.unlink(missing_ok=True)
        path.with_name(path.name + PART).unlink(missing_ok=True)
