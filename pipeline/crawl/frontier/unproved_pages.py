"""Hold the pages of a session with a login until `login.check` shows that the session was still valid.

A session can expire without any sign: the site then sends the pages for anonymous visitors, which may look like the right pages.
Therefore pages are held in memory until the check page (`login.check`) shows that the session is still valid: at most MAX_HELD
pages, for at most MAX_HOLD_S seconds. If the session has expired, the crawl logs in again and fetches the held pages again. In
the store, a held page still counts as not fetched, so that the next run fetches the page again if this run is killed. The links
of a held page are stored as tentative rows.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from pipeline.crawl.context import CrawlContext
from pipeline.crawl.frontier.committer import Committer, Links
from pipeline.crawl.relogin import Relogin
from pipeline.errors import LoginError, PipelineError, SessionError
from pipeline.model import Page, Request
from pipeline.session.login.expiry import LoginState
from pipeline.store.crawl.commit import SeenRequests
from pipeline.text import counted, shown_url

MAX_HELD = 500
MAX_HELD_BYTES = 16 * 10**6
MAX_HOLD_S = 30.0
MEMBER_HOLD_S = 3.0
"""MAX_HOLD_S in a run that several nodes work on. The links of held pages are not in the frontier there, and other processes may wait
for them: a tentative row would have to be kept as long as any member's held page has the link.
"""

logger = logging.getLogger(__name__)


class _Held(NamedTuple):
    """A held page. links: its links, if they are in the frontier already; None if they are committed with the page."""

    page: Page
    links: Links | None


class UnprovedPages:
    """The PageWriter of a crawl whose session has a login: commits a page only after a check of the login.

    on_refetch: called with the frontier ids of pages to fetch again. on_fatal: called with the error that ends the run. wake:
    called when Scrapy's engine may be able to send more requests.
    """

    def __init__(self, context: CrawlContext, login_state: LoginState, committer: Committer, *,
                 on_refetch: Callable[[Sequence[int]], None], on_fatal: Callable[[PipelineError], None],
                 wake: Callable[[], None]) -> None:
        self._context = context
        self._login_state = login_state
        self._committer = committer
        self._on_refetch = on_refetch
        self._on_fatal = on_fatal
        self._wake = wake
        context.relogin = self._relogin = context.relogin or Relogin(login_state)
        self._epoch = login_state.epoch
        self._held: list[_Held] = []
        self._held_bytes = 0
        self._seen = SeenRequests()
        self._forgotten: set[int] = set()
        self._room = MAX_HELD
        self._is_member = context.membership is not None
        self._hold_s = MEMBER_HOLD_S if self._is_member else MAX_HOLD_S
        self._proving: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        return self._committer.idle

    def has_room(self, under_way: int) -> bool:
        """Return whether one more page may be fetched while `under_way` pages are in flight.

        If the session has expired before without any sign, only a few pages may be in flight. No page is fetched while links are
        being removed from the frontier, because the page could be that of such a link.
        """
        return not self._committer.forgetting and (self._room == MAX_HELD or under_way < self._room)

    def enqueue(self, request: Request) -> None:
        self._committer.enqueue(request)

    async def commit(self, page: Page) -> None:
        """Hold the page until the next login check. A page that does not depend on the login is committed at once."""
        await self.post(page)

    def post(self, page: Page) -> asyncio.Future[None]:
        if not page.url or not self._context.session.checkable:
            return self._committer.post(page)
        self._refetch_stale()
        if page.frontier_id in self._forgotten:
            logger.info("%s is skipped: only a page for anonymous visitors has a link to this page", page.url)
        elif self._login_state.is_stale(page.epoch):
            self._refetch([page])
        else:
            self._hold(page)
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    def on_forgotten(self, ids: set[int]) -> None:
        """Drop the held pages whose rows were removed from the frontier."""
        self._forgotten |= ids
        for held in self._held:
            if held.page.frontier_id in ids and held.links is not None:
                self._committer.forget(held.links)
        self._held = [held for held in self._held if held.page.frontier_id not in ids]

    def prove_held(self) -> bool:
        """Start a login check if any pages are held. Return whether a login check is in progress."""
        if self._held:
            self._prove_now()
        return self._proving is not None

    async def close(self) -> None:
        """Commit the pages that are held for a login check, if the session is still valid.

        If the session has expired, drop these pages; the next run will fetch them again.
        """
        if self._timer is not None:
            self._timer.cancel()
        if self._proving is not None:
            await asyncio.wait({self._proving})
        try:
            if self._held and self._context.fatal is None and not await self._commit_proved():
                logger.warning("the session has expired: the next run fetches %s again", counted(len(self._held), "page"))
        except PipelineError as error:
            logger.warning("the session could not be checked: the next run fetches %s again: %s", counted(len(self._held), "page"), error)
        await self._committer.close()

    def _hold(self, page: Page) -> None:
        if self._is_member:
            self._held.append(_Held(page, None))
        else:
            links = self._seen.unseen(page.links)
            self._seen.add(links)
            queued = self._committer.queue_links(links) if links else Links(())
            self._held.append(_Held(replace(page, links=()), queued))
        self._held_bytes += page.memory_bytes
        if not page.repeatable or len(self._held) >= self._room or self._held_bytes >= MAX_HELD_BYTES:
            self._prove_now()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._hold_s, self._prove_now)

    def _refetch_stale(self) -> None:
        """Drop the held pages and fetch them again, if a new login was made after they were fetched."""
        if self._epoch != self._login_state.epoch:
            self._epoch = self._login_state.epoch
            held, self._held, self._held_bytes = self._held, [], 0
            self._seen = SeenRequests()
            for each in held:
                if each.links is not None:
                    self._committer.forget(each.links)
            self._refetch([each.page for each in held])

    def _refetch(self, pages: Sequence[Page]) -> None:
        for page in pages:
            if not page.repeatable:
                self._committer.post(_not_repeated(page))
        pages = [page for page in pages if page.repeatable]
        if any(page.frontier_id is None for page in pages):
            self._on_fatal(SessionError("the session expired while some requests of the spider were only in memory", retry=True,
                                        where=f"spiders.{self._context.run.spider}", fix="the next run starts the pass from the beginning"))
        self._on_refetch([page.frontier_id for page in pages if page.frontier_id is not None])

    def _prove_now(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._proving is None and self._context.fatal is None:
            self._proving = asyncio.create_task(self._prove())
            self._proving.add_done_callback(self._on_proving_done)

    def _on_proving_done(self, task: asyncio.Task[None]) -> None:
        self._proving = None
        error = None if task.cancelled() else task.exception()
        if isinstance(error, PipelineError):
            self._on_fatal(error)
        elif error is not None:
            self._on_fatal(SessionError(f"the session could not be checked: {error!r}"))
        elif self._held and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._hold_s, self._prove_now)
        self._wake()

    async def _prove(self) -> None:
        self._refetch_stale()
        epoch, last = self._epoch, self._held[-1].page.url if self._held else ""
        if not self._held or await self._commit_proved():
            return
        if not self._login_state.is_stale(epoch):  # otherwise another request has detected the expired login and is logging in again
            self._report_silent_expiry(last)
        await self._relogin.renew(epoch)
        self._refetch_stale()
        if self._context.followers is not None:
            self._context.followers.announce_login()

    async def _commit_proved(self) -> bool:
        """Check the login. If it is valid, commit the pages that were fetched before the check and return True.

        Return False if the session has expired.
        """
        await self._committer.forgotten()  # drops the held pages whose links are being removed
        if self._context.fatal is not None:
            raise self._context.fatal
        held, epoch = len(self._held), self._epoch
        if not await asyncio.to_thread(self._login_state.verify, epoch, time.monotonic()) or epoch != self._epoch:
            return False
        proved, self._held = self._held[:held], self._held[held:]
        self._held_bytes = sum(each.page.memory_bytes for each in self._held)
        self._room = min(MAX_HELD, 2 * self._room)
        await asyncio.gather(*[self._committer.post(each.page, each.links) for each in proved])
        return True

    def _report_silent_expiry(self, url: str) -> None:
        """Log that the session has expired, and from now on hold back fewer pages between two login checks.

        Fewer held pages let the crawl progress even if the session expires often. url: the URL of the last page fetched before
        the check. Raise LoginError if this page was the only held page: fetching it then seems to end the session.
        """
        logger.warning("the session has expired, although no response showed this; to be fetched again after a new login: %s",
                       counted(len(self._held), "page"))
        if self._room == 1:
            raise LoginError(f"the session ends whenever {shown_url(url)} is fetched",
                             where=f"spiders.{self._context.run.spider}.login",
                             fix="if this is the link to log out, exclude it with `deny`")
        self._room = max(1, min(self._room, len(self._held)) // 4)


def _not_repeated(page: Page) -> Page:
    """Return a copy of a page, marked as failed, because its content may be wrong and its request must not be sent again."""
    error = page.error or (f"{shown_url(page.url)}: the login may have expired before this request, and only GET requests are "
                           "sent again; set login.expired.safe_to_replay if sending this request twice does no harm")
    return replace(page, items=(), rejects=(), links=(), downloads=(), body=b"", error=error, transient=True, counts={}, obstacle="",
                   error_kind=page.error_kind or "FetchError")
