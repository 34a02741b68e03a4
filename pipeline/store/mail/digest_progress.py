"""How far a digest is: whether it is built, its messages, and digests built again in its place."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from pipeline.model import Rebuild
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import digests, messages
from pipeline.store.mail.outbox import rebuild_of


@dataclass(frozen=True)
class DigestProgress:
    """closed: whether its messages are in the outbox. error: why it could not be rendered, or not completely. again: digests that are
    built in place of refused messages of this one. rebuild: set if this is such a digest."""

    closed: bool
    error: str
    message_ids: list[int]
    again: list[int]
    rebuild: Rebuild | None


def progress_of(store: Store, digest_id: int) -> DigestProgress | None:
    """Return how far a digest is; None if it is not stored."""
    with store.read() as connection:
        row = connection.execute(select(digests).where(digests.c.id == digest_id)).first()
        if row is None:
            return None
        own = connection.execute(select(messages.c.id).where(messages.c.digest_id == digest_id).order_by(messages.c.id)).scalars().all()
        again = connection.execute(select(digests.c.id).where(digests.c.rebuild_of == digest_id).order_by(digests.c.id)).scalars().all()
    return DigestProgress(row.closed_at is not None, row.error, list(own), list(again), rebuild_of(row))
