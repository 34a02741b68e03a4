"""The overview page, which also logs a browser in, and the style sheet, icon and scripts of all pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from pipeline.heartbeat.http.access.authorizer import Authorizer
from pipeline.heartbeat.http.console.renderer import PageRenderer
from pipeline.heartbeat.http.console.site import Site
from pipeline.heartbeat.snapshot.schema import Snapshot


class OverviewViews:
    """site: the site of the pages that need the token; None means that there are no such pages."""

    def __init__(self, site: Site | None, authorizer: Authorizer, pages: PageRenderer, snapshot: Callable[[], Awaitable[Snapshot]]) -> None:
        self._site = site
        self._authorizer = authorizer
        self._pages = pages
        self._snapshot = snapshot

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/", self._overview)
        for name in self._pages.static:
            router.add_get(f"/{name}", self._static)

    async def _overview(self, request: web.Request) -> web.Response:
        """Return the overview page, or log the browser in.

        `pipeline url` prints the URL of this page with the token as a parameter. A request with this parameter sets the
        login cookie.
        """
        if "token" in request.query:
            return self._authorizer.log_in(request, request.query["token"])
        authorized = self._authorizer.is_authorized(request)
        if not authorized and not self._authorizer.may_read_status(request):
            return self._authorizer.locked(request)
        page = self._pages.overview(await self._snapshot(), authorized=authorized and self._site is not None,
                                    feed_key=self._authorizer.feed_key if authorized else "")
        return web.Response(text=page, content_type="text/html")

    async def _static(self, request: web.Request) -> web.Response:
        text, kind = self._pages.static[request.path.removeprefix("/")]
        return web.Response(text=text, content_type=kind)
