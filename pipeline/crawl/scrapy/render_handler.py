"""Render pages in the session's browser, and download all other pages as SessionHandler does."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import TYPE_CHECKING

from scrapy import Request
from scrapy.crawler import Crawler
from scrapy.exceptions import DownloadFailedError
from scrapy.http import Headers, Response
from scrapy.http.request import NO_CALLBACK
from scrapy.responsetypes import responsetypes

from pipeline.crawl.browser.rendered import Rendered, RenderRequest
from pipeline.crawl.browser.screenshot import PictureRules
from pipeline.crawl.interfaces import IS_RENDERED, RENDERED, START
from pipeline.crawl.scrapy.exchanges import add_exchange
from pipeline.crawl.scrapy.handler import SessionHandler
from pipeline.crawl.scrapy.project.settings.findings import unsent_headers
from pipeline.errors import FetchError, PipelineError
from pipeline.session.browser.net_errors import NotShownError
from pipeline.session.cookies.cookie import own_cookies
from pipeline.settings import RenderTable
from pipeline.settings.fields.browser_values import is_browser_css
from pipeline.text import shown_url

if TYPE_CHECKING:
    from pipeline.crawl.browser.renderer import Renderer
    from pipeline.session.browser.browser import SessionBrowser
    from pipeline.session.browser.sync_browser import RunBrowser

_MOST_NOTES = 5
"""The maximum number of notes about the content of rendered pages. Further ones are only logged."""
_MOST_LOGGED = 1000

logger = logging.getLogger(__name__)


class RenderHandler(SessionHandler):
    """The download handler of spiders that may render pages. The browser is started for the first page that is rendered."""

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        self._browser: SessionBrowser | None = None
        self._for_checks: RunBrowser | None = None  # the same browser, for checks of the login
        self._renderers: dict[float, Renderer] = {}
        self._notes: set[str] = set()
        self._said: dict[tuple[str, str], str] = {}
        table = self._context.table
        self._pdf_without = tuple(filter(is_browser_css, table.watch.without)) if table.spider == "watch" else ()

    async def download_request(self, request: Request) -> Response:
        table = None if request.callback is NO_CALLBACK else self._context.render_rules.table_for(
            request.url, method=request.method, start=request.meta.get(START), meta=request.meta)
        request.meta.pop(RENDERED, None)
        if table is None:
            return await super().download_request(request)
        async with self._turn(request):
            self._session.ssrf_guard.check_url(request.url)
            begun_s = time.monotonic()
            rendered = (await self._render(request, table))._replace(duration_s=time.monotonic() - begun_s)
            if not rendered.is_other:
                if rendered.exchanges:
                    add_exchange(self._context, request, *rendered.exchanges)
                response = _response_of(rendered, request)
                self._context.on_response(request, response)
                return response
        return await super().download_request(request)  # it is not HTML

    async def _render(self, request: Request, table: RenderTable) -> Rendered:
        """Render a page. Raise DownloadFailedError if another attempt may succeed, so that Scrapy repeats the request."""
        archive = self._context.archive
        renderer = self._renderer(request.meta.get("download_timeout", self._timeout_s))
        headers = {name.decode("latin-1"): values[-1].decode("latin-1") for name, values in request.headers.items() if values}
        for name in self.crawler.settings.getdict("DEFAULT_REQUEST_HEADERS"):
            headers.pop(name, None) if name not in self._session.headers else None  # the browser has its own
        try:
            rendered = await renderer.render(RenderRequest(
                request.url, request.method, headers, request.body, table, cookies=own_cookies(request.cookies), picture=PictureRules.of(self._context.table, table),
                is_login_page=partial(self._is_login_page, request.url), pdf_without=self._pdf_without,
                archived=archive is not None, archived_picture=archive is not None and archive.table.screenshot))
        except PipelineError as error:
            if isinstance(error, NotShownError):  # another attempt at once would take as long again
                raise FetchError(error.what, where=error.where, fix=error.fix, retry=True) from error
            if not error.retry:
                raise
            raise DownloadFailedError(str(error)) from error
        for note in rendered.notes:
            self._note(note)
        if rendered.unsure:  # the items of the page are used, but none is gone because of it
            self._context.failures.add(f"{shown_url(request.url)}: {rendered.unsure}", "FetchError", transient=True)
        return rendered

    def _renderer(self, timeout_s: float) -> Renderer:
        found = self._renderers.get(timeout_s)
        if found is None:
            from pipeline.crawl.browser.renderer import Renderer  # noqa: PLC0415  spiders that render no page do not load Playwright
            context = self._context
            if self._browser is None:
                self._browser = self._new_browser()
            found = self._renderers[timeout_s] = Renderer(
                self._browser, timeout_s=timeout_s, max_bytes=self._max_bytes, max_load_bytes=context.browser.max_load,
                check_document=self._check_document, said=self._said)
        return found

    def _new_browser(self) -> SessionBrowser:
        """Return the browser of the run, which has not started. From now on, the login is checked in it, too."""
        from pipeline.crawl.browser.run_browser import open_run_browser  # noqa: PLC0415  as above
        from pipeline.session.browser.sync_browser import RunBrowser  # noqa: PLC0415  as above
        context, session = self._context, self._session
        if not context.table.is_built_in and (line := unsent_headers(context.table, self.crawler.settings)):
            context.note_once(line)
        browser = context.session_browser or open_run_browser(session, context.table, context.browser, context.store.data_dir)
        if session.storage is not None:  # the spider has a login
            self._for_checks = RunBrowser(browser, context.render_rules, session.storage, session.trusted, max_bytes=context.table.max_page_size)
            session.share_browser(self._for_checks)
        return browser

    async def _check_document(self, url: str) -> None:
        """Raise PipelineError if a document that a page loads, such as a frame, must not be fetched."""
        self._session.ssrf_guard.check_url(url)
        if self._context.check_robots is not None:
            await self._context.check_robots(url)

    def _is_login_page(self, asked: str, url: str) -> bool:
        """Return whether `url` is the login page although the page `asked` was requested."""
        login_state = self._session.login_state
        return login_state is not None and login_state.expiry.is_login_page(url, asked=asked)

    def _note(self, note: str) -> None:
        if note in self._notes or len(self._notes) >= _MOST_LOGGED:
            return
        self._notes.add(note)
        if len(self._notes) <= _MOST_NOTES:
            self._context.note(note)
        else:
            if len(self._notes) == _MOST_NOTES + 1:
                self._context.note("further notes about rendered pages are only in the run's log")
            logger.warning("%s", note)

    async def close(self) -> None:
        if self._for_checks is not None:
            self._session.share_browser(None)
            self._for_checks.retire()
        for renderer in self._renderers.values():
            for refusal in renderer.refusals():
                self._note(refusal)
        if self._browser is not None:
            await asyncio.shield(self._browser.close())
        await super().close()


def _response_of(rendered: Rendered, request: Request) -> Response:
    """Return a Scrapy response. The result of the rendering without its body is in the `meta` of the request."""
    headers = Headers()
    for name, value in rendered.headers:
        if name.lower() != "content-type" or not rendered.is_html:
            headers.appendlist(name, value)
    if rendered.is_html:
        headers["Content-Type"] = "text/html; charset=utf-8"
    request.meta[RENDERED] = rendered._replace(body=b"", exchanges=())
    kind = responsetypes.from_args(headers=headers, url=rendered.url, body=rendered.body)
    return kind(url=rendered.url, status=rendered.status, headers=headers, body=rendered.body, flags=[IS_RENDERED] if rendered.is_html else None)
