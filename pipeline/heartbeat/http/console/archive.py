"""The pages of the archive: days and pages of a spider, one page at one time, two side by side.

What a site has sent is served only in a sandbox whose Content-Security-Policy allows no script, no form and no request, or as a file to save.
`pipeline.heartbeat.http.operations.archive` and all that it imports is loaded when somebody looks at the archive, because it needs an extra.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from aiohttp import web

from pipeline.archive.installed import is_installed
from pipeline.archive.reading.instants import instant_of
from pipeline.archive.reading.links import path_of
from pipeline.archive.reading.shown_html import POLICY
from pipeline.errors import PipelineError, UsageError
from pipeline.heartbeat.http.access.authorizer import Handler
from pipeline.heartbeat.http.console.site import Site, number_in, number_of, or_404, redirect
from pipeline.heartbeat.http.operations.spiders import is_known
from pipeline.heartbeat.http.request_threads import in_request_thread
from pipeline.heartbeat.http.stored_files import NOT_SHOWN, OfferedFile, headers_of_file, in_file_thread, send_file
from pipeline.store import Store
from pipeline.store.files.archive_files import files_of
from pipeline.store.runs import runs

if TYPE_CHECKING:
    from pipeline.archive.reading.reader import ArchivedPage

CAPTURES, FILES, PAGES = 30, 50, 50
_LONGEST_URL = 6000
_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_T = TypeVar("_T")


class ArchiveViews:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._actions = site.actions

    def add_to(self, router: web.UrlDispatcher) -> None:
        own = "/archive/{name}"
        self._site.add_pages(router, {path: self._with_problem(handler) for path, handler in {
            own: self._archive, f"{own}/compare": self._compare, f"{own}/page": self._page, f"{own}/dom": self._dom, f"{own}/text": self._text,
            f"{own}/picture": self._picture, f"{own}/screenshot": self._screenshot, f"{own}/content": self._content, f"{own}/record": self._record,
            own + r"/files/{id:\d{1,18}}": self._file, own + r"/files/{id:\d{1,18}}/timestamp": self._timestamp}.items()})

    def _with_problem(self, handler: Handler) -> Handler:
        """Wrap `handler` so that an archive that cannot be read is a page with the reason."""
        async def answer(request: web.Request) -> web.StreamResponse:
            try:
                return await handler(request)
            except PipelineError as error:
                return await self._site.problem(error, path=f"/spiders/{request.match_info['name']}/archive")
        return answer

    async def _archive(self, request: web.Request) -> web.StreamResponse:
        """Show one page at one time, if the query names a page; otherwise the files, and the pages whose URLs contain a text."""
        url = _wanted_url(request)
        if url.partition(":")[0].lower() in ("http", "https"):
            return await self._one(request)
        name, part, before = await self._name(request), url[:200], request.query.get("before", "")[:10]
        files, pages = await self._read(lambda archive, store: (archive.files_page(store, name, limit=FILES, before=before),
                                                         archive.pages_with(store, name, part, limit=PAGES)))
        return await self._site.html("archive/archive.html", name=name, files=files.shown, pages=pages, part=part,
                                     after=files.after, first=not before, url=partial(path_of, name))

    async def _one(self, request: web.Request) -> web.StreamResponse:
        wanted, before = await self._wanted(request), self._time(request, "before")
        if "before_run" in request.query:
            since = await self._start_of_run(request, wanted) or await self._read(lambda archive, store: archive.previous(store, *wanted))
            return redirect(path_of(wanted.spider, url=wanted.url, at=since or wanted.at))
        shown, captures = await self._read(lambda archive, store: (
            archive.shown_capture(store, *wanted), archive.capture_list(store, wanted.spider, wanted.url, limit=CAPTURES + 1, before=before)))
        return await self._site.html("archive/page.html", name=wanted.spider, page_url=wanted.url,
                                     wanted=wanted.at if "at" in request.query else None, shown=shown, captures=captures[:CAPTURES],
                                     more=captures[CAPTURES - 1].at if len(captures) > CAPTURES else None, first=before is None, url=partial(path_of, wanted.spider))

    async def _compare(self, request: web.Request) -> web.StreamResponse:
        """Show a page at a time, and before: at the time `from`, or else at the capture before."""
        wanted = await self._wanted(request)
        since = self._time(request, "from") or await self._start_of_run(request, wanted)
        found = or_404(await self._read(lambda archive, store: archive.compared(store, *wanted, since=since, mask=self._actions.mask)))
        return await self._site.html("archive/compare.html", name=wanted.spider, page_url=wanted.url, found=found,
                                     url=partial(path_of, wanted.spider))

    async def _start_of_run(self, request: web.Request, wanted: _Wanted) -> datetime | None:
        """Return the time just before the run that the query names began. None if the run is no longer stored."""
        number = number_in(request.query.get("before_run", ""))
        run = await in_request_thread(runs.get_run, self._actions.store, number) if number is not None else None
        if run is None or run.spider != wanted.spider:
            return None
        return (run.started_at or run.created_at) - timedelta(microseconds=1)

    async def _page(self, request: web.Request) -> web.StreamResponse:
        return _frame(await self._from_page(request, lambda archive, page: archive.html_of(page, self._actions.mask)), "text/html")

    async def _dom(self, request: web.Request) -> web.StreamResponse:
        return _frame(await self._from_page(request, lambda archive, page: archive.dom_of(page, self._actions.mask) if page.dom else None), "text/html")

    async def _text(self, request: web.Request) -> web.StreamResponse:
        return _frame(await self._from_page(request, lambda archive, page: archive.plain_of(page, self._actions.mask)), "text/plain")

    async def _picture(self, request: web.Request) -> web.StreamResponse:
        return self._shown_picture(*await self._from_page(request, lambda archive, page: (page.body, archive.picture_type(page.body))))

    async def _screenshot(self, request: web.Request) -> web.StreamResponse:
        return self._shown_picture(*await self._from_page(request, lambda archive, page: (page.screenshot, archive.picture_type(page.screenshot or b""))))

    @staticmethod
    def _shown_picture(body: bytes | None, media_type: str) -> web.Response:
        if not body or not media_type:
            raise web.HTTPNotFound
        return web.Response(body=body, headers={"Content-Type": media_type, "Content-Security-Policy": NOT_SHOWN})

    async def _content(self, request: web.Request) -> web.StreamResponse:
        page: ArchivedPage = await self._from_page(request, lambda archive, page: page)
        return _saved(page.body, _file_name(page.url, page.at))

    async def _record(self, request: web.Request) -> web.StreamResponse:
        """Send the record as it is stored, with its request and what was redacted: a WARC file that tools can read."""
        wanted = await self._wanted(request)
        body = or_404(await self._read(lambda archive, store: archive.record_at(store, *wanted)))
        return _saved(body, f"{_file_name(wanted.url, wanted.at)}.warc.gz")

    async def _file(self, request: web.Request) -> web.StreamResponse:
        return await self._send(request, lambda file: file.key)

    async def _timestamp(self, request: web.Request) -> web.StreamResponse:
        return await self._send(request, lambda file: file.timestamp_key)

    async def _send(self, request: web.Request, key_of: Callable[[Any], str]) -> web.StreamResponse:
        name, number = await self._name(request), number_of(request)
        file = or_404(await self._read(lambda archive, store: archive.file_with(store, name, number)))
        key = key_of(file)
        files = self._actions.store.files.quick
        info = or_404(await self._site.from_files(files.info, key) if key else None)
        path = None if files.is_remote else self._actions.store.files.path(key)
        return await send_file(OfferedFile(files, info, f"{name}-{key.rpartition('/')[2]}", path), request)

    async def _from_page(self, request: web.Request, use: Callable[[Any, ArchivedPage], _T | None]) -> _T:
        """Return what `use` makes of the page that the query names."""
        wanted = await self._wanted(request)

        def read(archive: Any, store: Store) -> _T | None:
            page = archive.page_at(store, *wanted)
            return use(archive, page) if page is not None else None
        return or_404(await self._read(read))

    async def _read(self, read: Callable[[Any, Store], _T]) -> _T:
        """Return what `read` returns for the operations on the archive and the store, in a thread that may wait for the object store. Raises PipelineError."""
        return await in_file_thread(lambda: read(_operations(), self._actions.store.quick))

    async def _wanted(self, request: web.Request) -> _Wanted:
        """Return the page and the time that the query names."""
        name, url, at = await self._name(request), _wanted_url(request), self._time(request, "at") or self._actions.clock()
        return _Wanted(name, await self._read(lambda archive, store: archive.archived_url(self._actions.settings, name, url)), at)

    def _time(self, request: web.Request, parameter: str) -> datetime | None:
        """Return the time that a parameter names; None for none. Raises HTTPBadRequest for a text that is no time."""
        text = request.query.get(parameter, "")
        try:
            return instant_of(text, self._site.pages.zone) if text else None
        except ValueError as error:
            raise web.HTTPBadRequest(reason="The time is not one") from error

    async def _name(self, request: web.Request) -> str:
        name = request.match_info["name"]
        if not await in_request_thread(is_known, self._actions.store, self._actions.settings, name) and not await in_request_thread(files_of, self._actions.store, name):
            raise web.HTTPNotFound
        return name


class _Wanted(NamedTuple):
    spider: str
    url: str
    at: datetime


def _wanted_url(request: web.Request) -> str:
    return request.query.get("url", "").strip()[:_LONGEST_URL]


def _operations() -> Any:
    """Return pipeline.heartbeat.http.operations.archive. Raises UsageError if the extra is not installed."""
    if not is_installed():
        raise UsageError("the archive needs the extra `archive`", fix="pip install 'crawl-to-inbox[archive]'")
    from pipeline.heartbeat.http.operations import archive  # noqa: PLC0415  only when somebody looks at the archive
    return archive


def _frame(text: str, media_type: str) -> web.Response:
    """Return a text of a site for a frame, in a sandbox that allows no scripts, forms or network requests."""
    return web.Response(text=text, content_type=media_type, headers={"Content-Security-Policy": POLICY, "X-Frame-Options": "SAMEORIGIN",
                                                                     "X-DNS-Prefetch-Control": "off", "Referrer-Policy": "no-referrer"})


def _saved(body: bytes, name: str) -> web.Response:
    """Return content of a site, which browsers save and never show."""
    return web.Response(body=body, headers=headers_of_file(name))


def _file_name(url: str, at: datetime) -> str:
    """Return a name for the content of a page: its host and path, and the time."""
    host, _, path = url.partition("://")[2].partition("?")[0].partition("/")
    stem = _NAME.sub("-", f"{host}/{path}").strip("-.")[:80] or "page"
    return f"{at.astimezone(UTC):%Y%m%d%H%M%S}-{stem}"
