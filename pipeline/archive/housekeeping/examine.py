"""Compares the files of the archive with their rows, and their content with hash and timestamp."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.archive.housekeeping.moved_files import moved_files
from pipeline.archive.housekeeping.places import is_within_reach, node_of, spider_folders
from pipeline.archive_names import FOLDER, WARC
from pipeline.errors import PipelineError
from pipeline.settings import Settings
from pipeline.store import Store
from pipeline.store.files import archive_files
from pipeline.store.files.archive_files import ArchiveFile
from pipeline.text import counted, size_for_people

_READ_BYTES = 8 << 20
_MOST_NAMED = 5


@dataclass(frozen=True)
class ArchiveFinding:
    """is_problem: False for what the housekeeping repairs by itself, and for the summary."""

    text: str
    is_problem: bool = False


def examine(store: Store, settings: Settings, *, deep: bool = False) -> Iterator[ArchiveFinding]:
    """Yield what is wrong, and then a summary. deep: whether to read all files, and verify their timestamps. Raises StoreError, OSError."""
    rows, node = archive_files.files_of(store), node_of(store, settings)
    here = [row for row in rows if is_within_reach(row, node)]
    missing = [row.key for row in here if not (store.files.exists(row.key) and store.files.exists(row.index_key))]
    if missing:
        yield ArchiveFinding(f"{counted(len(missing), 'file')} of the archive or their indexes are missing: {_some(missing)}", is_problem=True)
    known = archive_files.known_keys(store) if rows or spider_folders(store) else set()
    left = [] if store.files.is_remote else [
        key for folder in spider_folders(store) for path in folder.rglob(f"*{WARC}") if (key := f"{FOLDER}/{path.relative_to(folder.parent).as_posix()}") not in known]
    if left:
        yield ArchiveFinding(f"{counted(len(left), 'file')} of the archive without a row in the database, which the housekeeping adds: {_some(left)}")
    moved = moved_files(store, settings)
    if moved:
        yield ArchiveFinding(f"{counted(len(moved), 'file')} of the archive of the node {', '.join(sorted({row.node for row in moved}))}, which is gone, "
                             "on this disk: the housekeeping takes them over")
    damaged = [path.name for folder in spider_folders(store) for path in folder.rglob("*.damaged")]
    if damaged:
        yield ArchiveFinding(f"{counted(len(damaged), 'file')} with records after a damaged one, kept aside in data_dir/archive: {_some(damaged)}", is_problem=True)
    verified = 0
    if deep:
        for row in (row for row in here if row.key not in missing):
            why = _damage(store, settings, row)
            verified += not why
            if why:
                yield ArchiveFinding(f"{row.key}: {why}", is_problem=True)
    if rows:
        elsewhere = f", {len(rows) - len(here)} of them on other nodes" if len(here) < len(rows) else ""
        size = sum(row.size_bytes + row.index_bytes for row in rows)
        yield ArchiveFinding(f"{counted(len(rows), 'file')}, {size_for_people(size)}{elsewhere}, {sum(bool(row.timestamp_key) for row in rows)} with a timestamp"
                             + (f"; the content of {verified} is what was recorded" if deep else ""))


def _damage(store: Store, settings: Settings, row: ArchiveFile) -> str:
    """Return what is wrong with the content of a file, or with its timestamp; "" if nothing is."""
    digest, start = hashlib.sha256(), 0
    while start < row.size_bytes and (content := store.files.read(row.key, start, min(start + _READ_BYTES, row.size_bytes))):
        digest.update(content)
        start += len(content)
    if store.files.size(row.key) != row.size_bytes or digest.hexdigest() != row.sha256:
        return "the content is not what was recorded (its SHA-256 differs)"
    if not row.timestamp_key:
        return ""
    from pipeline.archive.timestamps.token import verify  # noqa: PLC0415  loads cryptography
    table = settings.archive
    try:
        token = store.files.read(row.timestamp_key, 0, store.files.size(row.timestamp_key))
        verify(token, row.sha256, authorities=settings.folder / table.timestamp_ca if table.timestamp_ca is not None else None)
    except FileNotFoundError:
        return "its timestamp is missing"
    except PipelineError as error:
        return f"its timestamp is not valid: {error}"
    return ""


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:_MOST_NAMED]) + (", …" if len(keys) > _MOST_NAMED else "")
