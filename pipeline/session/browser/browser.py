"""The browser of a session: pages with the session's cookies, from a pool.

The browser is started when the first page is needed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from pipeline.errors import BrowserError, FetchError
from pipeline.session.browser.emulation import Emulation
from pipeline.session.browser.guard_proxy import GuardProxy
from pipeline.session.browser.pages.context_pages import ContextPages, LentPage
from pipeline.session.browser.pages.cookies import ContextCookies
from pipeline.session.browser.pages.page_storage import PageStorage
from pipeline.session.browser.pages.trusted_headers import TrustedHeaders
from pipeline.session.browser.process.launch import RunningBrowser, start
from pipeline.session.browser.process.program import BrowserProgram
from pipeline.session.session import Session
from pipeline.text import clean_line, shown_url

if TYPE_CHECKING:
    from playwright.async_api import Page, Route

MAX_STARTS = 6
"""How often a browser is started in one run: once, and again after each crash."""
GIVE_BACK_S = 15.0
"""How long, in seconds, it may take to read the cookies of a page in use and to make the page blank. A browser that takes longer is ended."""

logger = logging.getLogger(__name__)


class SessionBrowser:
    """A browser that shares the cookies, proxies and rules of a session. It belongs to one event loop.

    max_pages: how many pages are open at once. Nothing is started before the first page. guard: the only way of the browser to the network.
    """

    def __init__(self, session: Session, program: BrowserProgram, *, max_pages: int) -> None:
        self.guard = GuardProxy(session, max_bytes=program.max_load_bytes)
        self._session = session
        self._program = program
        self._max_pages = max_pages
        self._places = asyncio.Semaphore(max_pages)
        self._starting = asyncio.Lock()
        self._running: RunningBrowser | None = None
        self._starts = 0
        self._is_closed = False
        self._contexts: dict[tuple[Emulation, int], ContextPages] = {}
        self._closing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def page(self, emulation: Emulation) -> AsyncIterator[Page]:
        """Lend a blank page, in the context for this emulation, for a `with` block.

        The context has the cookies of the jar when the block begins; cookies that the page has set are in the jar when it ends. The
        page is used again, unless the block raises an error. A block must remove listeners and scripts that it has added to the page.
        Starts the browser if it is not running. Raises BrowserError if it cannot be started; with retry=True if the browser or
        the page has crashed, whatever error of Playwright or FetchError this has caused in the block.
        """
        from playwright.async_api import Error  # noqa: PLC0415  crawls without a browser do not load it
        async with self._places:
            running = await self._running_browser()
            try:
                async with asyncio.timeout(self._program.start_timeout_s) as limit, running.until_end(limit):
                    pages, lent = await self._take(running, emulation)
            except (Error, TimeoutError) as error:
                if isinstance(error, Error) and not _says_ended(error) and running.works:
                    raise BrowserError(f"no page could be opened: {clean_line(error.message, 300)}", where="browser", retry=True) from error
                running.note_end()
                raise _ended() from error
            ended_well = False
            try:
                async with asyncio.timeout(None) as limit, running.until_end(limit):  # calls of the driver may wait for ever for a killed browser
                    yield lent.page
                ended_well = True
            except (Error, FetchError, BrowserError, TimeoutError) as error:
                if "ERR_ABORTED" in str(error):
                    await lent.may_have_crashed()
                await self._return(running, pages, lent, reuse=False)
                if (crash := _crash(running, lent)) is not None:
                    raise crash from error
                raise
            finally:
                await self._return(running, pages, lent, reuse=ended_well)
            if (crash := _crash(running, lent)) is not None:
                raise crash

    async def _return(self, running: RunningBrowser, pages: ContextPages, lent: LentPage, *, reuse: bool) -> None:
        """Take the page back, also if this task is cancelled. Does nothing the second time."""
        if not lent.returned:
            lent.returned = True
            returning = asyncio.create_task(self._give_back(running, pages, lent, reuse=reuse))
            self._closing.add(returning)
            returning.add_done_callback(self._closing.discard)
            await asyncio.shield(returning)

    async def _running_browser(self) -> RunningBrowser:
        async with self._starting:
            if self._is_closed:  # a check of the login in another thread may have waited for its turn
                raise BrowserError("the browser was ended", where="browser", retry=True)
            if self._running is not None and not self._running.works:
                logger.warning("the browser has ended unexpectedly: it is started again for the next page")
                await self._end()
            if self._running is None:
                if self._starts >= MAX_STARTS:
                    raise BrowserError(f"the browser has ended unexpectedly {self._starts} times", where="browser",
                                       fix="see the log of the run; memory_limit, the machine's memory or /dev/shm may be too small")
                self._starts += 1
                if not self.guard.server:
                    await self.guard.start()
                try:
                    async with asyncio.timeout(2 * self._program.start_timeout_s):
                        self._running = await start(self._program, self.guard, has_proxy=self._session.proxy is not None)
                except TimeoutError as error:
                    raise _ended() from error
            return self._running

    async def _take(self, running: RunningBrowser, emulation: Emulation) -> tuple[ContextPages, LentPage]:
        pages = await self._pages(running, emulation)
        try:
            return pages, await pages.take()
        except BaseException:
            pages.in_use -= 1
            raise

    async def _pages(self, running: RunningBrowser, emulation: Emulation) -> ContextPages:
        """Return the pages of the context for an emulation and the current login, with one more in use.

        The context of an older login is closed after its last page: its cookies would otherwise replace those of the new login.
        """
        state = self._session.login_state
        epoch = 0 if state is None else state.epoch
        async with self._starting:
            found = self._contexts.get((emulation, epoch))
            if found is None:
                for key, old in list(self._contexts.items()):
                    if old.epoch != epoch and not old.in_use:
                        del self._contexts[key]
                        await old.close()
                found = self._contexts[emulation, epoch] = await self._new_context(running, emulation, epoch)
            others = [pages for pages in self._contexts.values() if pages is not found]
            if not found.idle and sum(pages.in_use + pages.idle for pages in self._contexts.values()) >= self._max_pages:
                await next((pages for pages in others if pages.idle), found).close_idle()
            found.in_use += 1
            return found

    async def _new_context(self, running: RunningBrowser, emulation: Emulation, epoch: int) -> ContextPages:
        options = emulation.options(running.playwright.devices, self._session.user_agent)
        if running.is_remote and running.guard is not None:
            options["proxy"] = {"server": running.guard.server, "bypass": "<-loopback>"}
        storage = PageStorage(self._session.storage, self._session.trusted) if self._session.storage is not None else None
        context = await running.browser.new_context(storage_state=storage.state() if storage is not None else None, **options, accept_downloads=False)
        first = None
        if running.guard is not None:
            first = await running.guard.authenticate(context)
        else:
            await context.route("**/*", self._check_url)
        return ContextPages(context, ContextCookies(self._session.jar, context), storage, TrustedHeaders(self._session), epoch, first=first)

    async def _check_url(self, route: Route) -> None:
        """Refuse a private address in a URL that a browser on another machine requests. The names in URLs are not resolved."""
        try:
            self._session.ssrf_guard.check_url(route.request.url)
        except FetchError as error:
            logger.warning("a request of the browser was refused: %s", error)
            await route.abort("blockedbyclient")
        else:
            await route.continue_()

    async def _give_back(self, running: RunningBrowser, pages: ContextPages, lent: LentPage, *, reuse: bool) -> None:
        """Take over the cookies of the page, and make it blank or close it."""
        from playwright.async_api import Error  # noqa: PLC0415
        pages.in_use -= 1
        if not running.works:
            return
        state = self._session.login_state
        current = state is None or not state.is_stale(pages.epoch)
        try:
            async with asyncio.timeout(GIVE_BACK_S) as limit, running.until_end(limit):
                if current:
                    await pages.take_over(lent)
                await pages.give_back(lent, reuse=reuse and current)
        except (Error, TimeoutError):  # without a site's doing
            running.note_end()

    async def close(self) -> None:
        """End the browser. Pages in use fail, and no others are opened."""
        self._is_closed = True
        while self._closing:
            await asyncio.wait(self._closing)
        async with self._starting:
            await self._end()
        await self.guard.close()

    async def _end(self) -> None:
        self._contexts.clear()
        running, self._running = self._running, None
        if running is not None:
            await running.end()


def _crash(running: RunningBrowser, lent: LentPage) -> BrowserError | None:
    """Return the error to raise if the browser or the page has crashed; otherwise None."""
    if not running.works:
        return _ended()
    if not lent.crashed:
        return None
    if running.memory is not None and (why := running.memory.reason()):
        return BrowserError(why, where=shown_url(lent.page.url), retry=True, fix="exclude the page with `deny`, or increase [browser] page_memory or memory_limit")
    return BrowserError("the page crashed its process in the browser", where=shown_url(lent.page.url), retry=True,
                        fix="if this happens each time, exclude the page with `deny`, or increase [browser] page_memory")


def _says_ended(error: Exception) -> bool:
    """Return whether an error of Playwright says that the browser or the driver has ended."""
    return "has been closed" in str(error) or "Connection closed" in str(error)


def _ended() -> BrowserError:
    return BrowserError("the browser has ended unexpectedly", retry=True)
