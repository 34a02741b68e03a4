"""Pages of a session with a login are committed only after `login.check` has matched once more.

A session can end without a word: the site then answers with a page for strangers, which looks like any other. So
pages are held in memory, at most MAX_HELD of them for LONGEST_S, until the check page shows that the session still
holds; what came before that came with it. Where it shows the opposite, one new login is made and the held pages are
fetched again. Of a held page nothing is in the store but its links, which are tentative: a killed run's held pages
are fetched again, too.
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
from pipeline.text import shown_url

MAX_HELD = 500
MAX_HELD_BYTES = 16 * 10**6
LONGEST_S = 30.0

logger = logging.getLogger(__name__)


class _Held(NamedTuple):
    page: Page
    links: Links


class UnprovedPages:
    """The Writer of a crawl whose session has a login.

    on_again: told of frontier ids whose pages have to be fetched again; on_fatal: of what ends the run; wake: that the
    engine has something to do.
    """

    def __init__(self, context: CrawlContext, login_state: LoginState, committer: Committer, *,
                 on_again: Callable[[Sequence[int]], None], on_fatal: Callable[[PipelineError], None],
                 wake: Callable[[], None]) -> None:
        self._context = context
        self._login_state = login_state
        self._committer = committer
        self._on_again = on_again
        self._on_fatal = on_fatal
        self._wake = wake
        context.relogin = self._relogin = context.relogin or Relogin(login_state)
        self._epoch = login_state.epoch
        self._held: list[_Held] = []
        self._held_bytes = 0
        self._seen = SeenRequests()
        self._forgotten: set[int] = set()
        self._room = MAX_HELD
        self._proving: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        return self._committer.idle

    def has_room(self, under_way: int) -> bool:
        """Whether one more page may be begun. After a session was lost in silence, few are at a time."""
        return self._room == MAX_HELD or under_way < self._room

    def enqueue(self, request: Request) -> None:
        self._committer.enqueue(request)

    async def commit(self, page: Page) -> None:
        """Returns once the page is held, or in the store where it needs no proof."""
        await self.post(page)

    def post(self, page: Page) -> asyncio.Future[None]:
        if not page.url or not self._context.session.checkable:
            return self._committer.post(page)
        self._refetch_stale()
        if page.frontier_id in self._forgotten:
            logger.info("%s was found on a page for strangers only: left out", page.url)
        elif self._login_state.is_stale(page.epoch):
            self._refetch([page])
        else:
            self._hold(page)
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    def forgotten(self, ids: set[int]) -> None:
        """These rows are out of the frontier: what was fetched of them meanwhile is not wanted."""
        self._forgotten |= ids
        for held in self._held:
            if held.page.frontier_id in ids:
                self._committer.forget(held.links)
        self._held = [held for held in self._held if held.page.frontier_id not in ids]

    def settle(self) -> bool:
        """Nothing else is under way: prove what is held. Whether there is anything to wait for."""
        if self._held:
            self._prove_now()
        return self._proving is not None

    async def close(self) -> None:
        """Commit what can be proved without a new login. The rest is fetched by the next run."""
        if self._timer is not None:
            self._timer.cancel()
        if self._proving is not None:
            await asyncio.wait({self._proving})
        try:
            if self._held and self._context.fatal is None and not await self._commit_proved():
                logger.warning("the session was over: %d pages are fetched again by the next run", len(self._held))
        except PipelineError as error:
            logger.warning("%d pages are fetched again by the next run: %s", len(self._held), error)
        await self._committer.close()

    def _hold(self, page: Page) -> None:
        links = self._seen.unseen(page.links)
        self._seen.add(links)
        queued = self._committer.queue_links(links) if links else Links(())
        self._held.append(_Held(replace(page, links=()), queued))
        self._held_bytes += page.size_bytes
        if not page.repeatable or len(self._held) >= self._room or self._held_bytes >= MAX_HELD_BYTES:
            self._prove_now()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LONGEST_S, self._prove_now)

    def _refetch_stale(self) -> None:
        """The login that the held pages came with is over, whoever noticed it."""
        if self._epoch != self._login_state.epoch:
            self._epoch = self._login_state.epoch
            held, self._held, self._held_bytes = self._held, [], 0
            self._seen = SeenRequests()
            for each in held:
                self._committer.forget(each.links)
            self._refetch([each.page for each in held])

    def _refetch(self, pages: Sequence[Page]) -> None:
        for page in pages:
            if not page.repeatable:
                self._committer.post(_unrepeatable(page))
        pages = [page for page in pages if page.repeatable]
        if any(page.frontier_id is None for page in pages):
            self._on_fatal(SessionError("the session was over while requests were in memory only", retry=True,
                                        where=f"spiders.{self._context.run.spider}", fix="the next run begins afresh"))
        self._on_again([page.frontier_id for page in pages if page.frontier_id is not None])

    def _prove_now(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._proving is None and self._context.fatal is None:
            self._proving = asyncio.create_task(self._prove())
            self._proving.add_done_callback(self._proof_over)

    def _proof_over(self, task: asyncio.Task[None]) -> None:
        self._proving = None
        error = None if task.cancelled() else task.exception()
        if isinstance(error, PipelineError):
            self._on_fatal(error)
        elif error is not None:
            self._on_fatal(SessionError(f"the session could not be checked: {error!r}"))
        elif self._held and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LONGEST_S, self._prove_now)
        self._wake()

    async def _prove(self) -> None:
        self._refetch_stale()
        epoch, last = self._epoch, self._held[-1].page.url if self._held else ""
        if not self._held or await self._commit_proved():
            return
        if not self._login_state.is_stale(epoch):  # else somebody met a page that says so, and logs in
            self._report_silent_expiry(last)
        await self._relogin.renew(epoch)
        self._refetch_stale()
        if self._context.followers is not None:
            self._context.followers.announce_login()

    async def _commit_proved(self) -> bool:
        """Look at the check page, and commit what was held before; False where the session turns out to be over."""
        held, epoch = len(self._held), self._epoch
        if not await asyncio.to_thread(self._login_state.verify, epoch, time.monotonic()) or epoch != self._epoch:
            return False
        proved, self._held = self._held[:held], self._held[held:]
        self._held_bytes = sum(each.page.size_bytes for each in self._held)
        self._room = min(MAX_HELD, 2 * self._room)
        await asyncio.gather(*[self._committer.post(each.page, each.links) for each in proved])
        return True

    def _report_silent_expiry(self, url: str) -> None:
        """Hold fewer pages from now on: a session that ends again and again still gets on, and what ends it is named."""
        logger.warning("the session was over, though no answer said so: %d pages are fetched again after a new login",
                       len(self._held))
        if self._room == 1:
            raise LoginError(f"the session is over each time after {shown_url(url)} was fetched",
                             where=f"spiders.{self._context.run.spider}.login",
                             fix="if that page logs out, leave it out of follow (deny)")
        self._room = max(1, min(self._room, len(self._held)) // 4)


def _unrepeatable(page: Page) -> Page:
    """A page that may have been for strangers, and is not asked for again."""
    error = page.error or (f"{shown_url(page.url)}: the login was over, or may have been, and what is no GET is not sent "
                           "twice; set login.expired.safe_to_replay if that does no harm")
    return replace(page, items=(), rejects=(), links=(), downloads=(), body=b"", error=error, transient=True,
                   error_kind=page.error_kind or "FetchError")
