"""The page of the digests that were sent, and the page of one message."""

from __future__ import annotations

import asyncio

from aiohttp import web

from pipeline.heartbeat.http.console.site import Site, number_of, or_404

_DIGEST_POLICY = ("sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
                  "form-action 'none'; frame-ancestors 'self'")


class DigestViews:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._actions = site.actions

    def add_to(self, router: web.UrlDispatcher) -> None:
        self._site.add_pages(router, {"/digests": self._digests, r"/messages/{id:\d{1,18}}": self._message,
                                      r"/messages/{id:\d{1,18}}/body": self._body})

    async def _digests(self, request: web.Request) -> web.Response:
        return await self._site.html("digests.html", now=await self._site.snapshot(), messages=await asyncio.to_thread(self._actions.sent))

    async def _message(self, request: web.Request) -> web.Response:
        found = or_404(await asyncio.to_thread(self._actions.message, number_of(request)))
        return await self._site.html("message.html", now=await self._site.snapshot(), page=found)

    async def _body(self, request: web.Request) -> web.Response:
        """Return a sent message as a page in a sandbox that allows no scripts, forms or network requests."""
        text, kind = or_404(await self._site.from_files(self._actions.body, number_of(request)))
        return web.Response(text=text, content_type=kind, headers={
            "Content-Security-Policy": _DIGEST_POLICY, "X-Frame-Options": "SAMEORIGIN"})
