"""Files of the archive that were moved to the disk of this node from a node that is gone.

With PostgreSQL and without an object store, each file belongs to the node that has it, and no other node merges, timestamps or deletes it.
"""

from __future__ import annotations

from pipeline.archive.housekeeping.places import is_within_reach, node_of
from pipeline.settings import Settings
from pipeline.store import Store
from pipeline.store.files import archive_files
from pipeline.store.files.archive_files import ArchiveFile
from pipeline.store.health.nodes import NodeState, nodes


def moved_files(store: Store, settings: Settings) -> list[ArchiveFile]:
    """Return the files that are whole on this disk and belong to nodes of which no process is alive. Raises StoreError."""
    node = node_of(store, settings)
    if not node:
        return []
    here = [row for row in archive_files.files_of(store) if not is_within_reach(row, node) and _is_here(store, row)]
    living = {found.name for found in nodes(store) if found.state is not NodeState.GONE} if here else set()
    return [row for row in here if row.node not in living]


def take_over(store: Store, settings: Settings) -> list[str]:
    """Make the files of other nodes that were moved here those of this node. Return the names of these nodes. Raises StoreError."""
    moved = moved_files(store, settings)
    archive_files.give_to(store, moved, node_of(store, settings))
    return sorted({row.node for row in moved})


def _is_here(store: Store, row: ArchiveFile) -> bool:
    found = store.files.info(row.key)
    return found is not None and found.size_bytes == row.size_bytes and store.files.exists(row.index_key)
