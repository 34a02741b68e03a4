"""Resolves files without a row: of a killed merge, or of a restored older database.

A file whose records are all in files with rows is deleted. Any other gets a row, so that no record is lost.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from pipeline.archive.housekeeping.coverage import is_covered
from pipeline.archive.housekeeping.places import is_within_reach, key_of, node_of, spider_folders
from pipeline.archive.housekeeping.segments import move_to_object_store
from pipeline.archive.writing.originals import MAX_REFERENCE_AGE
from pipeline.archive_names import FOLDER, INDEX, PART, SEGMENTS, WARC, index_of, token_of
from pipeline.errors import PipelineError
from pipeline.settings import Settings
from pipeline.store import Store
from pipeline.store.database import schema_version
from pipeline.store.files import archive_files
from pipeline.store.files.archive_files import DAY, SEGMENT, ArchiveFile, NewFile
from pipeline.store.files.prefix_owner import owns_files

_DAY_FILE = re.compile(rf"{FOLDER}/([^/]+)/(\d{{4}}-\d\d-\d\d)(?:-(\d+))?{re.escape(WARC)}")
_SEGMENT_FILE = re.compile(rf"{FOLDER}/([^/]+)/(?:{SEGMENTS}/)?(\d{{4}}-\d\d-\d\d)-\d{{6}}-[^/]*{re.escape(WARC)}")
OBJECT_AGE = timedelta(days=1)
"""The age from which an object without a row is taken to be orphaned: the process that has uploaded it adds its row within seconds."""

_log = logging.getLogger(__name__)


def resolve_orphaned_files(store: Store, settings: Settings) -> list[str]:
    """Add or delete the files on this node's disk that have no row. Return what could not be done, in sentences. The caller holds the lock."""
    problems = []
    for folder in spider_folders(store):
        for path in folder.glob(f"*{PART}"):
            path.unlink(missing_ok=True)
        known = archive_files.known_keys(store, f"{key_of(store, folder)}/")
        doomed = {row.key for row in archive_files.doomed(store)}
        for path in sorted(folder.glob(f"*{WARC}")):
            key = key_of(store, path)
            if key in known and not store.files.is_remote:
                continue
            try:
                if key in doomed:
                    _remove(store, key)
                elif key in known:  # the merge was killed after its row, or the file is from before there was an object store
                    move_to_object_store(store, path, *(store.files.path(other) for other in (index_of(key), token_of(key))))
                else:
                    _resolve(store, settings, key)
            except (PipelineError, OSError) as error:
                problems.append(f"{key} has no row in the database, and could not be read: {error}")
        for path in folder.glob(f"*{INDEX}"):
            if not path.with_name(f"{path.name.removesuffix(INDEX)}{WARC}").exists():
                path.unlink(missing_ok=True)
    return problems


def resolve_orphaned_objects(store: Store, settings: Settings, now: datetime) -> list[str]:
    """Do the same as `resolve_orphaned_files` in the object store. This lists all objects of the archive. Raises StoreError."""
    if not store.files.is_remote:
        return []
    known = archive_files.known_keys(store)
    orphaned = [found.key for found in store.files.list(f"{FOLDER}/") if found.key.endswith(WARC) and found.key not in known and now - found.modified_at > OBJECT_AGE]
    if not orphaned:
        return []
    with store.read() as connection:
        own = schema_version.database_id(connection)
    if not owns_files(store.files, own):
        return [f"another database uses the same [pipeline] storage, so that {len(orphaned)} files of the archive without a row are left as they are"]
    problems = []
    for key in orphaned:
        try:
            _resolve(store, settings, key)
        except (PipelineError, OSError) as error:
            problems.append(f"{key} has no row in the database, and could not be read: {error}")
    return problems


def _resolve(store: Store, settings: Settings, key: str) -> None:
    """Delete a file whose records are all in files with rows; add the row of any other. Raises PipelineError, OSError."""
    from pipeline.archive.writing.repair import describe  # noqa: PLC0415  loads warcio, which only few calls need
    named = _DAY_FILE.fullmatch(key) or _SEGMENT_FILE.fullmatch(key)
    if named is None:
        return
    spider, day = named[1], named[2]
    warc, index = store.files.path(key), store.files.path(index_of(key))
    if is_object := not warc.exists():
        warc, index = store.files.local(key), store.files.local(index_of(key))
    found = describe(warc, index)
    rows = archive_files.files_of(store, spider, first_day=day, last_day=day)
    if is_covered(store, index, rows):
        _remove(store, key)
        _log.info("%s: deleted %s, whose records are in other files", spider, key)
        return
    state, number = (DAY, int(named[3] or 1)) if named.re is _DAY_FILE else (SEGMENT, 1)
    oldest_day = found.oldest_day or (date.fromisoformat(day) - MAX_REFERENCE_AGE).isoformat()
    new = NewFile(spider=spider, day=day, state=state, number=number, key=key, index_key=index_of(key), size_bytes=found.size_bytes,
                  index_bytes=index.stat().st_size, records=found.records, sha256=found.sha256, oldest_day=oldest_day, node=node_of(store, settings))
    if store.files.is_remote and not is_object:
        move_to_object_store(store, warc, index)
    if archive_files.add(store, new, now=datetime.now(UTC)):
        _log.warning("%s: %s was not in the database, for example because a backup was restored; it was added", spider, key)
        if state == DAY:
            _forget_merged(store, settings, [row for row in rows if row.state == SEGMENT])


def _forget_merged(store: Store, settings: Settings, segments: Sequence[ArchiveFile]) -> None:
    """Delete the rows of segments whose files do not exist: they were merged into the day file that was added."""
    node = node_of(store, settings)
    missing = [row.id for row in segments if is_within_reach(row, node) and not store.files.exists(row.key)]
    archive_files.doom(store, missing, now=datetime.now(UTC))


def _remove(store: Store, key: str) -> None:
    """Delete a file without a row, its index and its token, on the disk of this node and in the object store if it is there."""
    keys = (key, index_of(key), token_of(key))
    for each in keys:
        store.files.path(each).unlink(missing_ok=True)
    if store.files.is_remote and key not in archive_files.known_keys(store, key):
        store.files.remove_all(keys)
