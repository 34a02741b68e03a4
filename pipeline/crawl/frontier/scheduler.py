"""A Scrapy scheduler that uses the frontier in the store, so that a killed run can be continued.

At most WINDOW requests are in memory and the others in the store, so that the memory does not grow with the frontier. Requests
that cannot be stored (whose callback is not a method of the spider, or whose meta is not JSON) are only in memory. If a pass with
such requests is killed, the pass starts again from the beginning. No item is reported twice, because each item has a key.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

import scrapy
from scrapy.crawler import Crawler
from scrapy.spiders import Spider

from pipeline.crawl.frontier.committer import Committer
from pipeline.crawl.frontier.requests import NotStorableError, RowScheduler, to_model
from pipeline.crawl.frontier.unproved_pages import UnprovedPages
from pipeline.crawl.interfaces import FROM_START, FRONTIER_ID, UNCONDITIONAL
from pipeline.crawl.scrapy import engine_control
from pipeline.errors import PipelineError
from pipeline.model import FrontierState
from pipeline.store.crawl import frontier as stored_frontier
from pipeline.store.crawl.frontier import Queued
from pipeline.text import span_for_people

WINDOW = 1000
"""The maximum number of frontier rows in memory."""
REFILL_BELOW = 100
"""When fewer rows than this are in memory, more are read from the store."""

logger = logging.getLogger(__name__)


class FrontierScheduler(RowScheduler):
    """Gives the rows of the frontier to Scrapy and to the run's follower processes, if there are any."""

    refill_below = REFILL_BELOW

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        self._memory: deque[scrapy.Request] = deque()
        self._window: list[tuple[int, int, Queued]] = []
        self._under_way: set[int] = set()
        self._more_in_store = False
        self._refilling: asyncio.Task[None] | None = None
        self._issued = 0
        self._resumable = True
        self._opened_s = time.monotonic()
        self._unproved: UnprovedPages | None = None  # None if the session has no login
        self._forgotten: set[int] = set()
        self._committed_since_refill: set[int] = set()
        self._unconditional: set[int] = set()  # rows whose cached page may have been fetched without a valid login

    def open(self, spider: Spider) -> None:
        super().open(spider)
        self._open_committer()
        if self._context.followers is not None:
            self._context.followers.start(self)
        self._open_frontier()

    def _open_committer(self) -> None:
        context = self._context
        context.committer = committer = Committer(
            context, on_queued=self._on_queued, on_committed=self._on_committed, on_forgotten=self._on_forgotten,
            on_fatal=self.fatal, count=None if self.stats is None else self.stats.added)
        if context.session.login_state is not None:
            context.committer = self._unproved = UnprovedPages(
                context, context.session.login_state, committer, on_refetch=self._refetch, on_fatal=self.fatal,
                wake=self._wake)

    def _open_frontier(self) -> None:
        """Prepare the rows of an earlier run of the pass, and add the start requests."""
        context = self._context
        stored_frontier.reopen(context.store, context.run)
        found = stored_frontier.counts(context.store, context.run.pass_id)
        self._issued = sum(count for state, count in found.items() if state is not FrontierState.WAITING)
        context.progress.waiting = found.get(FrontierState.WAITING, 0)
        if context.progress.waiting:
            self._know_starts()
            self._read_first_rows()
        for request in context.first:
            context.committer.enqueue(request)

    def _know_starts(self) -> None:
        """Learn from the start requests of the pass which hosts links may lead to."""
        context = self._context
        for request in stored_frontier.first_requests(context.store, context.run.pass_id):
            context.add_host(str(request.meta.get(stored_frontier.REDIRECTED_HOST, "")))
            if request.meta.get(FROM_START):
                context.session.ssrf_guard.allow(request.url)

    def _read_first_rows(self) -> None:
        context = self._context
        self._on_queued(stored_frontier.waiting(context.store, context.run.pass_id, limit=WINDOW))
        self._more_in_store = context.progress.waiting > WINDOW

    async def finish(self) -> None:
        """Commit all waiting pages.

        The crawl calls this coroutine after Scrapy has ended, because Scrapy's close() would have to return a Deferred.
        """
        if self._refilling is not None:
            await self._refilling
        await self._context.committer.close()

    def has_pending_requests(self) -> bool:
        if self._resend or self._delayed or (self._context.followers is not None and self._context.followers.at_work):
            return True
        if not self._capped() and (self._memory or self._window or self._more_in_store or self._refilling
                                   or not self._context.committer.idle):
            return True
        return self._unproved is not None and self._unproved.prove_held()

    def enqueue_request(self, request: scrapy.Request) -> bool:
        if FRONTIER_ID in request.meta:
            self._send_again(request)
            return True
        if self.dupe_filter is not None:
            new = self.dupe_filter.new(request)
            if new is None:
                return False
            request = new
        try:
            self._context.committer.enqueue(to_model(request, self._spider, self._context.render_rules))
        except NotStorableError as error:
            self._keep_in_memory(request, error)
        return True

    def _keep_in_memory(self, request: scrapy.Request, why: NotStorableError) -> None:
        if self._resumable:
            self._resumable = False
            logger.info("a request cannot be stored, so the pass will start again from the beginning if this run is killed: %s", why)
            stored_frontier.mark_not_resumable(self._context.store, self._context.run)
        if request.meta.get("is_start_request"):
            self._context.session.ssrf_guard.allow(request.url)
        request.meta[FRONTIER_ID] = None
        request.errback = partial(self._failed, request.errback)
        self._memory.append(request)
        if self.stats is not None:
            self.stats.enqueued()

    def next_request(self) -> scrapy.Request | None:
        request = self._next_request()
        if request is not None and self.stats is not None:
            self.stats.dequeued()
        return request

    def _next_request(self) -> scrapy.Request | None:
        if self._context.stopping() or self._context.fatal is not None:
            return None
        if self._context.followers is not None:
            self._context.followers.feed()
        self._release_delayed()
        if self._resend:
            return self._resend.popleft()
        if len(self._delayed) >= WINDOW:  # otherwise all rows of a paused host would be read into memory
            return None
        queued = self._next_row()
        if queued is not None:
            return self._issue(queued)
        if self._memory and not self._capped() and self._has_room():
            self._issued += 1
            return self._memory.popleft()
        return None

    @property
    def ready(self) -> int:
        """The number of rows in memory, which can be fetched without reading the store."""
        return len(self._window)

    def take(self, count: int) -> list[Queued]:
        """Return up to `count` rows for a follower process.

        The caller must later commit the page of each row, or return the row with give_back().
        """
        if not engine_control.is_open(self._crawler):
            return []
        return list(itertools.islice(iter(self._next_row, None), max(0, count)))

    def give_back(self, rows: Sequence[Queued]) -> None:
        """Take back the rows of a follower process that has died, so that they are fetched again."""
        self._issued -= len(rows)
        self._under_way.difference_update(row.id for row in rows)
        for row in rows:
            heapq.heappush(self._window, (-row.request.priority, row.id, row))
        self.wake_engine()

    def limit_requests(self, per_host: int) -> None:
        """Change how many requests to one host this process sends at the same time."""
        engine_control.limit_requests(self._crawler, per_host)
        self._context.limit = per_host
        for change in self._context.on_limit:
            change(per_host)

    def _has_room(self) -> bool:
        return self._unproved is None or self._unproved.has_room(len(self._under_way))

    def _next_row(self) -> Queued | None:
        if self._capped() or not self._has_room():
            return None
        if len(self._window) < self.refill_below and self._more_in_store and self._refilling is None:
            self._committed_since_refill.clear()
            self._refilling = asyncio.create_task(self._refill())
        if not self._window:
            return None
        queued = heapq.heappop(self._window)[2]
        if queued.id in self._unconditional:
            queued = replace(queued, request=replace(queued.request, meta={**queued.request.meta, UNCONDITIONAL: True}))
        self._under_way.add(queued.id)
        self._issued += 1
        return queued

    def _capped(self) -> bool:
        reason = self._budget_spent()
        if not reason:
            return False
        if self._window or self._memory or self._more_in_store:
            self._context.capped = True
            self._context.capped_by = reason
        return True

    def _budget_spent(self) -> str:
        """Return a note for the run if the crawl has reached max_pages or max_time; "" if it has not."""
        table = self._context.table
        if table.max_pages and self._issued >= table.max_pages:
            return f"stopped at max_pages = {table.max_pages}"
        return self._time_spent()

    def _time_spent(self) -> str:
        table = self._context.table
        if table.max_time is not None and time.monotonic() - self._opened_s >= table.max_time:
            return f"stopped at max_time = {span_for_people(table.max_time) if table.max_time >= 60 else f'{table.max_time:g} s'}"
        return ""

    def _refetch(self, ids: Sequence[int]) -> None:
        """Fetch rows again, without the page cache: their pages may have been fetched without a valid login."""
        self._issued -= len(ids)
        self._under_way.difference_update(ids)
        self._unconditional.update(ids)
        self._more_in_store = True
        self._wake()

    def _on_forgotten(self, ids: set[int]) -> None:
        """Drop the rows in memory that have been removed from the frontier in the store."""
        self._forgotten |= ids  # remembered, because a refill in progress may still return these rows
        self._under_way -= ids
        self._window = [entry for entry in self._window if entry[1] not in ids]
        heapq.heapify(self._window)
        if self._unproved is not None:
            self._unproved.on_forgotten(ids)
        self._wake()

    def _on_committed(self, ids: Iterable[int]) -> None:
        ids = set(ids)
        self._under_way -= ids
        if self._refilling is not None:
            self._committed_since_refill |= ids

    def _on_queued(self, queued: Sequence[Queued]) -> None:
        if queued:  # a refill may have returned these rows already, or still return them
            known = {entry[1] for entry in self._window} | self._under_way | self._forgotten
            queued = [row for row in queued if row.id not in known]
        room = WINDOW - len(self._window)
        for entry in queued[:room]:
            heapq.heappush(self._window, (-entry.request.priority, entry.id, entry))
        if len(queued) > room:
            self._more_in_store = True
        if queued or self._context.committer.idle:  # if nothing is left, the engine ends now and not at its next look, up to 5 s later
            self._wake()

    async def _refill(self) -> None:
        away = [*self._under_way, *(entry[1] for entry in self._window)]
        self._more_in_store = False  # set before the refill, since a commit during the refill may set `_more_in_store` to True
        try:
            found = await asyncio.to_thread(stored_frontier.waiting, self._context.store, self._context.run.pass_id,
                                            limit=WINDOW, besides=away, tentative=self._unproved is not None)
        except PipelineError as error:
            self.fatal(error)
            return
        finally:
            self._refilling = None
        self._on_queued([row for row in found if row.id not in self._committed_since_refill])
        if len(found) == WINDOW:
            self._more_in_store = True
        self._wake()

    def _wake(self) -> None:
        """Send new rows to the follower processes, then wake the engine.

        The followers are served first, because sending rows to them takes time.
        """
        if self._context.followers is not None:
            self._context.followers.feed()
        self.wake_engine()

    def fatal(self, error: PipelineError) -> None:
        """Stop the crawl, because an error prevents pages from being committed."""
        if self._context.fatal is None:
            self._context.fatal = error
            self._stopping = asyncio.create_task(engine_control.stop(self._crawler))
