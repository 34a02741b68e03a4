"""Pages of messages with their digests and recipients, and the unfinished claims of digests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, func, literal, select, tuple_

from pipeline.model import REBUILD_STEPS, MessageState, RecipientState
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import digests, messages, recipients

SHOWN_RECIPIENTS = 3
_DIGESTS = 500
"""How many digests are searched for messages at once."""


@dataclass(frozen=True)
class ListedMessage:
    """A message of a list. digest: the name of its digest; "" for an alert or a test. digest_id: 0 for such a message.

    recipients: the first few recipients. recipient_count: how many there are. refused: how many of them were refused. file_key: its file in
    the file store.
    """

    id: int
    digest: str
    digest_id: int
    subject: str
    state: MessageState
    created_at: datetime
    sent_at: datetime | None
    next_attempt_at: datetime
    attempt: int
    size_bytes: int
    last_error: str
    channel: str
    file_key: str
    recipients: tuple[str, ...]
    recipient_count: int
    refused: int


_listed = select(messages, digests.c.name.label("digest")).outerjoin(digests, digests.c.id == messages.c.digest_id)


def messages_page(store: Store, states: Sequence[MessageState], *, limit: int, before: int | None = None) -> list[ListedMessage]:
    """Return messages in these states with an id lower than `before`, the newest first."""
    wanted = _listed.where(messages.c.state.in_([state.value for state in states]))
    if before is not None:
        wanted = wanted.where(messages.c.id < before)
    with store.read() as connection:
        return [_message(connection, row) for row in connection.execute(wanted.order_by(messages.c.id.desc()).limit(limit))]


def messages_of_digest(store: Store, name: str, *, limit: int, before: tuple[int, int] | None = None) -> list[ListedMessage]:
    """Return messages of a digest, those that were built last first. before: digest_id and id of the last message before."""
    found: list[ListedMessage] = []
    with store.read() as connection:
        last = before[0] + 1 if before is not None else None
        while len(found) < limit:
            own = select(digests.c.id).where(digests.c.name == name).order_by(digests.c.id.desc()).limit(_DIGESTS)
            ids = list(connection.execute(own if last is None else own.where(digests.c.id < last)).scalars())
            if not ids:
                break
            found += [_message(connection, row) for row in connection.execute(_of_digests(ids, before).limit(limit - len(found)))]
            last = min(ids)
    return found


def _of_digests(ids: Sequence[int], before: tuple[int, int] | None) -> Select[Any]:
    wanted = _listed.where(messages.c.digest_id.in_(ids)).order_by(messages.c.digest_id.desc(), messages.c.id.desc())
    if before is None:
        return wanted
    return wanted.where(tuple_(messages.c.digest_id, messages.c.id) < tuple_(literal(before[0]), literal(before[1])))


def _message(connection: Connection, row: Row[Any]) -> ListedMessage:
    of_message = recipients.c.message_id == row.id
    first = connection.execute(select(recipients.c.address).where(of_message).order_by(recipients.c.address).limit(SHOWN_RECIPIENTS)).scalars()
    states = {found.state: int(found.number) for found in connection.execute(
        select(recipients.c.state, func.count().label("number")).where(of_message).group_by(recipients.c.state))}
    return ListedMessage(row.id, row.digest or "", row.digest_id or 0, row.subject, MessageState(row.state), row.created_at, row.sent_at, row.next_attempt_at,
                         row.attempt, row.size_bytes, row.last_error, row.channel, row.file_key, tuple(first), sum(states.values()),
                         states.get(RecipientState.REFUSED.value, 0))


def state_counts(store: Store) -> dict[MessageState, int]:
    """Return how many messages are in each state."""
    with store.read() as connection:
        return {MessageState(row.state): int(row.number) for row in connection.execute(
            select(messages.c.state, func.count().label("number")).group_by(messages.c.state))}


@dataclass(frozen=True)
class OpenClaim:
    """A digest that is to be built, or is being built. error: why its last attempt failed; "" if none has. until: see leases."""

    id: int
    created_at: datetime
    attempt: int
    error: str
    leased: bool
    until: datetime | None


def open_claims(store: Store, name: str) -> list[OpenClaim]:
    """Return the unfinished claims of a digest, the oldest first."""
    with store.read() as connection:
        return [OpenClaim(row.id, row.created_at, row.attempt, row.error, bool(row.lease_owner), row.lease_until) for row in connection.execute(
            select(digests).where(digests.c.name == name, digests.c.closed_at.is_(None)).order_by(digests.c.id))]


@dataclass(frozen=True)
class DigestOfMessage:
    """The digest of a message. id: of the claim that is reported, also if the message was built again. is_again: whether it was requested again."""

    id: int
    name: str
    is_again: bool


def digest_of(store: Store, digest_id: int) -> DigestOfMessage | None:
    """Return the digest with this id; None if retention has deleted it."""
    with store.read() as connection:
        row = connection.execute(select(digests).where(digests.c.id == digest_id)).first()
        if row is not None and row.rebuild_of is not None:
            row = connection.execute(select(digests).where(digests.c.id == row.rebuild_of)).first()
    return DigestOfMessage(row.id, row.name, row.again is not None) if row is not None else None


def next_rebuild_step(store: Store, message_id: int) -> int | None:
    """Return the index in REBUILD_STEPS of what a message would be built again with on request; None if nothing less is possible."""
    with store.read() as connection:
        row = connection.execute(select(messages.c.state, messages.c.channel, messages.c.digest_id, digests.c.rebuild).outerjoin(
            digests, digests.c.id == messages.c.digest_id).where(messages.c.id == message_id)).first()
    if row is None or row.state != MessageState.PARKED.value or row.channel or row.digest_id is None:
        return None
    step = row.rebuild["step"] + 1 if row.rebuild is not None else 1  # as outbox.rebuild chooses it
    return step if step < len(REBUILD_STEPS) else None


def requested_again(store: Store, name: str, since: datetime) -> list[tuple[datetime, tuple[int, ...], tuple[str, ...]]]:
    """Return when a digest was requested again since `since`, with the runs and the recipients (() for all), the newest first."""
    with store.read() as connection:
        return [(row.created_at, tuple(row.again["run_ids"]), tuple(row.again["recipients"])) for row in connection.execute(
            select(digests.c.created_at, digests.c.again).where(digests.c.name == name, digests.c.again.is_not(None), digests.c.created_at >= since)
            .order_by(digests.c.id.desc()).limit(50))]
