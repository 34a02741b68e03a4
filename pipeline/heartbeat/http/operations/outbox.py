"""Operations on messages of the outbox: drop, build again, retry all."""

from __future__ import annotations

from datetime import datetime

from pipeline.errors import UsageError
from pipeline.model import REBUILD_STEPS
from pipeline.store import Store
from pipeline.store.mail import outbox

MOST_RETRIED = 1000


def retry(store: Store, number: int, *, now: datetime) -> None:
    """Request another delivery of a message. Raises UsageError if the message is not waiting or parked."""
    if not outbox.retry(store, number, now=now):
        raise UsageError(f"message {number} cannot be retried: the message was sent or dropped, or does not exist", where="outbox")


def retry_all(store: Store, *, now: datetime) -> list[int]:
    """Request another delivery of all waiting and parked messages, at most 1,000 at once; return their numbers."""
    return [number for number in outbox.unsent_ids(store)[:MOST_RETRIED] if outbox.retry(store, number, now=now)]


def drop(store: Store, number: int, *, now: datetime) -> None:
    """Drop a message, so that it is never sent. Raises UsageError if the message is not waiting or parked."""
    if not outbox.drop(store, number, now=now):
        raise UsageError(f"message {number} cannot be dropped: the message was sent or dropped, or does not exist", where="outbox")


def rebuild(store: Store, number: int, *, now: datetime) -> str:
    """Build the digest of a parked message again with less; return what it will have. Raises UsageError if this is not possible."""
    found = outbox.rebuild(store, number, now=now)
    if found is None:
        raise UsageError(f"message {number} cannot be built again: it is not a parked message of a digest, or it already has only the numbers of changes",
                         where="outbox")
    return REBUILD_STEPS[found.step]
