"""Operations on the outbox: list, retry, drop, build again, and the addresses that were refused."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pipeline.errors import UsageError
from pipeline.heartbeat.http.operations.digests import recipients_of
from pipeline.model import REBUILD_STEPS, MessageState
from pipeline.settings import Settings
from pipeline.store import Store
from pipeline.store.console import mail as queries
from pipeline.store.console.mail import ListedMessage
from pipeline.store.mail import outbox, refused_addresses
from pipeline.store.mail.refused_addresses import RefusedAddress

MOST_RETRIED = 1000
MOST_REFUSED = 100


def retry(store: Store, number: int, *, now: datetime) -> None:
    """Request another delivery of a message. Raises UsageError if the message is not waiting or parked."""
    if not outbox.retry(store, number, now=now):
        raise UsageError(f"message {number} cannot be retried: the message was sent or dropped, or does not exist", where="outbox")


def retry_all(store: Store, *, now: datetime, most: int | None = MOST_RETRIED) -> list[int]:
    """Request another delivery of all waiting and parked messages, the oldest first; return their numbers. most: None means that there is no limit."""
    return [number for number in outbox.unsent_ids(store)[:most] if outbox.retry(store, number, now=now)]


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


def mark_seen(store: Store, number: int, *, now: datetime) -> list[str]:
    """Mark the addresses for which a message was refused as seen, and return them. Raises UsageError if there are none."""
    found = refused_addresses.mark_seen(store, now=now, message_id=number)
    if not found:
        raise UsageError(f"no address was refused for message {number}, or somebody has marked it as seen", where="outbox")
    return found


@dataclass(frozen=True)
class OutboxPage:
    """A page of the outbox. counts: of the messages in each state. before: the id before which the next page begins; None on the last page."""

    messages: list[ListedMessage]
    counts: dict[MessageState, int]
    before: int | None


def page(store: Store, state: MessageState | None, *, limit: int, before: int | None) -> OutboxPage:
    """Return messages with an id lower than `before`, the newest first. state: None means all that are waiting or parked."""
    states = (state,) if state is not None else (MessageState.WAITING, MessageState.PARKED)
    found = queries.messages_page(store, states, limit=limit + 1, before=before)
    return OutboxPage(found[:limit], queries.state_counts(store), found[limit - 1].id if len(found) > limit else None)


@dataclass(frozen=True)
class Refusal:
    """An address that was refused for good. digests: the digests of the settings that still have it.

    accepted_at: when it accepted a later message; None if it has not.
    """

    refused: RefusedAddress
    digests: tuple[str, ...]
    accepted_at: datetime | None


def refused(store: Store, settings: Settings) -> tuple[int, list[Refusal]]:
    """Return how many addresses were refused for good and not marked as seen, and the first of them."""
    count, found = refused_addresses.refused_addresses(store, limit=MOST_REFUSED)
    later = refused_addresses.accepted_later(store, found)
    of_digests = {name: recipients_of(table) for name, table in settings.digests.items()}
    return count, [Refusal(each, tuple(name for name, known in of_digests.items() if each.address in known), later.get(each.address)) for each in found]
