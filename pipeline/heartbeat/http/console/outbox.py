"""The page of the outbox: messages that are waiting or parked, and refused addresses, with their buttons."""

from __future__ import annotations

import asyncio
from functools import partial

from aiohttp import web

from pipeline.heartbeat.http.console.site import Site, act, number_of, redirect


class OutboxViews:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._actions = site.actions

    def add_to(self, router: web.UrlDispatcher) -> None:
        self._site.add_pages(router, {"/outbox": self._outbox})
        self._site.add_actions(router, {r"/messages/{id:\d{1,18}}/retry": self._retry, r"/messages/{id:\d{1,18}}/seen": self._mark_seen})

    async def _outbox(self, request: web.Request) -> web.Response:
        return await self._site.html("outbox.html", now=await self._site.snapshot(), messages=await asyncio.to_thread(self._actions.waiting),
                               refused=await asyncio.to_thread(self._actions.refused))

    async def _retry(self, request: web.Request) -> web.Response:
        await act(partial(self._actions.retry, number_of(request)), self._actions.on_mail)
        return redirect("/outbox")

    async def _mark_seen(self, request: web.Request) -> web.Response:
        await act(partial(self._actions.mark_seen, number_of(request)))
        return redirect("/outbox")
