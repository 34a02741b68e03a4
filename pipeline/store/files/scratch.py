"""The folders on this node in which digests are rendered, and what killed processes left in them."""

from __future__ import annotations

import shutil
from pathlib import Path

from sqlalchemy import select

from pipeline.store.database.engine import Store
from pipeline.store.database.schema import digests
from pipeline.store.runs import leases

_PREFIX = ".rendering-"


def scratch_of_digest(store: Store, claim_id: int) -> Path:
    """Return the temporary folder in which the digest of a claim is rendered."""
    return store.files.path(f"messages/{_PREFIX}{claim_id}")


def remove_scratch(store: Store, claim_id: int) -> None:
    """Delete the temporary folder of a claim whose process has ended."""
    shutil.rmtree(scratch_of_digest(store, claim_id), ignore_errors=True)


def remove_left_scratch(store: Store) -> None:
    """Delete the temporary folders of killed processes. Raises StoreError.

    The folder of a process that runs on this machine is kept, and so is, if nodes share the folder, that of a process elsewhere.
    """
    left = list(store.files.path("messages").glob(f"{_PREFIX}*"))
    if not left:
        return
    with store.read() as connection:
        owners = {str(row.id): row.lease_owner for row in connection.execute(select(digests.c.id, digests.c.lease_owner).where(
            digests.c.closed_at.is_(None)))}
    for folder in left:
        owner = owners.get(folder.name.removeprefix(_PREFIX), "")
        alive = leases.owner_is_alive(owner, store.owner) if owner else False
        if alive is False or (alive is None and store.files.is_remote):
            shutil.rmtree(folder, ignore_errors=True)
