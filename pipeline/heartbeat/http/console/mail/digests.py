"""The pages of the digests, and of one digest with what was sent; its buttons: send now, mute, unmute."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from urllib.parse import quote

from aiohttp import web

from pipeline.errors import UsageError
from pipeline.heartbeat.http.console.render.list_url import ListUrl
from pipeline.heartbeat.http.console.site import Site, act, end_in_form, number_in, numbers_in, redirect
from pipeline.heartbeat.http.operations import digests as operations
from pipeline.heartbeat.http.operations.left_out import questions_of
from pipeline.heartbeat.http.operations.messages import AttachmentNames
from pipeline.heartbeat.http.operations.service_actions import DigestTime, ServiceActions
from pipeline.heartbeat.http.request_bodies import field_of
from pipeline.heartbeat.http.stored_files import in_file_thread
from pipeline.model import MessageState
from pipeline.store.console.left_out import left_out_count
from pipeline.store.console.mail import ListedMessage, messages_of_digest

FORM_S = 15.0
ROWS = 25
MUTE_HOURS = {"24": "1 day", "72": "3 days", "168": "7 days", "720": "30 days"}
"""How long a digest can be muted by the form, as the form says it."""
PENDING_S = 60.0
"""For how long after a button was pressed the page of a digest loads itself again, until the message is sent."""
SAID = ("building", "nothing", "again", "already")
"""What the page of a digest says about the button that was pressed."""


class DigestViews:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._actions = site.actions
        self._attachments = AttachmentNames()

    def add_to(self, router: web.UrlDispatcher) -> None:
        self._site.add_pages(router, {"/digests": self._digests, "/digests/{name}": self._digest, "/digests/{name}/send": self._confirm})
        self._site.add_actions(router, {"/digests/{name}/send": self._send, "/digests/{name}/mute": self._mute, "/digests/{name}/unmute": self._unmute})

    async def _digests(self, request: web.Request) -> web.Response:
        rows = await asyncio.to_thread(operations.digest_rows, self._actions.store, self._actions.settings, await self._times(), now=self._actions.clock())
        return await self._site.html("mail/digests.html", rows=rows)

    async def _digest(self, request: web.Request) -> web.Response:
        name, store, settings, now = known_digest(self._site, request), self._actions.store, self._actions.settings, self._actions.clock()
        row, = await asyncio.to_thread(operations.digest_rows, store, settings, await self._times(), now=now, names=[name])
        state = await asyncio.to_thread(operations.digest_state, store, settings, name)
        found = await asyncio.to_thread(messages_of_digest, store, name, limit=ROWS + 1, before=numbers_in(request.query.get("after", "")))
        sent = found[:ROWS]
        attached = await in_file_thread(self._attachments.of, store, sent)
        left_out = await asyncio.to_thread(left_out_count, store, name)
        model = await asyncio.to_thread(operations.model_use, store, settings, name, now=now)
        said = request.query.get("said", "")
        return await self._site.html(
            "mail/digest.html", row=row, state=state, questions=questions_of(row.table), left_out=left_out, model=model, sent=sent, attached=attached, mute_hours=MUTE_HOURS,
            may_send=self._actions.service is not None, said=said if said in SAID else "", pending=bool(state.building) or self._is_pending(request, sent), first="after" not in request.query,
            url=ListUrl(f"/digests/{quote(name)}"),
            after=f"{sent[-1].digest_id}-{sent[-1].id}" if len(found) > ROWS else "")

    def _is_pending(self, request: web.Request, sent: Sequence[ListedMessage]) -> bool:
        """Return whether the page shows a digest that was requested a moment ago, and whose first message is not sent yet."""
        asked_at = number_in(request.query.get("at", "")) or 0
        if not 0 <= self._actions.clock().timestamp() - asked_at < PENDING_S:
            return False
        newest = sent[0] if sent else None
        return newest is None or newest.created_at.timestamp() < asked_at or newest.state is MessageState.WAITING

    async def _confirm(self, request: web.Request) -> web.Response:
        name, settings = known_digest(self._site, request), self._actions.settings
        row, = await asyncio.to_thread(operations.digest_rows, self._actions.store, settings, {}, now=self._actions.clock(), names=[name])
        state = await asyncio.to_thread(operations.digest_state, self._actions.store, settings, name)
        return await self._site.html("mail/confirm_send.html", row=row, state=state, action=f"/digests/{quote(name)}/send", back=f"/digests/{quote(name)}",
                                     kind="main", pointless=not state.unreported)

    async def _send(self, request: web.Request) -> web.Response:
        name = known_digest(self._site, request)
        report = await digest_service(self._site).send_digest(name)
        return redirect(said_url(self._site, name, "building" if report.state == "building" else "nothing"))

    async def _mute(self, request: web.Request) -> web.Response:
        """Mute the digest until the time in the form, or for its number of hours."""
        name, settings, now = known_digest(self._site, request), self._actions.settings, self._actions.clock()
        given = {field: await field_of(request, field, timeout_s=FORM_S) for field in ("hours", "until")}
        ends = end_in_form(given, MUTE_HOURS, now=now, zone=self._site.pages.zone)
        if ends is None:
            raise UsageError("the form says neither for how long nor until when", where=name)
        await act(partial(operations.mute, self._actions.store, settings, name, until=ends, now=now), self._actions.on_plan)
        return redirect(f"/digests/{quote(name)}")

    async def _unmute(self, request: web.Request) -> web.Response:
        name = known_digest(self._site, request)
        await act(partial(operations.unmute, self._actions.store, self._actions.settings, name), self._actions.on_plan)
        return redirect(f"/digests/{quote(name)}")

    async def _times(self) -> Mapping[str, Sequence[DigestTime]]:
        return await self._actions.service.digest_times() if self._actions.service is not None else {}


def said_url(site: Site, name: str, said: str) -> str:
    """Return the path of the page of a digest that says what a button has done. said: one of SAID."""
    return f"/digests/{quote(name)}?said={said}&at={int(site.actions.clock().timestamp())}"


def known_digest(site: Site, request: web.Request) -> str:
    """Return the digest that the path names; 404 if the settings have none of this name."""
    name = request.match_info["name"]
    if name not in site.actions.settings.digests:
        raise web.HTTPNotFound
    return name


def digest_service(site: Site) -> ServiceActions:
    """Return what the service does for the pages of digests. Raises UsageError if this process has no such parts."""
    return site.running_service("this process builds no digests")
