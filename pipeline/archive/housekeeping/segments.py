"""The segments of a run after its end: their rows, the object store, what a killed process left.

A segment is renamed, then uploaded if there is an object store, and then gets its row. Whatever is interrupted, the next process finds: a part
without a living writer is repaired, and a segment without a row gets one, unless a day file has all of its records already.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.archive.housekeeping.coverage import is_covered
from pipeline.archive.housekeeping.places import key_of, node_of, spider_folders
from pipeline.archive_names import FOLDER, INDEX, PART, SEGMENTS, WARC, index_of
from pipeline.errors import PipelineError
from pipeline.settings import Settings
from pipeline.store import Store
from pipeline.store.files import archive_files
from pipeline.store.files.archive_files import DAY, SEGMENT, NewFile

if TYPE_CHECKING:
    from pipeline.archive.writing.part_file import ClosedSegment

SETTLED_S = 60.0
"""The age of a segment without a row from which it is taken to be of a process that was killed: otherwise its process is adding the row."""

_log = logging.getLogger(__name__)


def store_segments(store: Store, settings: Settings, spider: str, run_id: int | None, closed: Sequence[ClosedSegment]) -> None:
    """Store the closed segments of a run that ends: upload them, if there is an object store, and add their rows.

    What fails is done again by the housekeeping, because the files stay on the disk. Raises the first PipelineError or OSError, after trying all.
    """
    failed: PipelineError | OSError | None = None
    for segment in closed:
        try:
            store_segment(store, settings, segment, run_id=run_id)
        except (PipelineError, OSError) as error:
            _log.warning("%s: archived pages stay in %s, and are added to the archive later: %s", spider, segment.path.name, error)
            failed = failed or error
    if failed is not None:
        raise failed


def store_segment(store: Store, settings: Settings, closed: ClosedSegment, *, run_id: int | None = None) -> bool:
    """Upload a closed segment, if there is an object store, and add its row. Return False if it has one. Raises PipelineError, OSError."""
    key = key_of(store, closed.path)
    new = NewFile(spider=closed.path.parent.parent.name, day=closed.day, state=SEGMENT, key=key, index_key=index_of(key), size_bytes=closed.size_bytes,
                  index_bytes=closed.index_path.stat().st_size, records=closed.records, sha256=closed.sha256, oldest_day=closed.oldest_day,
                  node=node_of(store, settings), run_id=closed.run_id if run_id is None else run_id)
    if store.files.is_remote:
        upload(store, closed.index_path, new.index_key)
        upload(store, closed.path, key)
    is_new = archive_files.add(store, new, now=datetime.now(UTC))
    if store.files.is_remote:
        _remove_local(closed.path, closed.index_path)
    return is_new


def upload(store: Store, path: Path, key: str) -> None:
    """Store a file of this node's disk as an object. Raises StoreError, OSError."""
    with path.open("rb") as source, store.files.writing(key) as target:
        shutil.copyfileobj(source, target, 1 << 20)


def move_to_object_store(store: Store, *paths: Path) -> None:
    """Delete files of this node that are in the object store, and upload those that are not: they were stored before there was one.

    Raises StoreError, OSError.
    """
    for path in paths:
        if not path.exists():
            continue
        key = key_of(store, path)
        found = store.files.info(key)
        if found is None or found.size_bytes != path.stat().st_size:
            upload(store, path, key)
    for path in paths:
        path.unlink(missing_ok=True)


def recover_segments(store: Store, settings: Settings, *, settled_s: float = SETTLED_S) -> int:
    """Repair the parts that killed processes of this node have left, and add the missing rows. Return how many segments were added.

    settled_s: how long ago a segment must have been changed; 0 at a time at which no run can be ending. What fails is logged.
    """
    added = 0
    if not store.shared or store.files.is_remote:  # otherwise, processes of other machines may use the folder
        store.files.sweep(FOLDER)
    for folder in (path / SEGMENTS for path in spider_folders(store)):
        if not folder.is_dir():
            continue
        spider = folder.parent.name
        known = archive_files.known_keys(store, key_of(store, folder))
        for closed in _found(store, spider, folder, known, settled_s):
            try:
                added += store_segment(store, settings, closed)
            except (PipelineError, OSError) as error:
                _log.warning("%s: archived pages of an interrupted process could not be added: %s: %s", spider, closed.path.name, error)
        _remove_index_without_segment(folder, settled_s)
    return added


def _found(store: Store, spider: str, folder: Path, known: set[str], settled_s: float) -> list[ClosedSegment]:
    """Return the segments in a folder that have no row, after repairing the parts that nobody writes."""
    from pipeline.archive.writing.repair import describe, repair, unfinished  # noqa: PLC0415  loads warcio, which only few calls need
    found = []
    for part in unfinished(folder):
        try:
            closed = repair(part)
        except (PipelineError, OSError) as error:
            _log.warning("%s: an interrupted part of the archive could not be repaired: %s: %s", spider, part.name, error)
            continue
        if closed is not None:
            _log.info("%s: %d records of an interrupted process were added to the archive", spider, closed.records)
            found.append(closed)
    repaired = {closed.path for closed in found}
    for path in sorted(folder.glob(f"*{WARC}")):
        index = path.with_name(index_of(path.name))
        if path in repaired or not _is_settled(path, settled_s):
            continue
        if key_of(store, path) in known:
            if store.files.is_remote:  # only the copy on the disk was left
                try:
                    move_to_object_store(store, path, index)
                except (PipelineError, OSError) as error:
                    _log.warning("%s: a segment of the archive could not be uploaded: %s: %s", spider, path.name, error)
            continue
        try:
            closed = describe(path, index)
            if is_covered(store, index, archive_files.files_of(store, spider, first_day=closed.day, last_day=closed.day, state=DAY)):
                _remove_local(path, index)
            else:
                found.append(closed)
        except (PipelineError, OSError) as error:
            _log.warning("%s: a segment of the archive without a row could not be read: %s: %s", spider, path.name, error)
    return found


def _remove_index_without_segment(folder: Path, settled_s: float) -> None:
    for index in folder.glob(f"*{INDEX}"):
        warc = index.with_name(f"{index.name.removesuffix(INDEX)}{WARC}")
        if _is_settled(index, settled_s) and not warc.exists() and not warc.with_name(warc.name + PART).exists():
            index.unlink(missing_ok=True)


def _is_settled(path: Path, settled_s: float) -> bool:
    try:
        return abs(time.time() - path.stat().st_mtime) >= settled_s
    except FileNotFoundError:
        return False


def _remove_local(warc: Path, index: Path) -> None:
    warc.unlink(missing_ok=True)
    index.unlink(missing_ok=True)
