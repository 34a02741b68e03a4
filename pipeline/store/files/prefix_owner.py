"""Which database the files below one prefix of an object store belong to.

Two databases that share a prefix by mistake must not delete each other's files.
"""

from __future__ import annotations

from pipeline.store.files.file_store import FileStore

OWNER = "database-id"
"""The key of the object that holds the id of the database."""


def owns_files(files: FileStore, database_id: str) -> bool:
    """Return whether the files belong to this database. The first database that asks becomes their owner. Raises StoreError."""
    if not files.exists(OWNER):
        files.write(OWNER, database_id.encode())
    return files.read(OWNER, 0, files.size(OWNER)) == database_id.encode()


def forget_owner(files: FileStore) -> None:
    """Let the next database that asks become the owner of the files. Raises StoreError."""
    files.remove(OWNER)
