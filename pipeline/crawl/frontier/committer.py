"""Commit pages in batches.

A batch is one transaction with all pages that arrived while the previous batch was being written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from pipeline.crawl.context import CrawlContext
from pipeline.crawl.frontier.archive_writer import ArchiveWriter
from pipeline.crawl.frontier.page_archive import PageArchive
from pipeline.errors import PipelineError, StoreError
from pipeline.model import FrontierState, Page, Request
from pipeline.store.crawl.commit import Committed, SeenRequests, commit_pages
from pipeline.store.crawl.compare import Comparison
from pipeline.store.crawl.frontier import Queued, enqueue, forget

MAX_BATCH = 200
"""The maximum number of pages in one transaction.

Readers of the store wait while a transaction is being written. If the process is killed meanwhile, the pages of the transaction
are lost.
"""


@dataclass
class Links:
    """Links that are added to the frontier before the page that contains them is committed.

    ids: the ids of the frontier rows that were added; links that were already in the frontier add no row.
    """

    requests: Sequence[Request]
    ids: list[int] = field(default_factory=list)


class _Waiting(NamedTuple):
    """A page that waits for its commit. links: the page's links if queue_links() has already queued them, else None."""

    page: Page
    done: asyncio.Future[None]
    links: Links | None


class Committer:
    """Commits the pages of a crawl batch by batch, in a separate thread.

    on_queued: called with the new rows of the frontier. on_committed: called with the frontier ids of committed pages.
    on_forgotten: called after forget() with the ids of the rows that were removed from the frontier. on_fatal: called with the error if the store fails.
    """

    def __init__(self, context: CrawlContext, on_queued: Callable[[Sequence[Queued]], None],
                 on_committed: Callable[[Iterable[int]], None], on_forgotten: Callable[[set[int]], None],
                 on_fatal: Callable[[PipelineError], None], *, count: Callable[[int, int], None] | None = None) -> None:
        """count: called with the number of requests that were added to the frontier, and of those that were in it already."""
        self._context = context
        self._on_queued = on_queued
        self._on_committed = on_committed
        self._on_forgotten = on_forgotten
        self._on_fatal = on_fatal
        self._count = count
        self._pages: list[_Waiting] = []
        self._requests: list[Request] = []
        self._links: list[tuple[bool, Links]] = []  # the bool is True to remove the links from the frontier, and False to add them
        self._unqueued = 0
        self._nothing_to_forget = asyncio.Event()
        self._nothing_to_forget.set()
        self._wake = asyncio.Event()
        self._closing = False
        self._comparison = Comparison.of_spider(context.table)
        self._seen = SeenRequests()
        self._saved_pages = PageArchive(context.store.files, context.run.spider)
        self._archive = None if context.archive is None else ArchiveWriter(context.archive, context.run.spider, context.run.id)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._task = asyncio.create_task(self._work())

    async def commit(self, page: Page) -> None:
        """Commit the page, and return when the page is in the store. Raise the store's error if the commit fails."""
        await self.post(page)

    def post(self, page: Page, links: Links | None = None) -> asyncio.Future[None]:
        """Add the page to the next batch, and return a future that is done when the page is in the store.

        links: what queue_links() returned for the page; None if the links were not queued before.
        """
        done = asyncio.get_running_loop().create_future()
        self._pages.append(_Waiting(page, done, links))
        self._wake.set()
        return done

    def queue_links(self, requests: Sequence[Request]) -> Links:
        """Add the links of a page to the frontier before the page is committed.

        Until the page is committed, the rows of new links are "tentative": forget() can remove them again.
        """
        links = Links(requests)
        self._links.append((False, links))
        self._unqueued += 1
        self._wake.set()
        return links

    def forget(self, links: Links) -> None:
        """Remove tentative links from the frontier, because the page that contains them will be fetched again."""
        self._links.append((True, links))
        self._unqueued += 1
        self._nothing_to_forget.clear()
        self._wake.set()

    def enqueue(self, request: Request) -> None:
        """Add a request that does not belong to a page to the frontier, and call `on_queued` with the new row."""
        self._requests.append(request)
        self._unqueued += 1
        self._wake.set()

    @property
    def idle(self) -> bool:
        """Whether all requests passed to enqueue() and queue_links() are in the frontier and were passed to `on_queued`."""
        return not self._unqueued

    @property
    def forgetting(self) -> bool:
        """Whether some links passed to forget() are still in the frontier, so that their rows must not be fetched or committed."""
        return not self._nothing_to_forget.is_set()

    async def forgotten(self) -> None:
        """Return when all links passed to forget() were removed and `on_forgotten` was called, or when the store has failed."""
        await self._nothing_to_forget.wait()

    async def close(self) -> None:
        """Commit all waiting pages and requests, then stop the thread."""
        self._closing = True
        self._wake.set()
        await self._task
        if self._archive is not None:
            self._context.progress.add(await asyncio.get_running_loop().run_in_executor(self._writer, self._archive.close))
            self._context.archive_notes = self._archive.notes
            for note in self._context.archive_notes:
                self._context.note(note)
        self._writer.shutdown()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            if not (self._pages or self._requests or self._links):
                if self._closing:
                    return
                self._wake.clear()
                continue
            batch, self._pages = self._pages[:MAX_BATCH], self._pages[MAX_BATCH:]
            requests, self._requests = self._requests, []
            links, self._links = self._links, []
            try:
                done = await loop.run_in_executor(self._writer, self._write, batch, requests, links)
            except PipelineError as error:
                self._fail(batch, error)
            except Exception as error:  # noqa: BLE001  whatever the error is, the crawl must not wait for this batch for ever
                self._fail(batch, StoreError(f"a page could not be committed: {error!r}"))
            else:
                self._unqueued -= len(requests) + len(links)
                if not any(forgotten for forgotten, _ in self._links):
                    self._nothing_to_forget.set()
                if self._count is not None:
                    offered = len(requests) + sum(len(each.requests) for forgotten, each in links if not forgotten) + sum(
                        len(waiting.page.links) for waiting in batch if waiting.links is None)
                    self._count(len(done.queued), max(0, offered - len(done.queued)))
                self._succeed(batch, done, forgot=any(forgotten for forgotten, _ in links))

    def _write(self, batch: list[_Waiting], requests: list[Request], links: list[tuple[bool, Links]]) -> Committed:
        context = self._context
        pages = [waiting.page for waiting in batch]
        # The cookie jar is saved first: a committed page is not fetched again, so the page's new cookies must not be lost.
        if context.membership is None or context.membership.member.leader:
            context.session.checkpoint()
        try:
            pages = self._saved_pages.save(pages) if context.keep_pages else pages
        except OSError as error:
            raise StoreError(f"a page could not be archived: {error.strerror}", where=str(context.store.data_dir),
                             fix="free some disk space, or remove \"pages\" from `attach` of the digests") from error
        done = self._write_links(links)  # before the pages, because the commit of a page makes its tentative links permanent
        if pages:
            settled = [row for waiting in batch if waiting.links is not None for row in waiting.links.ids]
            archived = self._archive.before_commit(pages) if self._archive is not None else None
            committed = commit_pages(context.store, context.run, pages, now=datetime.now(UTC),
                                     comparison=self._comparison, seen=self._seen, settled=settled,
                                     by=None if context.membership is None else context.membership.commit_of(pages), archived=archived,
                                     archived_as=self._archive.named if self._archive is not None else str)
            if self._archive is not None:
                self._archive.after_commit(committed.changed)
            committed.queued += done.queued
            committed.forgotten = done.forgotten
            done = committed
        self._saved_pages.keep_only(done.news)
        if requests:
            done.queued += enqueue(context.store, context.run, requests)
        return done

    def _write_links(self, orders: list[tuple[bool, Links]]) -> Committed:
        """Carry out the recorded calls of queue_links() and forget(), in the order in which they were made.

        The order matters, since a removed link may be added again later. Consecutive calls of the same kind are one transaction.
        """
        context, done = self._context, Committed()
        for forgotten, group in groupby(orders, itemgetter(0)):
            links = [each for _, each in group]
            if forgotten:
                ids = {row for each in links for row in each.ids}
                forget(context.store, context.run, sorted(ids))
                done.forgotten |= ids
            else:
                owners = {id(request): each for each in links for request in each.requests}
                for row in enqueue(context.store, context.run, [request for each in links for request in each.requests],
                                   FrontierState.TENTATIVE):
                    owners[id(row.request)].ids.append(row.id)
                    done.queued.append(row)
        return done

    def _succeed(self, batch: list[_Waiting], done: Committed, *, forgot: bool) -> None:
        context, progress = self._context, self._context.progress
        progress.add(done.progress)
        progress.waiting += len(done.queued) - len(done.forgotten) - sum(waiting.page.frontier_id is not None for waiting in batch)
        for page, future, _ in batch:
            if page.error:
                context.failures.add(page.error, page.error_kind or "FetchError", transient=page.transient)
            if not future.done():
                future.set_result(None)
            context.offsite.update(page.offsite)
            if page.downloads:
                context.on_downloads()
        self._on_committed(page.frontier_id for page, _, _ in batch if page.frontier_id is not None)
        if forgot:
            self._on_forgotten(done.forgotten)
        self._on_queued(done.queued)

    def _fail(self, batch: list[_Waiting], error: PipelineError) -> None:
        for waiting in batch:
            if not waiting.done.done():
                waiting.done.set_exception(error)
        self._on_fatal(error)
        self._nothing_to_forget.set()
