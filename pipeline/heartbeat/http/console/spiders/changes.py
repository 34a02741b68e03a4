"""The pages of a spider's changes and downloads, and the stored files that browsers show."""

from __future__ import annotations

from functools import partial
from urllib.parse import quote

from aiohttp import web

from pipeline.heartbeat.http.console.render.list_url import ListUrl
from pipeline.heartbeat.http.console.site import Site, number_in, numbers_in, or_404
from pipeline.heartbeat.http.operations.files import file_to_show
from pipeline.heartbeat.http.request_threads import in_request_thread
from pipeline.heartbeat.http.stored_files import send_file
from pipeline.model import ChangeKind, DownloadState
from pipeline.store.console import lists

ROWS = 50


class ChangeViews:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._actions = site.actions

    def add_to(self, router: web.UrlDispatcher) -> None:
        self._site.add_pages(router, {"/spiders/{name}/changes": self._changes, "/spiders/{name}/downloads": self._downloads, "/shown/{key:.+}": self._shown})

    async def _changes(self, request: web.Request) -> web.Response:
        name = await self._site.known_spider(request)
        kind = next((each for each in ChangeKind if each == request.query.get("kind")), None)
        found = await in_request_thread(partial(lists.changes_page, self._actions.store, spider=name, limit=ROWS + 1, kind=kind, before=numbers_in(request.query.get("after", ""))))
        last = found[ROWS - 1] if len(found) > ROWS else None
        return await self._site.html("spiders/changes.html", name=name, changes=found[:ROWS], kind=kind or "", kinds=list(ChangeKind),
                                     after=f"{last.run_id}-{last.id}" if last is not None else "", first="after" not in request.query,
                                     url=ListUrl(f"/spiders/{quote(name)}/changes", kind=kind or ""))

    async def _downloads(self, request: web.Request) -> web.Response:
        name = await self._site.known_spider(request)
        state = next((each for each in DownloadState if each == request.query.get("state")), None)
        after = request.query.get("after", "")
        found = await in_request_thread(partial(lists.downloads_page, self._actions.store, name, limit=ROWS + 1, state=state,
                                                before=number_in(after)))
        return await self._site.html("spiders/downloads.html", name=name, files=found[:ROWS], state=state or "",
                                     states=list(DownloadState), after=found[ROWS - 1].id if len(found) > ROWS else "", first="after" not in request.query,
                                     url=ListUrl(f"/spiders/{quote(name)}/downloads", state=state or ""))

    async def _shown(self, request: web.Request) -> web.StreamResponse:
        """Show a stored picture or text. Everything else is only saved."""
        found, media_type = or_404(await self._site.from_files(lambda key: file_to_show(self._actions.store, key), request.match_info["key"]))
        return await send_file(found, request, shown_as=media_type)
