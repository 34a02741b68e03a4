"""Deletes the files of rows that are marked for deletion, and then the rows."""

from __future__ import annotations

from pipeline.archive.housekeeping.places import is_within_reach, node_of
from pipeline.settings import Settings
from pipeline.store import Store
from pipeline.store.files import archive_files
from pipeline.store.files.archive_files import ArchiveFile


def finish_deletions(store: Store, settings: Settings) -> list[ArchiveFile]:
    """Delete the marked files that this node can reach, and their rows. Return what was deleted. Raises StoreError, OSError."""
    node = node_of(store, settings)
    deleted = []
    for row in archive_files.doomed(store):
        if is_within_reach(row, node):
            store.files.remove_all(row.keys)
            archive_files.forget(store, row.id)
            deleted.append(row)
    return deleted
