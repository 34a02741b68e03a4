"""The messages of the outbox: list, get, retry, drop, build again, send again."""

from __future__ import annotations

import asyncio
import secrets
from datetime import datetime

from pydantic import Field

from pipeline.heartbeat.http.api.paging import id_before, page_of
from pipeline.heartbeat.http.api.resources.types import Number, Text
from pipeline.heartbeat.http.api.route import (
    DEFAULT_LIMIT,
    MOST,
    Call,
    Input,
    Model,
    Page,
    PageQuery,
    Reply,
    Route,
    not_found,
)
from pipeline.heartbeat.http.operations import digests
from pipeline.heartbeat.http.operations import outbox as operations
from pipeline.model import MessageState
from pipeline.store.console import lists
from pipeline.store.mail import outbox


class Message(Model):
    """A message of the outbox."""

    id: int
    subject: str
    state: MessageState
    created_at: datetime
    sent_at: datetime | None
    next_attempt_at: datetime
    attempt: int
    size_bytes: int
    last_error: str


class Recipient(Model):
    """What the mail server replied for a recipient. state: accepted, refused or waiting."""

    address: str
    state: str
    code: int
    text: str


class Delivery(Model):
    """An attempt to deliver a message. error: "" if it succeeded."""

    at: datetime
    attempt: int
    error: str


class MessageDetails(Message):
    """A message with its recipients and delivery attempts."""

    recipients: list[Recipient]
    deliveries: list[Delivery]


class Rebuilt(Model):
    """A digest that is built again with less than a message had. what: such as "no attachments"."""

    message: int
    what: str


class Retried(Model):
    """The numbers of the messages that are due now. At most 1,000 are retried at once."""

    messages: list[int]


class AgainBody(Input):
    recipients: list[Text] | None = Field(None, max_length=MOST, description="the only recipients; the default is everyone, and the notification channels")


class Again(Model):
    """A digest that is built again from the same runs as that of a message, and then sent. Its subject says so."""

    digest: str
    runs: int


class MessageQuery(PageQuery):
    limit: Number = Field(DEFAULT_LIMIT, ge=1, le=MOST)
    state: MessageState | None = Field(None, description="the default is all messages that are waiting or parked")


def routes() -> list[Route]:
    return [
        Route("GET", "/outbox", "List messages, the newest first.", list_messages, Page[Message], MessageQuery),
        Route("GET", "/outbox/{id}", "Get a message, with its recipients and delivery attempts.", get_message, MessageDetails),
        Route("POST", "/outbox/retry", "Make all waiting and parked messages due now.", retry_all, Retried, action="retry", target="all messages"),
        Route("POST", "/outbox/{id}/retry", "Make a waiting or parked message due now.", retry, MessageDetails, problems=("conflict",), action="retry", target="message {id}"),
        Route("POST", "/outbox/{id}/drop", "Drop a waiting or parked message, so that it is never sent.", drop, MessageDetails, problems=("conflict",),
              action="drop", target="message {id}"),
        Route("POST", "/outbox/{id}/rebuild", "Build the digest of a parked message again, with less than the message has.", rebuild, Rebuilt,
              statuses=(202,), problems=("conflict",), action="rebuild", target="message {id}"),
        Route("POST", "/outbox/{id}/again", "Send the digest of a message again, to all or to chosen recipients.", send_again, Again, body=AgainBody,
              statuses=(202,), problems=("conflict", "unavailable"), action="again", target="message {id}"),
    ]


def list_messages(call: Call) -> Page[Message]:
    states = (call.query.state,) if call.query.state is not None else (MessageState.WAITING, MessageState.PARKED)
    found = lists.messages_page(call.context.store, states, limit=call.query.limit + 1, before=id_before(call.query.after))
    return page_of(found, call.query.limit, lambda row: Message(**{name: getattr(row, name) for name in Message.model_fields}), lambda row: (row.id,))


def get_message(call: Call) -> MessageDetails:
    found = outbox.get(call.context.store, call.id)
    if found is None:
        raise not_found("there is no message with this number")
    message, recipients, deliveries = found
    return MessageDetails(
        **{name: getattr(message, name) for name in Message.model_fields},
        recipients=[Recipient(address=each.address, state="accepted" if each.accepted else "waiting" if each.retry else "refused", code=each.code,
                              text=each.text) for each in recipients],
        deliveries=[Delivery(at=at, attempt=attempt, error=error) for at, attempt, error in deliveries])


def retry(call: Call) -> Reply:
    get_message(call)
    operations.retry(call.context.store, call.id, now=call.context.now())
    return Reply(get_message(call), wake=call.context.actions.on_mail)


def retry_all(call: Call) -> Reply:
    return Reply(Retried(messages=operations.retry_all(call.context.store, now=call.context.now())), wake=call.context.actions.on_mail)


def drop(call: Call) -> MessageDetails:
    get_message(call)
    operations.drop(call.context.store, call.id, now=call.context.now())
    return get_message(call)


def rebuild(call: Call) -> Reply:
    get_message(call)
    return Reply(Rebuilt(message=call.id, what=operations.rebuild(call.context.store, call.id, now=call.context.now())),
                 wake=call.context.actions.on_mail)


async def send_again(call: Call) -> Reply:
    service, context = call.context.running_service, call.context

    def request() -> tuple[digests.AgainOffer, int | None]:
        found = outbox.get(context.store, call.id)
        if found is None:
            raise not_found("there is no message with this number")
        message, recipients, _ = found
        offer = digests.again_offer(context.store, context.settings, message.id, [each.address for each in recipients], message.digest_id, now=context.now())
        return offer, digests.send_again(context.store, offer, call.body.recipients, key=secrets.token_urlsafe(16), now=context.now())

    offer, claim = await asyncio.to_thread(request)
    assert claim is not None  # the key is new; the header Idempotency-Key is what protects against a request that is sent twice
    await service.build_requested_digest(offer.digest, claim)
    return Reply(Again(digest=offer.digest, runs=len(offer.run_ids)), status=202)
