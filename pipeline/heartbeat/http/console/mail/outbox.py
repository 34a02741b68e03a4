"""The page of the outbox: messages by state, refused addresses, and the button that retries all."""

from __future__ import annotations

import asyncio
from functools import partial

from aiohttp import web

from pipeline.heartbeat.http.console.render.list_url import ListUrl
from pipeline.heartbeat.http.console.site import Site, act, number_in, redirect
from pipeline.heartbeat.http.operations import outbox
from pipeline.model import MessageState

ROWS = 50


class OutboxViews:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._actions = site.actions

    def add_to(self, router: web.UrlDispatcher) -> None:
        self._site.add_pages(router, {"/outbox": self._outbox, "/outbox/retry": self._confirm_retry})
        self._site.add_actions(router, {"/outbox/retry": self._retry_all})

    async def _outbox(self, request: web.Request) -> web.Response:
        state, before = request.query.get("state", ""), request.query.get("before", "")
        wanted = MessageState(state) if state in tuple(MessageState) else None
        position = number_in(before)
        found = await asyncio.to_thread(outbox.page, self._actions.store, wanted, limit=ROWS, before=position)
        refused = await asyncio.to_thread(outbox.refused, self._actions.store, self._actions.settings) if wanted is None and position is None else None
        return await self._site.html("mail/outbox.html", page=found, state=wanted or "", states=list(MessageState), first=position is None,
                                     refused=refused, url=ListUrl("/outbox", state=wanted or ""))

    async def _confirm_retry(self, request: web.Request) -> web.Response:
        found = await asyncio.to_thread(outbox.page, self._actions.store, None, limit=1, before=None)
        return await self._site.html("mail/confirm_retry.html", counts=found.counts, most=outbox.MOST_RETRIED, action="/outbox/retry",
                                     back="/outbox", kind="main", pointless=not found.messages)

    async def _retry_all(self, request: web.Request) -> web.Response:
        await act(partial(outbox.retry_all, self._actions.store, now=self._actions.clock()), self._actions.on_mail)
        return redirect("/outbox")
