"""The digests of the settings: list, preview, send now, mute."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from pipeline.heartbeat.http.api.paging import id_before, page_of
from pipeline.heartbeat.http.api.resources.runs import ChangeModel, change_model
from pipeline.heartbeat.http.api.resources.types import Number, Time
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
from pipeline.heartbeat.http.operations import digests as operations
from pipeline.heartbeat.http.operations.left_out import LeftOutRow, left_out_rows
from pipeline.store.mail import digest_mutes, digests


class Digest(Model):
    """A digest of the settings. unreported_runs: how many ended runs its next mail reports. muted_until: null if it is not muted."""

    name: str
    spiders: list[str]
    schedules: list[str]
    recipients: int
    unreported_runs: int
    last_sent_at: datetime | None
    muted_until: datetime | None


class Sending(Model):
    """A digest that is built and then sent, or has nothing to report. runs: how many runs it newly reports. id: of what is built, or null."""

    digest: str
    id: int | None
    state: Literal["building", "nothing to report"]
    runs: int


class PreviewedMail(Model):
    """A mail that the next digest would consist of. html: "" if it has none.

    subject, recipients: "" for a text for notification channels. attachments: their names. has_news: false if the mail says only that there is nothing
    new, and would not be sent. asked: what a language model was asked for the preview; "" if nothing.
    """

    name: str
    text: str
    html: str
    subject: str
    recipients: str
    attachments: list[str]
    has_news: bool
    asked: str


class Preview(Model):
    """The mails that the next digest would consist of. Nothing was sent."""

    digest: str
    mails: list[PreviewedMail]


class LeftOutChange(Model):
    """A change that the digest leaves out by `only_if`. id: of the judgement.

    question: the `only_if` by which it was judged; null if the settings no longer have it. reason: what the language model says, which is not checked.
    """

    id: int
    change: ChangeModel
    question: str | None
    reason: str
    judged_at: datetime


class LeftOutQuery(PageQuery):
    limit: Number = Field(DEFAULT_LIMIT, ge=1, le=MOST)
    digest_id: Number | None = Field(None, ge=0, description="only changes of the runs that this digest reports, such as the `id` of a response to POST")


class MuteBody(Input):
    until: Time


def routes() -> list[Route]:
    return [
        Route("GET", "/digests", "List the digests of the settings, sorted by name.", list_digests, Page[Digest]),
        Route("GET", "/digests/{name}", "Get a digest.", get_digest, Digest),
        Route("GET", "/digests/{name}/preview", "Render the mails that the next digest would consist of, and send nothing.", preview, Preview,
              problems=("not-possible", "unavailable", "conflict")),
        Route("GET", "/digests/{name}/left-out", "List the changes that the digest leaves out by `only_if`, those that were judged last first.", list_left_out,
              Page[LeftOutChange], LeftOutQuery),
        Route("POST", "/digests/{name}/messages", "Build and send the digest now, also while it is muted or in quiet hours.", send, Sending,
              statuses=(202, 200), problems=("not-possible", "unavailable", "conflict"), action="send", target="digest {name}"),
        Route("PUT", "/digests/{name}/mute", "Send nothing of the digest until a time. Nothing is lost.", mute, Digest, body=MuteBody,
              problems=("conflict",), action="mute", target="digest {name}"),
        Route("DELETE", "/digests/{name}/mute", "End the mute of a digest.", unmute, Digest, action="unmute", target="digest {name}"),
    ]


def list_digests(call: Call) -> Page[Digest]:
    return Page(items=[_digest(call, name) for name in sorted(call.context.settings.digests)])


def get_digest(call: Call) -> Digest:
    _check(call)
    return _digest(call, call.name)


async def preview(call: Call) -> Preview:
    _check(call)
    mails = await call.context.running_service.preview_digest(call.name)
    return Preview(digest=call.name, mails=[PreviewedMail(
        name=mail.name, text=mail.text, html=mail.html, subject=mail.subject, recipients=mail.recipients,
        attachments=[name for name, _ in mail.attachments], has_news=mail.has_news, asked=mail.asked) for mail in mails])


def list_left_out(call: Call) -> Page[LeftOutChange]:
    _check(call)
    query = call.query
    found = left_out_rows(call.context.store, call.name, call.context.settings.digests[call.name], limit=query.limit + 1, before=id_before(query.after),
                          digest_id=query.digest_id)
    if found is None:
        raise not_found("there is no digest with this id and this name")
    return page_of(found, query.limit, _left_out, lambda row: (row.found.id,))


def _left_out(row: LeftOutRow) -> LeftOutChange:
    return LeftOutChange(id=row.found.id, change=change_model(row.found.change), question=row.question or None, reason=row.found.reason,
                         judged_at=row.found.judged_at)


async def send(call: Call) -> Reply:
    _check(call)
    report = await call.context.running_service.send_digest(call.name)
    return Reply(Sending(digest=call.name, id=report.id, state=report.state, runs=report.runs), status=202 if report.state == "building" else 200)


def mute(call: Call) -> Digest:
    _check(call)
    operations.mute(call.context.store, call.context.settings, call.name, until=call.body.until, now=call.context.now())
    return _digest(call, call.name)


def unmute(call: Call) -> Digest:
    _check(call)
    operations.unmute(call.context.store, call.context.settings, call.name)
    return _digest(call, call.name)


def _check(call: Call) -> None:
    if call.name not in call.context.settings.digests:
        raise not_found("the settings have no digest of this name")


def _digest(call: Call, name: str) -> Digest:
    store, table = call.context.store, call.context.settings.digests[name]
    last = digests.last_sent(store, name)
    return Digest(name=name, spiders=list(table.spiders), schedules=[each.name for each in table.schedule],
                  recipients=len(operations.recipients_of(table)),
                  unreported_runs=len(digests.untold(store, name, table.spiders)), last_sent_at=last[0] if last is not None else None,
                  muted_until=digest_mutes.muted_until(store, now=call.context.now()).get(name))
