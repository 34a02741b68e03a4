"""The page of one message, its body and attachments, and its buttons.

Retry, drop, build again, send again, mark as seen.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Iterator
from functools import partial
from typing import Literal

from aiohttp import web

from pipeline.errors import PipelineError, UsageError
from pipeline.heartbeat.http.console.mail.digests import said_url
from pipeline.heartbeat.http.console.site import Site, act, number_of, or_404, redirect
from pipeline.heartbeat.http.operations import digests, messages, outbox
from pipeline.heartbeat.http.request_bodies import field_of, values_of
from pipeline.heartbeat.http.stored_files import headers_of_file, in_file_thread
from pipeline.model import MessageState

FORM_S = 15.0
OFFERED = 200
"""Maximum number of recipients that can be chosen one by one when a digest is sent again."""
_KEY = re.compile(r"[A-Za-z0-9_-]{16,64}")
_MAIL_POLICY = ("sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
                "form-action 'none'; frame-ancestors 'self'")
_MESSAGE = r"/messages/{id:\d{1,18}}"


def mail_frame(text: str, kind: str) -> web.Response:
    """Return a mail as a page for a frame, in a sandbox that allows no scripts, forms or network requests."""
    return web.Response(text=text, content_type=kind, headers={"Content-Security-Policy": _MAIL_POLICY, "X-Frame-Options": "SAMEORIGIN"})


class MessageViews:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._actions = site.actions

    def add_to(self, router: web.UrlDispatcher) -> None:
        self._site.add_pages(router, {
            _MESSAGE: self._message, f"{_MESSAGE}/body": self._body, _MESSAGE + r"/attachments/{place:\d{1,4}}": self._attachment,
            f"{_MESSAGE}/drop": self._confirm_drop, f"{_MESSAGE}/rebuild": self._confirm_rebuild, f"{_MESSAGE}/again": self._confirm_again})
        self._site.add_actions(router, {
            f"{_MESSAGE}/retry": self._retry, f"{_MESSAGE}/drop": self._drop, f"{_MESSAGE}/rebuild": self._rebuild,
            f"{_MESSAGE}/again": self._again, f"{_MESSAGE}/seen": self._mark_seen})

    async def _message(self, request: web.Request) -> web.Response:
        return await self._site.html("mail/message.html", page=await self._found(request))

    async def _found(self, request: web.Request) -> messages.MessagePage:
        return or_404(await self._site.from_files(partial(messages.message_page, self._actions.store), number_of(request)))

    async def _body(self, request: web.Request) -> web.Response:
        return mail_frame(*or_404(await self._site.from_files(lambda number: messages.body(self._actions.store, number, self._actions.mask), number_of(request))))

    async def _attachment(self, request: web.Request) -> web.StreamResponse:
        """Send an attachment, which browsers save and never show, because it may come from a crawled site."""
        place = int(request.match_info["place"])
        attached, chunks = or_404(await self._site.from_files(lambda number: messages.attachment(self._actions.store, number, place), number_of(request)))
        response = web.StreamResponse(headers=headers_of_file(attached.name))
        response.content_length = attached.size_bytes if attached.encoding == "base64" else None
        await response.prepare(request)
        if request.method != "HEAD":
            while (chunk := await in_file_thread(_next, chunks)) is not None:
                await response.write(chunk)
        await response.write_eof()
        return response

    # Confirmations

    async def _confirm_drop(self, request: web.Request) -> web.Response:
        return await self._confirm(request, "drop")

    async def _confirm_rebuild(self, request: web.Request) -> web.Response:
        return await self._confirm(request, "rebuild")

    async def _confirm(self, request: web.Request, what: Literal["drop", "rebuild"]) -> web.Response:
        found = await self._found(request)
        is_possible = found.rebuilt_with if what == "rebuild" else found.message.state in (MessageState.WAITING, MessageState.PARKED)
        back = f"/messages/{found.message.id}"
        return await self._site.html("mail/confirm_message.html", page=found, what=what, kind="danger", pointless=not is_possible, action=f"{back}/{what}", back=back)

    async def _confirm_again(self, request: web.Request) -> web.Response:
        back = f"/messages/{number_of(request)}"
        try:
            offer = await self._offer(request)
        except PipelineError as error:
            return await self._site.problem(error, path=request.path)
        shown = sorted(offer.recipients, key=lambda address: address not in offer.chosen)[:OFFERED]
        return await self._site.html("mail/confirm_again.html", offer=offer, shown=shown, key=secrets.token_urlsafe(16), kind="main",
                                     action=f"{back}/again", back=back)

    async def _offer(self, request: web.Request) -> digests.AgainOffer:
        found = await self._found(request)
        return await asyncio.to_thread(
            digests.again_offer, self._actions.store, self._actions.settings, found.message.id, [each.address for each in found.recipients],
            found.message.digest_id, now=self._actions.clock())

    # Actions

    async def _retry(self, request: web.Request) -> web.Response:
        await act(partial(outbox.retry, self._actions.store, number_of(request), now=self._actions.clock()), self._actions.on_mail)
        return redirect("/outbox")

    async def _drop(self, request: web.Request) -> web.Response:
        await act(partial(outbox.drop, self._actions.store, number_of(request), now=self._actions.clock()))
        return redirect("/outbox")

    async def _rebuild(self, request: web.Request) -> web.Response:
        await act(partial(outbox.rebuild, self._actions.store, number_of(request), now=self._actions.clock()), self._actions.on_mail)
        return redirect(f"/messages/{number_of(request)}")

    async def _again(self, request: web.Request) -> web.Response:
        """Send the digest of a message again. A form that is submitted twice does so once: its key identifies the request."""
        key, whom = [await field_of(request, name, timeout_s=FORM_S) for name in ("key", "whom")]
        if _KEY.fullmatch(key) is None or whom not in ("chosen", "everyone"):
            raise UsageError("the form is not complete", where=f"message {number_of(request)}", fix="use the form on the page of the message")
        chosen = None if whom == "everyone" else list(dict.fromkeys(await values_of(request, "to", timeout_s=FORM_S)))
        offer = await self._offer(request)
        claimed = await act(partial(digests.send_again, self._actions.store, offer, chosen, key=key, now=self._actions.clock()))
        if claimed is not None and self._actions.service is not None:
            await self._actions.service.build_requested_digest(offer.digest, claimed)
        return redirect(said_url(self._site, offer.digest, "already" if claimed is None else "again"))

    async def _mark_seen(self, request: web.Request) -> web.Response:
        await act(partial(outbox.mark_seen, self._actions.store, number_of(request), now=self._actions.clock()))
        return redirect("/outbox")


def _next(chunks: Iterator[bytes]) -> bytes | None:
    return next(chunks, None)
