"""One browser context with its cookies and its pages, which are used again."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from pipeline.session.browser.pages.cookies import ContextCookies
from pipeline.session.browser.pages.isolated_world import IsolatedWorld
from pipeline.session.browser.pages.page_storage import PageStorage
from pipeline.session.browser.pages.trusted_headers import TrustedHeaders
from pipeline.session.trusted_origins import shown_origin

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, CDPSession, Frame, Page

RESET_S = 2.0
"""How long, in seconds, a page may take to become blank again, or to close."""
CRASH_NEWS_S = 0.5
USES = 50
"""How often a page is used before it is closed, since pages collect memory."""

COLLECTED_AFTER = 10
"""After how many uses of a page its renderer removes what earlier documents have left. By itself, V8 waits until it is about 100 MB."""

_LEAVE = "() => { for (const name of ['open', 'close']) Document.prototype[name].call(document); sessionStorage.clear() }"
"""Removes all event listeners (HTML Standard, document.open()), of which some would write to the storage when the page is left."""


class LentPage:
    """A page in use. crashed: whether its renderer process has crashed; returned: whether its use has ended; uses: how often it was used."""

    def __init__(self, page: Page, protocol: CDPSession) -> None:
        self.page = page
        self._crash = asyncio.Event()
        self.returned = False
        self.uses = 0
        self._protocol = protocol
        self._world = IsolatedWorld(protocol)
        self._origins: set[str] = set()
        self._viewport = page.viewport_size
        page.on("crash", self._note_crash)
        page.on("framenavigated", self._note_origin)

    def _note_crash(self, page: Page) -> None:
        self._crash.set()

    @property
    def crashed(self) -> bool:
        return self._crash.is_set()

    async def may_have_crashed(self) -> None:
        """Wait a moment for the news of a crash, which may come after the error that it has caused."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._crash.wait(), CRASH_NEWS_S)

    def _note_origin(self, frame: Frame) -> None:
        if len(self._origins) <= 1 and (origin := shown_origin(frame.url)):  # about:blank and the like have the origin of another frame
            self._origins.add(origin)

    @property
    def works(self) -> bool:
        return not self.crashed and not self.page.is_closed()

    async def reset(self) -> bool:
        """Make the page blank. Return whether nothing of its documents is left but what the context stores.

        The page has its own session storage for each origin, which only documents of that origin can delete. So a page that had
        documents of several origins is not used again.
        """
        page = self.page
        if len(self._origins | {shown_origin(page.url)} - {""}) > 1:
            return False
        with contextlib.suppress(Exception):
            async with asyncio.timeout(RESET_S):
                if self._origins:
                    await self._world.call(_LEAVE)
                await page.goto("about:blank")
                await self._protocol.send("Page.resetNavigationHistory")
                if self.uses % COLLECTED_AFTER == 0:
                    await self._protocol.send("HeapProfiler.collectGarbage")
                await page.evaluate("window.name = ''")
                if self._viewport is not None and page.viewport_size != self._viewport:
                    await page.set_viewport_size(self._viewport)
                self._origins.clear()
                return True
        return False


class ContextPages:
    """The pages of one context.

    epoch: the login whose cookies the context has. first: a blank page that the context has already. in_use: the number of pages in use.
    """

    def __init__(self, context: BrowserContext, cookies: ContextCookies, storage: PageStorage | None, headers: TrustedHeaders, epoch: int, *,
                 first: Page | None = None) -> None:
        self.context = context
        self.cookies = cookies
        self._storage = storage
        self._headers = headers
        self.epoch = epoch
        self.in_use = 0
        self._idle: list[LentPage] = []
        self._first = first
        self._own: set[Page] = set() if first is None else {first}

    @property
    def idle(self) -> int:
        return len(self._idle)

    async def take(self) -> LentPage:
        """Return a blank page, with the cookies of the jar and the session's web storage in its context."""
        await self.cookies.give()
        lent = await self._blank()
        if self._storage is not None:
            await self._storage.before(lent.page)
        return lent

    async def take_over(self, lent: LentPage) -> None:
        """Take over the cookies of the context, and the web storage of a page in use."""
        await self.cookies.take()
        if self._storage is not None and lent.works:
            with contextlib.suppress(TimeoutError):  # a page whose script never ends does not answer
                async with asyncio.timeout(RESET_S):
                    await self._storage.after(lent.page)

    async def _blank(self) -> LentPage:
        while self._idle:
            lent = self._idle.pop()
            if lent.works:
                lent.returned = False
                return lent
            self._own.discard(lent.page)
        page, self._first = self._first, None
        if page is None or page.is_closed():
            page = await self.context.new_page()
        self._own.add(page)
        protocol = await self.context.new_cdp_session(page)
        if self._headers.are_needed:
            await self._headers.add_to(page, protocol)
        return LentPage(page, protocol)

    async def give_back(self, lent: LentPage, *, reuse: bool) -> None:
        """Make a page blank for its next use, or close it, and close the windows that it has opened."""
        lent.uses += 1
        await self._close_windows(lent)
        if reuse and lent.works and lent.uses < USES and await lent.reset():
            await self._close_windows(lent)  # the browser may tell of a window a moment after it was opened
            self._idle.append(lent)
        else:
            self._own.discard(lent.page)
            await _close(lent.page)

    async def _close_windows(self, lent: LentPage) -> None:
        for other in self.context.pages:
            if other not in self._own and await _opener(other) in (lent.page, None):
                await _close(other)

    async def close_idle(self) -> None:
        """Close one page that is not in use."""
        if self._idle:
            lent = self._idle.pop(0)
            self._own.discard(lent.page)
            await _close(lent.page)

    async def close(self) -> None:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(RESET_S):
                await self.context.close()


async def _close(page: Page) -> None:
    with contextlib.suppress(Exception):
        async with asyncio.timeout(RESET_S):
            await page.close()


async def _opener(page: Page) -> Page | None:
    with contextlib.suppress(Exception):
        async with asyncio.timeout(RESET_S):
            return await page.opener()
    return None
