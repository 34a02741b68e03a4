"""A browser for code that is not asynchronous, such as a login.

It runs coroutines on an event loop of its own.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import playwright.async_api as playwright

from pipeline.errors import BrowserError, FetchError
from pipeline.session.browser.browser import SessionBrowser
from pipeline.session.browser.emulation import Emulation
from pipeline.session.browser.login.activity import Activity
from pipeline.session.browser.net_errors import translated
from pipeline.session.browser.pages.page_storage import keep_databases, read_storage
from pipeline.session.browser.render_rules import RenderRules
from pipeline.session.page import Answer, Page
from pipeline.session.trusted_origins import TrustedOrigins
from pipeline.session.web_storage import OriginStorage, WebStorage
from pipeline.settings import RenderTable
from pipeline.text import shown_url, size_for_people

Result = TypeVar("Result")


class SyncBrowser:
    """Opens pages of one session, one after the other. The browser starts with the first page; `close` ends it.

    open_browser: a function that returns the browser of the session, which has not started. rules: which pages the spider renders,
    and how. storage, trusted: the web storage of the session, and the origins whose storage is kept. max_bytes: the maximum size
    of a document. runner: runs the coroutines, and the caller closes it and the browser; None means one that this object has for itself.
    """

    def __init__(self, open_browser: Callable[[], SessionBrowser], rules: RenderRules, storage: WebStorage, trusted: TrustedOrigins, *,
                 max_bytes: int, runner: asyncio.Runner | None = None) -> None:
        self._storage = storage
        self._trusted = trusted
        self._open_browser = open_browser
        self._table = rules.table
        self._rules = rules
        self._max_bytes = max_bytes
        self._browser: SessionBrowser | None = None
        self._runner = runner
        self._is_lent = runner is not None

    def renders(self, url: str) -> bool:
        """Return whether the spider renders the page with this URL."""
        return self._rules.table_for_url(url) is not None

    def render(self, url: str, is_wanted: Callable[[Page], bool], *, timeout_s: float) -> Page:
        """Open a page, and return its document as soon as `is_wanted` accepts it, or when it does not change any more.

        Raises ProxyError, TlsError, FetchError or BrowserError if the page cannot be opened.
        """
        return self.run(lambda: self._render(url, is_wanted, timeout_s))

    async def _render(self, url: str, is_wanted: Callable[[Page], bool], timeout_s: float) -> Page:
        async with self.page() as activity:
            await self.open(activity.page, url, timeout_s=timeout_s)

            async def look(content: str) -> Page | None:
                found = self.document(activity, content)
                return found if is_wanted(found) else None

            found = await activity.until(look, timeout_s=timeout_s)
            return found or self.document(activity, await activity.content())

    @asynccontextmanager
    async def page(self) -> AsyncIterator[Activity]:
        """A blank page of the session's browser."""
        if self._browser is None:
            self._browser = self._open_browser()
        async with self._browser.page(Emulation.of(self._table or RenderTable())) as page:
            activity = Activity(page)
            try:
                yield activity
            finally:
                activity.close()

    async def open(self, page: playwright.Page, url: str, *, timeout_s: float) -> None:
        """Open a URL and wait until its document was read, without what it loads. Raises FetchError, TlsError, ProxyError, BrowserError."""
        assert self._browser is not None
        try:
            await page.goto(url, wait_until="domcontentloaded", timeout=timeout_s * 1000)
        except playwright.TimeoutError as error:
            raise FetchError("the response did not arrive in time", where=shown_url(url), fix="increase the `timeout` setting", retry=True) from error
        except playwright.Error as error:
            raise self._browser.guard.reason_for(url) or translated(str(error), url) from error

    def document(self, activity: Activity, content: str) -> Page:
        """Return the current document of a page as a page of the session. Raises FetchError if it is too large."""
        url, body = activity.page.url, content.encode("utf-8", "replace")
        if len(body) > self._max_bytes:
            raise FetchError(f"the page is larger than {size_for_people(self._max_bytes)}", where=shown_url(url),
                             fix="increase the `max_page_size` setting")
        return Page(Answer(url, activity.status or 200, {"Content-Type": "text/html; charset=utf-8"}, body), "utf-8")

    async def keep_storage(self, page: playwright.Page) -> dict[str, str]:
        """Keep what the sites of a page have stored, IndexedDB included. Return the localStorage and sessionStorage of the page."""
        local, session = await read_storage(page.main_frame) or ({}, {})
        before = self._storage.of(page.url)
        if self._trusted.trust(page.url):
            self._storage.put(page.url, OriginStorage(local, session, before.databases))
        await keep_databases(page.context, self._storage, self._trusted)
        return local | session

    def run(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """Run a coroutine on the loop of this browser, and return its result."""
        if self._runner is None:
            self._runner = asyncio.Runner()
        runner = self._runner

        async def do() -> Result:
            return await work()

        return runner.run(do())

    def close(self) -> None:
        """End the browser, if it was started and no caller goes on with it."""
        if self._runner is None or self._is_lent:
            return
        try:
            if self._browser is not None:
                self._runner.run(self._browser.close())
        finally:
            self._runner.close()
            self._runner = self._browser = None


class RunBrowser(SyncBrowser):
    """The browser of a run, for checks of the login in other threads: its pages are opened on the event loop of the run.

    It is created on this loop, and no longer works after `retire`. The other parameters are those of SyncBrowser.
    """

    def __init__(self, browser: SessionBrowser, rules: RenderRules, storage: WebStorage, trusted: TrustedOrigins, *, max_bytes: int) -> None:
        super().__init__(lambda: browser, rules, storage, trusted, max_bytes=max_bytes)
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._is_retired = False

    def run(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """Run a coroutine on the loop of the run, and return its result. Raises BrowserError if the run ends meanwhile."""
        async def do() -> Result:
            return await work()

        with self._lock:  # `retire` is called while the loop still runs, so it runs every coroutine that was given to it before
            if self._is_retired:
                raise BrowserError("the browser of the run has ended", retry=True)
            running = asyncio.run_coroutine_threadsafe(do(), self._loop)
        try:
            return running.result()
        except concurrent.futures.CancelledError as error:
            raise BrowserError("the run was ended while a page was open in its browser") from error

    def retire(self) -> None:
        """Open no more pages. Must be called on the loop of the run."""
        with self._lock:
            self._is_retired = True

    def close(self) -> None:
        """Do nothing: the run ends its browser."""
