"""The overview page, which also logs a browser in, and the style sheet, icon and scripts of all pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

from aiohttp import web

from pipeline.heartbeat.http.access.authorizer import Authorizer
from pipeline.heartbeat.http.console.overview.live_rows import STREAMS, LiveRows, Overview
from pipeline.heartbeat.http.console.overview.rows import (
    ROWS,
    SORTS,
    STATES,
    OverviewQuery,
    OverviewRow,
    other_reasons,
    rows_of,
    sorted_rows,
)
from pipeline.heartbeat.http.console.render.renderer import PageRenderer
from pipeline.heartbeat.http.console.site import Site, number_in
from pipeline.heartbeat.http.request_threads import in_request_thread
from pipeline.heartbeat.snapshot.schema import Snapshot


class OverviewViews:
    """site: the site of the pages that need the token; None means that there are no such pages."""

    def __init__(self, site: Site | None, authorizer: Authorizer, pages: PageRenderer, snapshot: Callable[[], Awaitable[Snapshot]]) -> None:
        self._site = site
        self._authorizer = authorizer
        self._pages = pages
        self._snapshot = snapshot
        self.live = LiveRows(self._read, self._row)

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/", self._overview)
        if self._site is not None:
            self._site.add_pages(router, {"/events": self._events})
        for name in self._pages.static:
            router.add_get(f"/{name}", self._static)

    async def _overview(self, request: web.Request) -> web.Response:
        """Return the overview page, or log the browser in.

        `pipeline url` prints the URL of this page with the token as a parameter. A request with this parameter sets the
        login cookie.
        """
        if "token" in request.query:
            return await self._authorizer.log_in(request, request.query["token"])
        authorized = self._authorizer.is_authorized(request)
        if not authorized and not self._authorizer.may_read_status(request):
            return self._authorizer.locked(request)
        snapshot = await self._snapshot()
        rows = rows_of(snapshot, self._tags())
        number = self.live.note(rows)
        page = await in_request_thread(partial(
            overview_page, self._pages, snapshot, rows, OverviewQuery.of(request.query), authorized=authorized and self._site is not None,
            feed_key=self._authorizer.feed_key if authorized else "", number=number, csrf_token=self._authorizer.csrf_token))
        return web.Response(text=page, content_type="text/html")

    async def _read(self) -> Overview:
        snapshot = await self._snapshot()
        rows = rows_of(snapshot, self._tags())
        head = await in_request_thread(partial(self._pages.render, "overview/_head.html", mask=str, others=other_reasons(snapshot),
                                               counts=_counts(rows), query=OverviewQuery(), authorized=True))
        return rows, head

    def _row(self, row: OverviewRow) -> str:
        return self._pages.render("overview/_row.html", mask=str, row=row, authorized=True)

    def _tags(self) -> dict[str, tuple[str, ...]]:
        spiders = self._site.actions.settings.spiders if self._site is not None else {}
        return {name: table.tags for name, table in spiders.items() if table.tags}

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Send the rows that change as server-sent events (WHATWG HTML, 9.2). `since`: the number of the state that the page shows."""
        given = request.headers.get("Last-Event-ID") or request.query.get("since", "")
        since = number_in(given) or 0
        if self.live.is_full:
            return web.Response(status=503, text=f"error: {STREAMS} overviews are live, the maximum; reload the page to see what changed\n")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        queue = await self.live.subscribe(since)
        try:
            while (event := await queue.get()) is not None and await self._authorizer.is_still_valid(request):
                await response.write(event.encode())
        except ConnectionError:  # the browser has closed the connection
            return response
        finally:
            self.live.unsubscribe(queue)
        return response

    async def _static(self, request: web.Request) -> web.Response:
        text, kind = self._pages.static[request.path.removeprefix("/")]
        return web.Response(text=text, content_type=kind)


def overview_page(pages: PageRenderer, snapshot: Snapshot, rows: list[OverviewRow], query: OverviewQuery, *, authorized: bool,
                  feed_key: str = "", number: int = 0, csrf_token: str = "") -> str:
    """Return the overview with the rows that the query finds. number: of the state that is shown (LiveRows.note)."""
    found = sorted_rows([row for row in rows if query.finds(row)], query.sort)
    last = max(1, -(-len(found) // ROWS))
    at = min(query.page, last)
    tags = sorted({tag for row in rows for tag in row.tags}, key=str.casefold)
    return pages.render(
        "overview/overview.html", mask=str, now=snapshot, authorized=authorized, feed_key=feed_key, query=query, rows=found[(at - 1) * ROWS:at * ROWS],
        found=len(found), total=len(rows), page=at, pages=last, tags=tags, sorts=SORTS, states=STATES, counts=_counts(rows),
        others=other_reasons(snapshot), number=number, csrf_token=csrf_token)


def _counts(rows: list[OverviewRow]) -> dict[str, int]:
    """Return the number of spiders in each state that a spider has, worst first."""
    found = Counter(row.state for row in rows)
    return {state: found[state] for state in STATES if found[state]}
