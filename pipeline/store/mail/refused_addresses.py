"""Addresses that a mail server refused for good, which stay visible until a person has seen them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, and_, exists, func, or_, select, update

from pipeline.model import MessageState, RecipientState
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import UNSEEN, deliveries, messages, recipients

_OF_MESSAGE = recipients.c.message_id == messages.c.id
SETTLED = and_(messages.c.state == MessageState.PARKED.value,
               exists().where(_OF_MESSAGE, recipients.c.state == RecipientState.REFUSED.value),
               ~exists().where(_OF_MESSAGE, or_(recipients.c.state == RecipientState.WAITING.value, UNSEEN)))
"""SQL for the parked messages that were refused for good for all their recipients, of whom a person has marked all as seen."""


@dataclass(frozen=True)
class RefusedAddress:
    """An address that a mail server refused for good, and that no person has marked as seen.

    messages: number of messages that were refused. message_id, subject: the newest of them. at: when it was refused. code, answer: the
    server's reply.
    """

    address: str
    messages: int
    message_id: int
    subject: str
    at: datetime
    code: int
    answer: str


def count(connection: Connection) -> int:
    """Return the number of addresses that were refused for good and not seen."""
    return connection.execute(select(func.count(recipients.c.address.distinct())).where(UNSEEN)).scalar_one()


def read(connection: Connection, *, limit: int) -> list[RefusedAddress]:
    """Return the addresses that were refused for good and not seen, at most `limit`, those that were refused last first."""
    by_address = select(recipients.c.address, func.count().label("number"), func.max(recipients.c.message_id).label("newest")).where(
        UNSEEN).group_by(recipients.c.address).order_by(func.max(recipients.c.message_id).desc(), recipients.c.address).limit(limit).subquery()
    at = select(func.max(deliveries.c.at)).where(deliveries.c.message_id == messages.c.id).scalar_subquery()
    wanted = select(by_address, recipients.c.code, recipients.c.answer, messages.c.subject, messages.c.created_at, at.label("at")).join(
        recipients, and_(recipients.c.message_id == by_address.c.newest, recipients.c.address == by_address.c.address)).join(
        messages, messages.c.id == by_address.c.newest).order_by(by_address.c.newest.desc(), by_address.c.address)
    return [RefusedAddress(row.address, row.number, row.newest, row.subject, row.at or row.created_at, row.code, row.answer)
            for row in connection.execute(wanted)]


def refused_addresses(store: Store, *, limit: int = 1000) -> tuple[int, list[RefusedAddress]]:
    """Return how many addresses were refused for good and not seen, and at most `limit` of them, those that were refused last first."""
    with store.read() as connection:
        return count(connection), read(connection, limit=limit)


def accepted_later(store: Store, refused: Sequence[RefusedAddress]) -> dict[str, datetime]:
    """Return, for each of these addresses that accepted a message after the refused one, when this was."""
    wanted = select(recipients.c.address, recipients.c.message_id, messages.c.sent_at).join(
        messages, messages.c.id == recipients.c.message_id).where(
        recipients.c.address.in_([each.address for each in refused]), recipients.c.state == RecipientState.ACCEPTED.value,
        messages.c.sent_at.is_not(None)).order_by(messages.c.sent_at)
    newest = {each.address: each.message_id for each in refused}
    with store.read() as connection:
        return {row.address: row.sent_at for row in connection.execute(wanted) if row.message_id > newest[row.address]}


def mark_seen(store: Store, *, now: datetime, address: str | None = None, message_id: int | None = None) -> list[str]:
    """Mark refused addresses as seen, and return them.

    address: only this address. message_id: only the addresses for which this message was refused, with what was refused to them earlier.
    If both are None, all addresses are marked.
    """
    of_message = select(recipients.c.address).where(UNSEEN, recipients.c.message_id == message_id)
    chosen = and_(UNSEEN, *([recipients.c.address == address] if address is not None else []),
                  *([recipients.c.address.in_(of_message), recipients.c.message_id <= message_id] if message_id is not None else []))
    with store.write(durable=True) as connection:
        found = sorted(set(connection.execute(select(recipients.c.address).where(chosen)).scalars()))
        connection.execute(update(recipients).where(chosen).values(seen_at=now))
        return found
