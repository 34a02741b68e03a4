"""The stored files to which pages and mails link, and the Atom feeds."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote

from aiohttp import web

from pipeline.heartbeat.http import atom as feeds
from pipeline.heartbeat.http.console.site import Site, or_404
from pipeline.heartbeat.http.stored_files import in_file_thread, send_file


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
        return await send_file(or_404(await self._site.from_files(self._actions.stored_file, request.match_info["key"])), request)

    async def _runs_feed(self, request: web.Request) -> web.Response:
        return self._feed(request, "runs", feeds.runs_ended(await self._site.snapshot(), self._site.authorizer.service_id), page="/")

    async def _changes_feed(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        found = or_404(await in_file_thread(self._actions.spider, name))
        return self._feed(request, f"{name}: changes", list(feeds.changed_items(found.changes, self._site.authorizer.service_id)),
                          page=f"/spiders/{quote(name)}")

    def _feed(self, request: web.Request, title: str, entries: list[feeds.Entry], *, page: str) -> web.Response:
        text = self._site.pages.render("feed.xml", mask=self._actions.mask, title=title, entries=entries, page=page,
                                       id=f"urn:{self._site.authorizer.service_id}:{quote(title)}", base=str(request.url.origin()),
                                       updated=max((entry.at for entry in entries), default=datetime.fromtimestamp(0, UTC)))
        return web.Response(text=text, content_type=feeds.TYPE)
