"""Render one page in the session's browser: open it, wait, perform its steps, and take its content."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from playwright.async_api import Dialog, Download, Error, Frame, Page, Request

from pipeline.crawl.browser.data_errors import data_errors
from pipeline.crawl.browser.page_exchanges import PageExchanges
from pipeline.crawl.browser.page_requests import PageRequests, too_large
from pipeline.crawl.browser.rendered import Rendered, RenderRequest
from pipeline.crawl.browser.screenshot import LoadRecord, take_picture, whole_page
from pipeline.crawl.browser.snapshot import snapshot
from pipeline.errors import BrowserError, FetchError, PipelineError
from pipeline.hosts import host_of
from pipeline.model import Exchange, RenderedPage
from pipeline.session.browser import net_errors
from pipeline.session.browser.browser import SessionBrowser
from pipeline.session.browser.emulation import Emulation
from pipeline.session.browser.guard_proxy import GuardProxy
from pipeline.session.browser.pages.isolated_world import IsolatedWorld
from pipeline.session.browser.pages.steps import not_in_time, perform, wait_for
from pipeline.session.cookies.matching import is_public_suffix
from pipeline.text import clean_line, counted, shown_url, size_for_people

_DATA = frozenset(("fetch", "xhr", "script"))
"""Kinds of requests without whose responses the scripts of a page may lack its content."""
_PDF_TIME = re.compile(rb"(/(?:CreationDate|ModDate) \(D:)\d{14}")
_MOST_NOTES = 10
_MOST_NAMED = 3
"""The failed requests that the error of a page names."""
_MOST_KEPT = 100
"""The failures of one page that are told apart. A page may make any number of them."""
_MOST_WINDOWS = 100
"""How many windows a page may open. Each is a process of the browser for a moment."""
_GRACE_S = 1.0
"""How long after the time limit a step may say that it is what has not succeeded in time."""

_HIDE = """selectors => {
    const sheets = Object.getOwnPropertyDescriptor(Document.prototype, 'adoptedStyleSheets');
    const others = Array.from(sheets.get.call(document)).filter(sheet => sheet !== globalThis.hiding);
    globalThis.hiding = new CSSStyleSheet();
    globalThis.hiding.replaceSync((selectors || []).map(selector => `${selector} { display: none !important }`).join('\\n'));
    sheets.set.call(document, selectors ? [...others, globalThis.hiding] : others);
}"""
"""Hides elements, or shows them again. The page's content security policy does not apply to such a style sheet."""

logger = logging.getLogger(__name__)


class _Shared(NamedTuple):
    """What all pages of a renderer share. said: the first refusal of each kind with its fix, by host and reason."""

    guard: GuardProxy
    timeout_s: float
    max_bytes: int
    said: dict[tuple[str, str], str]


async def _allow(url: str) -> None:
    """Allow every document."""


class Renderer:
    """Renders pages in one browser, several at the same time.

    timeout_s: the time limit of one page. max_bytes: the maximum size of its content. max_load_bytes: the maximum size of everything that it loads,
    for messages; the guard proxy of the browser enforces it. check_document: called with the URL of each document that a page loads, except the
    page itself; raises PipelineError to refuse it. said: the first refusal of each kind with its fix, by host and reason; renderers with one browser
    share them.
    """

    def __init__(self, browser: SessionBrowser, *, timeout_s: float, max_bytes: int, max_load_bytes: int,
                 check_document: Callable[[str], Awaitable[None]] = _allow, said: dict[tuple[str, str], str] | None = None) -> None:
        self._browser = browser
        self._shared = _Shared(browser.guard, timeout_s, max_bytes, {} if said is None else said)
        self._max_load_bytes = max_load_bytes
        self._check_document = check_document

    async def render(self, request: RenderRequest) -> Rendered:
        """Render a page. A redirect, an error status and a response that is not HTML are returned as they were sent.

        Raise FetchError, TlsError, ProxyError or BrowserError if that fails. Its attribute `retry` says whether another attempt may succeed.
        """
        guard = self._browser.guard
        async with self._browser.page(Emulation.of(request.table)) as page:
            try:
                async with asyncio.timeout(self._shared.timeout_s):
                    cdp = await page.context.new_cdp_session(page)
                requests = PageRequests(cdp, request.url, blocked=request.table.blocked(for_picture=request.archived_picture), max_bytes=self._shared.max_bytes,
                                        check_document=self._check_document, reason_for=guard.reason_for, archived=request.archived)
                try:
                    with guard.page_load() as load:
                        found = await _Rendering(page, requests, request, self._shared).run(load.exceeded)
                finally:
                    has_left = requests.left.done()
                    await requests.close()
                if has_left:  # Chromium now shows an error page, a moment later than its next use could begin
                    await page.close()
            except TimeoutError as error:
                raise BrowserError(f"the page did not respond within {self._shared.timeout_s:.0f} s", where=shown_url(request.url), retry=True) from error
            except Error as error:
                raise guard.reason_for(request.url) or net_errors.translated(str(error), request.url) from error
            if load.exceeded.is_set():
                raise FetchError(f"the page loads more than {size_for_people(self._max_load_bytes)}", where=shown_url(request.url),
                                 fix="block images and media with `render.block`, or increase `browser.max_load`", retry=True)
        if requests.blocked:
            logger.debug("%s: %s blocked", shown_url(request.url), counted(requests.blocked, "request"))
        assert found is not None
        return found

    def refusals(self) -> list[str]:
        """Return the refusals of requests that belong to no page, such as those of service workers, since the last call."""
        found = [refusal for refusal in self._browser.guard.refusals() if not any(reason in refusal for _, reason in self._shared.said)]
        return [f"a request of a page was refused: {refusal}" for refusal in found]


class _Rendering:
    """The rendering of one page."""

    def __init__(self, page: Page, requests: PageRequests, request: RenderRequest, shared: _Shared) -> None:
        self._page = page
        self._requests = requests
        self._request = request
        self._guard, self._timeout_s, self._max_bytes, self._said = shared
        self._phase = "the page did not respond within"
        self._record: LoadRecord | None = None
        self._documents: PageExchanges | None = None
        self._overdue: FetchError | None = None
        self._world = IsolatedWorld(requests.cdp)
        self._popups = self._more_failed = 0
        self._failed: dict[str, bool] = {}  # notes about requests of the page that failed, and whether the page may lack content without them

    async def run(self, exceeded: asyncio.Event) -> Rendered | None:
        """Render the page within the time limit. Return None if it loads too much: `exceeded` is set."""
        request, left = self._request, self._requests.left
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout_s
        with self._listening():
            async with asyncio.timeout_at(deadline):
                await self._set_cookies()
                await self._requests.start(request.method, request.headers, request.body)
            work, too_much = asyncio.create_task(self._work(deadline)), asyncio.create_task(exceeded.wait())
            try:
                first: set[asyncio.Future[Any]] = {work, left, too_much}
                await asyncio.wait(first, timeout=max(0.0, deadline + _GRACE_S - loop.time()), return_when=asyncio.FIRST_COMPLETED)
                if exceeded.is_set():
                    return None
                if left.done():
                    return self._with_notes(left.result())
                if not work.done():
                    raise self._overdue or FetchError(f"{self._phase} {self._timeout_s:.0f} s", where=shown_url(request.url),
                                     fix="increase `timeout`, or choose what to wait for with `render.wait_for`", retry=True)
                return self._with_notes(work.result())
            except FetchError as error:
                if error.where:
                    raise
                shows_why = isinstance(error, net_errors.NotShownError) or not work.done()
                raise type(error)("; ".join((error.what, *(await self._failed_data() if shows_why else ()))), where=shown_url(request.url), fix=error.fix, retry=error.retry) from error
            finally:
                too_much.cancel()
                work.cancel()
                with suppress(asyncio.CancelledError, Error, PipelineError):
                    await work
                await self._remove_cookies()

    async def _work(self, deadline: float) -> Rendered:
        """Open the page, wait until it is complete, perform the steps, and return the content."""
        page, request, requests = self._page, self._request, self._requests
        table, loop = request.table, asyncio.get_running_loop()
        await self._open()
        self._phase = "the page did not finish loading within"
        await page.wait_for_load_state("load", timeout=0)
        if table.wait_for:
            self._overdue = not_in_time(table.wait_for[-1], self._timeout_s)
            await wait_for(page, self._world, table.wait_for, timeout_s=deadline - loop.time(), limit_s=self._timeout_s)
            self._overdue = None
        if table.steps:
            self._phase = "the steps were not complete within"
            requests.in_steps = True
            await perform(page, self._world, table.steps, timeout_s=deadline - loop.time())
            await page.wait_for_load_state("load", timeout=0)
        self._phase = "the content of the page could not be taken within"
        if not table.wait_for and not table.steps:  # see _with_notes
            await self._note_data_errors()
        body = await snapshot(self._world, requests.url, self._max_bytes)
        if body is None:
            raise too_large(request.url, self._max_bytes)
        exchanges = await self._exchanges(body, deadline)
        pdf = await self._pdf() if table.pdf else None
        picture = None
        if request.picture is not None and self._record is not None:  # last, since it changes the page
            self._phase = "the picture of the page could not be taken within"
            picture = await take_picture(page, self._world, request.picture, self._record, timeout_s=deadline - loop.time())
        url = request.url if requests.url == request.url.partition("#")[0] else requests.url  # with its route
        return Rendered(url, requests.status, requests.headers, body, picture=picture, pdf=pdf, is_html=True, frames=self._frames(), exchanges=exchanges)

    async def _exchanges(self, dom: bytes, deadline: float) -> tuple[Exchange, ...]:
        """Return the requests and responses for the page, with its DOM and a picture of it, if they are archived.

        Each takes at most a third of the time that is left, so that the page itself does not fail because of the archive.
        """
        if self._documents is None:
            return ()
        picture, third_s = b"", (deadline - asyncio.get_running_loop().time()) / 3
        if self._request.archived_picture:
            picture = await whole_page(self._page, self._world, timeout_s=third_s, max_bytes=self._max_bytes)
            if not picture:
                self._failed["the picture of a page was not archived: it could not be taken in time, or it is too large"] = False
        return await self._documents.all(self._requests.url, RenderedPage(dom, picture), timeout_s=third_s)

    def _frames(self) -> tuple[str, ...]:
        return tuple(frame.url for frame in self._page.frames[1:_MOST_KEPT] if frame.url.startswith(("http:", "https:")))

    async def _pdf(self) -> bytes:
        """Return the page as a PDF file, without the elements that the request hides."""
        hide = self._request.pdf_without
        if hide:
            await self._world.call(_HIDE, hide)
        pdf = await self._page.pdf(format="A4", print_background=True)
        if hide:
            await self._world.call(_HIDE)
        return _without_time(pdf)

    async def _open(self) -> None:
        """Open the page. The site itself answers, and not a service worker of it."""
        page, request, requests = self._page, self._request, self._requests
        referer = next((value for name, value in request.headers.items() if name.lower() == "referer"), None)
        knows_worker = bool(page.context.service_workers)
        if knows_worker:
            await requests.bypass_service_workers()
        await page.goto(request.url, wait_until="commit", timeout=0, referer=referer)
        if not requests.status and not knows_worker:  # a service worker that does not run at this moment has answered
            await requests.bypass_service_workers()
            await page.goto(request.url, wait_until="commit", timeout=0, referer=referer)
        if not requests.status:
            raise FetchError("something else than the site has answered in the browser", retry=True)

    def _with_notes(self, found: Rendered) -> Rendered:
        # A condition of `wait_for` or a step has shown that the page is complete, whatever requests failed.
        is_shown = bool(self._request.table.wait_for or self._request.table.steps)
        unsure = next((note for note, matters in self._failed.items() if matters), "") if found.is_html and not is_shown else ""
        return found._replace(downloads=tuple(self._requests.downloads), notes=self._notes(), unsure=unsure)

    def _notes(self) -> tuple[str, ...]:
        found = (*self._requests.all_notes(), *self._failed)
        more = len(found) - _MOST_NOTES + self._more_failed
        return found if more <= 0 else (*found[:_MOST_NOTES], f"{more} more of such notes about the page were left out")

    # Cookies of the request itself. Pages that are open at the same time may send them, too; the session does not keep them.

    async def _set_cookies(self) -> None:
        own = self._request.cookies
        if own:
            await self._page.context.add_cookies([{"name": name, "value": value, "url": self._request.url} for name, value in own.items()])

    async def _remove_cookies(self) -> None:
        with suppress(Error):
            for name in self._request.cookies:
                await self._page.context.clear_cookies(name=name, domain=host_of(self._request.url))

    # Events of the page

    @contextmanager
    def _listening(self) -> Iterator[None]:
        page = self._page
        page.on("dialog", self._dismiss)
        page.on("popup", self._close_popup)
        page.on("download", self._download)
        page.on("requestfailed", self._request_failed)
        page.on("crash", self._crashed)
        page.on("framenavigated", self._navigated)
        self._record = LoadRecord(page) if self._request.picture is not None else None
        self._documents = PageExchanges(page, self._max_bytes) if self._request.archived else None
        try:
            yield
        finally:
            if self._documents is not None:
                self._documents.close()
            if self._record is not None:
                self._record.close()
            page.remove_listener("dialog", self._dismiss)
            page.remove_listener("popup", self._close_popup)
            page.remove_listener("download", self._download)
            page.remove_listener("requestfailed", self._request_failed)
            page.remove_listener("crash", self._crashed)
            page.remove_listener("framenavigated", self._navigated)

    async def _dismiss(self, dialog: Dialog) -> None:
        with suppress(Error):
            await dialog.dismiss()

    async def _close_popup(self, popup: Page) -> None:
        self._popups += 1
        if self._popups == _MOST_WINDOWS:
            self._requests.leave(FetchError(f"the page has opened {_MOST_WINDOWS} windows", where=shown_url(self._request.url),
                                            fix="exclude the page with `deny` if this happens each time"))
        with suppress(Error):
            await popup.close()

    async def _download(self, download: Download) -> None:
        self._requests.started_download(download.url)
        with suppress(Error):
            await download.cancel()

    def _crashed(self, page: Page) -> None:
        self._requests.leave(net_errors.crashed(self._request.url))

    def _navigated(self, frame: Frame) -> None:
        """End the rendering if a script shows the login page in place of the page, without a document of its own (history.pushState)."""
        if frame == self._page.main_frame and not self._requests.in_steps and self._request.is_login_page(frame.url):
            self._requests.leave(Rendered(self._request.url, 302, [("Location", frame.url)], b""))

    def _request_failed(self, request: Request) -> None:
        """Note a request of the page that failed on the network or was refused."""
        name = net_errors.net_error(request.failure or "")
        if name in ("ERR_ABORTED", "ERR_BLOCKED_BY_CLIENT", ""):
            return
        reason = self._guard.reason_for(request.url)
        if self._is_of_page(request):
            if self._requests.status:  # the response has begun, but did not arrive completely
                self._requests.leave(reason or net_errors.translated(f"net::{name}", request.url))
            return
        host = host_of(request.url)
        what = reason.what if reason is not None else net_errors.reason(name)
        if reason is not None and not reason.retry:
            what = f"{what}; {reason.fix}"
            if (host, reason.what) in self._said or len(self._said) < 10 * _MOST_KEPT:
                what = self._said.setdefault((host, reason.what), what)  # refused on another port, it would differ only in what to change
        self._note_failure(host, what, matters=request.resource_type in _DATA and self._is_own_site(host) and (reason is None or reason.retry))

    async def _note_data_errors(self) -> None:
        for url, status in await data_errors(self._world):
            if self._is_own_site(host_of(url)):
                self._note_failure(host_of(url), f"HTTP {status}", matters=True)

    async def _failed_data(self) -> list[str]:
        """Return what the page has requested without success, since this may be why it does not show what was waited for."""
        try:
            async with asyncio.timeout(_GRACE_S):
                found = await data_errors(self._world, least=400)
        except (Error, TimeoutError):  # a script of the page never ends, or the page is gone
            found = []
        said = [f"HTTP {status} from {shown_url(url)}" for url, status in found]
        return [*said, *self._failed][:_MOST_NAMED]

    def _is_own_site(self, host: str) -> bool:
        return _same_site(host, host_of(self._request.url))

    def _note_failure(self, host: str, what: str, *, matters: bool) -> None:
        """matters: whether the page may lack content because of this request."""
        ending = ", so the page may lack content" if matters else ""
        if len(self._failed) >= (2 * _MOST_KEPT if matters else _MOST_KEPT):  # so one that matters is among them
            self._more_failed += 1
            return
        self._failed[f"a request of a page to {clean_line(host, 80)} failed: {what}{ending}"] = matters

    def _is_of_page(self, request: Request) -> bool:
        """Return whether a request is for the page itself, and not for a frame."""
        if not request.is_navigation_request():
            return False
        try:
            return request.frame == self._page.main_frame
        except Error:  # the request has no frame yet
            return True


def _same_site(host: str, other: str) -> bool:
    """Return whether two hosts are the same, or belong to one registered domain."""
    if host == other:
        return True
    labels, others = host.split("."), other.split(".")
    count = 0
    while count < min(len(labels), len(others)) and labels[-1 - count] == others[-1 - count]:
        count += 1
    return count > 1 and not is_public_suffix(".".join(labels[-count:]))


def _without_time(pdf: bytes) -> bytes:
    """Return a PDF file with a fixed time in place of the one at which it was made, so that an unchanged page has an unchanged file."""
    return _PDF_TIME.sub(rb"\g<1>20000101000000", pdf)
