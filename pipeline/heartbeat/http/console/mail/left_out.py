"""The page of the changes that a digest leaves out because of `only_if`, with the reasons."""

from __future__ import annotations

from functools import partial
from urllib.parse import quote

from aiohttp import web

from pipeline.heartbeat.http.console.mail.digests import known_digest
from pipeline.heartbeat.http.console.render.list_url import ListUrl
from pipeline.heartbeat.http.console.site import Site, number_in, or_404
from pipeline.heartbeat.http.operations import left_out as operations
from pipeline.heartbeat.http.request_threads import in_request_thread

ROWS = 50


class LeftOutViews:
    def __init__(self, site: Site) -> None:
        self._site = site

    def add_to(self, router: web.UrlDispatcher) -> None:
        self._site.add_pages(router, {"/digests/{name}/left-out": self._left_out})

    async def _left_out(self, request: web.Request) -> web.Response:
        """Show the changes that all digests of this name left out or, with the parameter `of`, one of them."""
        name, query = known_digest(self._site, request), request.query
        table = self._site.actions.settings.digests[name]
        digest_id = or_404(number_in(query["of"])) if query.get("of") else None
        found = or_404(await in_request_thread(partial(
            operations.left_out_rows, self._site.actions.store, name, table, limit=ROWS + 1, before=number_in(query.get("after", "")), digest_id=digest_id)))
        return await self._site.html(
            "mail/left_out.html", name=name, questions=operations.questions_of(table), rows=found[:ROWS], of=digest_id,
            after=found[ROWS - 1].found.id if len(found) > ROWS else "", first="after" not in query, url=ListUrl(f"/digests/{quote(name)}/left-out", of=digest_id))
