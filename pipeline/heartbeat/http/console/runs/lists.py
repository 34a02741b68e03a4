"""The pages that list what one run fetched: its pages, rejected items, downloads and changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar, cast, get_args

from aiohttp import web

from pipeline.heartbeat.http.console.render.list_url import ListUrl
from pipeline.heartbeat.http.console.site import Site, number_in, number_of, or_404
from pipeline.model import Change, ChangeKind, DownloadState, Run
from pipeline.store.console import run_rows
from pipeline.store.console.lists import changes_page
from pipeline.store.console.run_rows import PageFilter, PageRow
from pipeline.store.runs import runs

ROWS = 100
PAGE_FILTERS = cast("tuple[PageFilter, ...]", get_args(PageFilter))


class _Row(Protocol):
    @property
    def id(self) -> int: ...


_R = TypeVar("_R", bound=_Row)


class RunListViews:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._store = site.actions.store

    def add_to(self, router: web.UrlDispatcher) -> None:
        of_run = r"/runs/{id:\d{1,18}}"
        self._site.add_pages(router, {f"{of_run}/pages": self._pages, f"{of_run}/rejects": self._rejects, f"{of_run}/downloads": self._downloads,
                                      f"{of_run}/changes": self._changes})

    async def _pages(self, request: web.Request) -> web.Response:
        text = request.query.get("q", "").strip()[:100]
        show = _one_of(request, "show", PAGE_FILTERS)

        def read(run: Run, before: int | None) -> tuple[Sequence[PageRow], int | None]:
            found = run_rows.pages_of(self._store, run.id, limit=ROWS, before=before, which=cast("PageFilter", show), text=text)
            return found.rows, found.after
        return await self._list(request, "pages", read, show=show, text=text)

    async def _rejects(self, request: web.Request) -> web.Response:
        return await self._list(request, "rejects", lambda run, before: _cut(
            run_rows.rejects_of(self._store, run.id, limit=ROWS + 1, before=before)))

    async def _downloads(self, request: web.Request) -> web.Response:
        state = _one_of(request, "show", tuple(DownloadState))
        return await self._list(request, "downloads", lambda run, before: _cut(run_rows.downloads_of(
            self._store, run, limit=ROWS + 1, before=before, state=DownloadState(state) if state else None)), show=state)

    async def _changes(self, request: web.Request) -> web.Response:
        kind = _one_of(request, "show", tuple(ChangeKind))

        def read(run: Run, before: int | None) -> tuple[Sequence[Change], int | None]:
            return _cut(changes_page(self._store, run_id=run.id, limit=ROWS + 1, kind=ChangeKind(kind) if kind else None,
                                     before=(run.id, before) if before is not None else None))
        return await self._list(request, "changes", read, show=kind)

    async def _list(self, request: web.Request, name: str, read: Callable[[Run, int | None], tuple[Sequence[_R], int | None]], *, show: str = "", text: str = "") -> web.Response:
        """Return a page of a list of a run. show, text: which rows are wanted.

        read: returns rows with an id lower than the given one, and the id that the next rows are lower than; None if there are none.
        """
        run = or_404(await asyncio.to_thread(runs.get_run, self._store, number_of(request)))
        before = number_in(request.query.get("before", ""))
        rows, more = await asyncio.to_thread(read, run, before)
        return await self._site.html(f"runs/{name}.html", run=run, rows=rows, url=ListUrl(f"/runs/{run.id}/{name}", show=show, q=text),
                                     first=before is None, more=more, show=show, q=text)


def _cut(rows: Sequence[_R]) -> tuple[Sequence[_R], int | None]:
    """Return the first ROWS rows, and the id of the last of them if there are more."""
    return rows[:ROWS], rows[ROWS - 1].id if len(rows) > ROWS else None


def _one_of(request: web.Request, name: str, values: Sequence[str]) -> str:
    """Return a parameter of a URL; a value that is not known counts as not given."""
    found = request.query.get(name, "")
    return found if found in values else ""
