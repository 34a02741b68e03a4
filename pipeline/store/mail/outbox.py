"""The outbox tables: messages, recipients, deliveries.

A message counts as sent only after a server has accepted it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from pipeline.model import (
    REBUILD_STEPS,
    DraftMessage,
    Message,
    MessageState,
    Rebuild,
    RecipientResult,
    RecipientState,
)
from pipeline.store.database.bulk import is_one_of
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import UNSEEN, deliveries, digests, messages, recipients
from pipeline.store.runs import jobs, leases

LEASE_TTL = timedelta(minutes=2)
LONGEST_WAIT = timedelta(hours=2)
"""The longest time between two attempts to deliver a message.

If the next attempt is later than this, the clock was set back, and the message counts as due.
"""


@dataclass(frozen=True)
class DeliveryResult:
    """The state of a message after a delivery attempt, and the number of its recipients by state.

    rebuild: set if the digest is built again for recipients for which the server refused the message because of its size or content.
    """

    state: MessageState
    accepted: int
    refused: int
    waiting: int
    rebuild: Rebuild | None = None


def insert_messages(connection: Connection, drafts: Sequence[DraftMessage], *, now: datetime, digest_id: int | None) -> list[int]:
    """Put messages into the outbox, and return their ids in the same order."""
    if not drafts:
        return []
    ids = connection.execute(insert(messages).returning(messages.c.id, sort_by_parameter_order=True), [{
        "digest_id": digest_id, "message_id": draft.message_id, "subject": draft.subject, "sender": draft.sender, "file_key": draft.file_key,
        "size_bytes": draft.size_bytes, "recipients_of": draft.recipients_of, "channel": draft.channel, "state": MessageState.WAITING.value,
        "created_at": now, "next_attempt_at": now} for draft in drafts]).scalars().all()
    connection.execute(insert(recipients), [
        {"message_id": message_id, "address": address, "state": RecipientState.WAITING.value}
        for message_id, draft in zip(ids, drafts, strict=True) for address in dict.fromkeys(draft.recipients)])
    jobs.defer_delivery(connection, ids[0])
    return list(ids)


def enqueue(store: Store, draft: DraftMessage, *, now: datetime) -> int:
    """Put a message that belongs to no digest (a test, an alert) into the outbox, and return its id."""
    with store.write(durable=True) as connection:
        return insert_messages(connection, [draft], now=now, digest_id=None)[0]


def lease(store: Store, *, owner: str, now: datetime, ttl: timedelta = LEASE_TTL, limit: int = 1, channel: str = "") -> list[Message]:
    """Lease up to `limit` messages that are due, and return them.

    The messages that became due first are leased first. channel: "" for mails, otherwise the channel of the messages.
    """
    with store.write(durable=True) as connection:
        due = (messages.c.state == MessageState.WAITING.value) & (messages.c.channel == channel) & (
            (messages.c.next_attempt_at <= now) | (messages.c.next_attempt_at > now + LONGEST_WAIT))
        ids = leases.take(connection, messages, due, owner=owner, now=now, ttl=ttl,
                          order_by=[messages.c.next_attempt_at, messages.c.id], limit=limit)
        return [_message(connection, row) for row in connection.execute(
            select(messages).where(messages.c.id.in_(ids)).order_by(messages.c.id))]


def renew(store: Store, message_id: int, *, owner: str, now: datetime, ttl: timedelta = LEASE_TTL) -> bool:
    """Renew the lease of a message in delivery; return False if another process has taken the message."""
    with store.write() as connection:
        return leases.renew(connection, messages, message_id, owner=owner, now=now, ttl=ttl)


def waiting_channels(store: Store) -> list[str]:
    """Return the notification channels for which messages are waiting."""
    with store.read() as connection:
        return list(connection.execute(select(messages.c.channel).where(
            messages.c.state == MessageState.WAITING.value, messages.c.channel != "").distinct().order_by(messages.c.channel)).scalars())


def accepted_between(store: Store, since: datetime, until: datetime) -> list[datetime]:
    """Return the times between `since` and `until` at which a mail server accepted a message, the oldest first."""
    with store.read() as connection:
        return list(connection.execute(select(deliveries.c.at).join(messages, messages.c.id == deliveries.c.message_id).where(
            deliveries.c.at.between(since, until), deliveries.c.accepted > 0, messages.c.channel == "").order_by(deliveries.c.at)).scalars())


def record(store: Store, message: Message, results: Sequence[RecipientResult], *, owner: str, now: datetime,
           next_attempt_at: datetime | None, error: str = "") -> DeliveryResult:
    """Record a delivery attempt and its result for each recipient. Raises LeaseLostError.

    next_attempt_at: when to deliver the message again to recipients that the server neither accepted nor permanently refused.
    None means that the message is parked if there are such recipients.
    """
    with store.write(durable=True) as connection:
        leases.verify(connection, messages, message.id, owner=owner)
        for result in results:
            connection.execute(update(recipients).where(
                recipients.c.message_id == message.id, recipients.c.address == result.address,
            ).values(state=_recipient_state(result).value, code=result.code, answer=result.text[:500], seen_at=None))
        refused_content = [result for result in results if result.content and not result.retry]
        rebuild = _queue_rebuild(connection, message, refused_content, now) if refused_content and message.digest_id is not None else None
        rows = connection.execute(select(recipients.c.state, func.count()).where(
            recipients.c.message_id == message.id).group_by(recipients.c.state))
        by_state = {RecipientState(state): count for state, count in rows}
        left = by_state.get(RecipientState.WAITING, 0)
        rebuilt = by_state.get(RecipientState.REBUILT, 0)
        accepted, refused = by_state.get(RecipientState.ACCEPTED, 0), by_state.get(RecipientState.REFUSED, 0) + rebuilt
        if left and next_attempt_at is not None:
            state = MessageState.WAITING
        elif left or not (accepted or rebuilt):
            state = MessageState.PARKED
        else:
            state = MessageState.SENT if accepted else MessageState.DROPPED
        connection.execute(insert(deliveries).values(
            message_id=message.id, at=now, attempt=message.attempt, error=error,
            accepted=sum(result.accepted for result in results),
            refused=sum(not result.accepted and not result.retry for result in results)))
        leases.end(connection, messages, message.id, owner=owner, state=state.value, last_error=error,
                   next_attempt_at=next_attempt_at or now, sent_at=now if state is MessageState.SENT else None)
        return DeliveryResult(state, accepted, refused, left, rebuild)


def _queue_rebuild(connection: Connection, message: Message, refused: Sequence[RecipientResult], now: datetime) -> Rebuild | None:
    """Insert a digest that is built again with less than the refused message, and return why; None if nothing less is possible.

    If nothing less is possible, the message that was refused first is parked in place of this one.
    """
    row = connection.execute(select(digests, messages.c.recipients_of).join(messages, messages.c.digest_id == digests.c.id).where(
        messages.c.id == message.id)).one_or_none()
    if row is None:  # retention has deleted the digest
        return None
    addresses = tuple(result.address for result in refused)
    earlier, limits = rebuild_of(row), [result.max_bytes for result in refused if result.max_bytes is not None]
    step = earlier.step + 1 if earlier is not None else 0 if limits else 1
    if step >= len(REBUILD_STEPS):
        if earlier is not None and _park_first_refused(connection, earlier, addresses):
            _set_recipients(connection, message.id, addresses, RecipientState.REBUILT)
        return None
    found = Rebuild(
        earlier.digest_id if earlier else row.id, earlier.message_id if earlier else message.id, addresses,
        earlier.recipients_of if earlier else row.recipients_of, step,
        min(limits, default=earlier.max_bytes if earlier else None), f"{refused[0].code} {refused[0].text}"[:500])
    _set_recipients(connection, message.id, addresses, RecipientState.REBUILT)
    waiting = connection.execute(select(digests).where(digests.c.rebuild_of == found.digest_id, digests.c.closed_at.is_(None)))
    for other in waiting:  # another part of the same mail was refused, or the message of another recipient
        merged = _merged(connection, other, found)
        if merged is not None:
            return merged
    inserted = connection.execute(insert(digests).values(
        name=row.name, slot_key=f"message {found.message_id} built again", created_at=now, rebuild=asdict(found), rebuild_of=found.digest_id,
    ).returning(digests.c.id)).scalar_one()
    jobs.defer_digest(connection, inserted, row.name)
    return found


def _merged(connection: Connection, row: Row[Any], found: Rebuild) -> Rebuild | None:
    """Add the recipients of a refused message to a digest that waits to be built again; return None if it is being built or leaves out more or less.

    Without this, a digest with a message for each of 10,000 recipients would be built again 10,000 times.
    row: the row of the waiting digest.
    """
    other = rebuild_of(row)
    if other is None or (other.step, other.recipients_of) != (found.step, found.recipients_of):
        return None
    if set(found.recipients) <= set(other.recipients):
        return other
    limits = [each.max_bytes for each in (other, found) if each.max_bytes is not None]
    merged = replace(other, recipients=tuple(dict.fromkeys([*other.recipients, *found.recipients])), max_bytes=min(limits, default=None))
    changed = connection.execute(update(digests).where(
        digests.c.id == row.id, digests.c.closed_at.is_(None), digests.c.lease_owner == "").values(rebuild=asdict(merged)))
    return merged if changed.rowcount else None


def _park_first_refused(connection: Connection, rebuild: Rebuild, addresses: Sequence[str]) -> bool:
    """Park the messages that were refused first for these addresses; return whether there are any."""
    wanted = select(messages.c.id).join(recipients, recipients.c.message_id == messages.c.id).where(
        messages.c.digest_id == rebuild.digest_id, messages.c.recipients_of == rebuild.recipients_of,
        recipients.c.address.in_(addresses), recipients.c.state == RecipientState.REBUILT.value)
    found = sorted(set(connection.execute(wanted).scalars()))
    for message_id in found:
        _set_recipients(connection, message_id, addresses, RecipientState.REFUSED)
    connection.execute(update(messages).where(messages.c.id.in_(found)).values(state=MessageState.PARKED.value))
    return bool(found)


def _set_recipients(connection: Connection, message_id: int, addresses: Sequence[str], state: RecipientState) -> int:
    """Set the state of recipients that have not accepted a message; return how many there are."""
    return int(connection.execute(update(recipients).where(
        recipients.c.message_id == message_id, recipients.c.address.in_(addresses),
        recipients.c.state != RecipientState.ACCEPTED.value).values(state=state.value)).rowcount)


def rebuild_of(row: Row[Any]) -> Rebuild | None:
    """Return why a digest is built again; None for a digest that is built for the first time. row: a row of `digests`."""
    return Rebuild(**{**row.rebuild, "recipients": tuple(row.rebuild["recipients"])}) if row.rebuild is not None else None


def _recipient_state(result: RecipientResult) -> RecipientState:
    if result.accepted:
        return RecipientState.ACCEPTED
    return RecipientState.WAITING if result.retry else RecipientState.REFUSED


def list_messages(store: Store, states: Sequence[MessageState] = (MessageState.WAITING, MessageState.PARKED), *,
                  limit: int = 1000) -> list[Message]:
    """Return the newest `limit` messages in these states, the oldest of them first."""
    with store.read() as connection:
        rows = connection.execute(select(messages).where(
            messages.c.state.in_([state.value for state in states])).order_by(messages.c.id.desc()).limit(limit)).all()
        return [_message(connection, row) for row in reversed(rows)]


def accepted_recipients(store: Store, message_ids: Sequence[int]) -> dict[int, list[str]]:
    """Return the recipients for whom a mail server has accepted these messages, by the id of the message."""
    found: dict[int, list[str]] = {}
    with store.read() as connection:
        for row in connection.execute(select(recipients.c.message_id, recipients.c.address).where(
                is_one_of(connection, recipients.c.message_id, list(message_ids)), recipients.c.state == RecipientState.ACCEPTED.value,
                ).order_by(recipients.c.message_id, recipients.c.address)):
            found.setdefault(row.message_id, []).append(row.address)
    return found


def get(store: Store, message_id: int) -> tuple[Message, list[RecipientResult], list[tuple[datetime, int, str]]] | None:
    """Return a message, the result for each recipient, and its delivery attempts (time, number, error).

    Returns None if there is no message with this id.
    """
    with store.read() as connection:
        row = connection.execute(select(messages).where(messages.c.id == message_id)).first()
        if row is None:
            return None
        answers = [RecipientResult(r.address, r.state == RecipientState.ACCEPTED.value, r.code, r.answer,
                                   r.state == RecipientState.WAITING.value)
                   for r in connection.execute(select(recipients).where(recipients.c.message_id == message_id))]
        tries = [(d.at, d.attempt, d.error) for d in connection.execute(
            select(deliveries).where(deliveries.c.message_id == message_id).order_by(deliveries.c.id))]
        return _message(connection, row), answers, tries


def retry(store: Store, message_id: int, *, now: datetime) -> bool:
    """Make a waiting or parked message due now.

    The message is sent to all recipients for which the mail server has not accepted it yet.
    Returns False if no message with this id is waiting or parked.
    """
    with store.write(durable=True) as connection:
        changed = connection.execute(update(messages).where(
            messages.c.id == message_id, messages.c.state.in_([MessageState.WAITING.value, MessageState.PARKED.value]),
        ).values(state=MessageState.WAITING.value, next_attempt_at=now, created_at=now, attempt=0)).rowcount
        if changed:
            connection.execute(update(recipients).where(
                recipients.c.message_id == message_id, recipients.c.state == RecipientState.REFUSED.value,
            ).values(state=RecipientState.WAITING.value))
        return bool(changed)


def rebuild(store: Store, message_id: int, *, now: datetime) -> Rebuild | None:
    """Build the digest of a parked message again, with less than the message has, and drop the message.

    Returns None if no message of a digest with this id is parked, or if nothing less is possible.
    """
    with store.write(durable=True) as connection:
        row = connection.execute(select(messages).where(
            messages.c.id == message_id, messages.c.state == MessageState.PARKED.value, messages.c.digest_id.is_not(None),
            messages.c.channel == "")).first()
        if row is None:
            return None
        unaccepted = [RecipientResult(entry.address, accepted=False, code=entry.code, text=entry.answer) for entry in connection.execute(
            select(recipients).where(recipients.c.message_id == message_id, recipients.c.state.in_(
                [RecipientState.WAITING.value, RecipientState.REFUSED.value])))]
        if not unaccepted:
            return None
        found = _queue_rebuild(connection, _message(connection, row), unaccepted, now)
        if found is not None:
            connection.execute(update(messages).where(messages.c.id == message_id).values(state=MessageState.DROPPED.value))
        return found


def unsent_ids(store: Store) -> list[int]:
    """Return the ids of all waiting and parked messages, the oldest first."""
    with store.read() as connection:
        return list(connection.execute(select(messages.c.id).where(messages.c.state.in_(
            [MessageState.WAITING.value, MessageState.PARKED.value])).order_by(messages.c.id)).scalars())


def drop(store: Store, message_id: int, *, now: datetime) -> bool:
    """Drop a waiting or parked message, so that it is never sent. The person who drops it has seen for whom it was refused.

    Returns False if no message with this id is waiting or parked.
    """
    with store.write(durable=True) as connection:
        dropped = connection.execute(update(messages).where(
            messages.c.id == message_id, messages.c.state.in_([MessageState.WAITING.value, MessageState.PARKED.value]),
        ).values(state=MessageState.DROPPED.value)).rowcount
        if dropped:
            connection.execute(update(recipients).where(recipients.c.message_id == message_id, UNSEEN).values(seen_at=now))
        return bool(dropped)


def next_due(store: Store, channel: str | None = None) -> datetime | None:
    """Return when the next message is due; None if no message is waiting.

    channel: "" for mails only, the name of a channel for its messages only, None for all messages.
    """
    waiting = select(func.min(messages.c.next_attempt_at)).where(messages.c.state == MessageState.WAITING.value)
    with store.read() as connection:
        return connection.execute(waiting if channel is None else waiting.where(messages.c.channel == channel)).scalar()


def _message(connection: Connection, row: Row[Any]) -> Message:
    waiting = connection.execute(select(recipients.c.address).where(
        recipients.c.message_id == row.id, recipients.c.state == RecipientState.WAITING.value)).scalars().all()
    return Message(
        id=row.id, digest_id=row.digest_id, message_id=row.message_id, subject=row.subject, sender=row.sender,
        recipients=tuple(waiting), file_key=row.file_key, size_bytes=row.size_bytes, state=MessageState(row.state),
        attempt=row.attempt, created_at=row.created_at, next_attempt_at=row.next_attempt_at, sent_at=row.sent_at,
        last_error=row.last_error, channel=row.channel)
