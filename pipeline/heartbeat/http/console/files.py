"""The stored files to which pages and mails link, and the Atom feeds."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from urllib.parse import quote

from aiohttp import web

from pipeline.heartbeat.http import atom as feeds
from pipeline.heartbeat.http.console.site import Site, or_404
from pipeline.heartbeat.http.request_threads import in_request_thread
from pipeline.heartbeat.http.stored_files import send_file, stored_file
from pipeline.store.console import lists


class FileViews:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._actions = site.actions

    def add_to(self, router: web.UrlDispatcher) -> None:
        self._site.add_pages(router, {"/files/{key:.+}": self._file})
        router.add_get("/feed.atom", self._site.authorizer.for_feeds(self._runs_feed))
        router.add_get("/spiders/{name}/feed.atom", self._site.authorizer.for_feeds(self._changes_feed))

    async def _file(self, request: web.Request) -> web.StreamResponse:
        """Return a stored file, or the range of bytes that the request asks for (RFC 9110, 14)."""
        return await send_file(or_404(await self._site.from_files(partial(stored_file, self._actions.store), request.match_info["key"])), request)

    async def _runs_feed(self, request: web.Request) -> web.Response:
        return self._feed(request, "runs", feeds.runs_ended(await self._site.snapshot(), self._site.authorizer.service_id), page="/")

    async def _changes_feed(self, request: web.Request) -> web.Response:
        name = await self._site.known_spider(request)
        changes = await in_request_thread(partial(lists.changes_page, self._actions.store, spider=name, limit=feeds.ENTRIES))
        return self._feed(request, f"{name}: changes", list(feeds.changed_items(changes, self._site.authorizer.service_id)),
                          page=f"/spiders/{quote(name)}")

    def _feed(self, request: web.Request, title: str, entries: list[feeds.Entry], *, page: str) -> web.Response:
        text = self._site.pages.render("feed.xml", mask=self._actions.mask, title=title, entries=entries, page=page,
                                       id=f"urn:{self._site.authorizer.service_id}:{quote(title)}", base=str(request.url.origin()),
                                       updated=max((entry.at for entry in entries), default=datetime.fromtimestamp(0, UTC)))
        return web.Response(text=text, content_type=feeds.TYPE)
