"""Pages wait here for a moment, so that one transaction commits all that came while the last one was written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from datetime import UTC, datetime

from pipeline.crawl.context import CrawlContext
from pipeline.crawl.kept_pages import KeptPages
from pipeline.errors import PipelineError, StoreError
from pipeline.model import Page, Progress, Request
from pipeline.store.compare import Comparison
from pipeline.store.crawl import Committed, Queued, Seen, commit_pages, enqueue

MAX_BATCH = 200
"""Pages in one transaction at the most: what a reader waits for, and what a kill can cost."""


class Committer:
    """The one writer of a crawl: a thread of its own for the store, a queue in front of it."""

    def __init__(self, context: CrawlContext, on_queued: Callable[[Sequence[Queued]], None],
                 on_fatal: Callable[[PipelineError], None]) -> None:
        self._context = context
        self._on_queued = on_queued
        self._on_fatal = on_fatal
        self._pages: list[tuple[Page, asyncio.Future[None]]] = []
        self._requests: list[Request] = []
        self._unqueued = 0
        self._wake = asyncio.Event()
        self._closing = False
        items = context.table.items
        self._comparison = Comparison(frozenset(items.ignore), items.min_change) if items is not None else Comparison()
        self._seen = Seen()
        self._kept = KeptPages(context.store.files, context.run.spider)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._task = asyncio.create_task(self._work())

    async def commit(self, page: Page) -> None:
        """Returns once the page is in the store. Raises what kept it out."""
        await self.post(page)

    def post(self, page: Page) -> asyncio.Future[None]:
        """As commit; the result is done once the page is in the store."""
        done = asyncio.get_running_loop().create_future()
        self._pages.append((page, done))
        self._wake.set()
        return done

    def enqueue(self, request: Request) -> None:
        """Queue a request that belongs to no page; it comes back through on_queued."""
        self._requests.append(request)
        self._unqueued += 1
        self._wake.set()

    @property
    def idle(self) -> bool:
        """Whether every request it was given has come back through on_queued."""
        return not self._unqueued

    async def close(self) -> None:
        """Write what waits, then stop."""
        self._closing = True
        self._wake.set()
        await self._task
        self._writer.shutdown()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            if not self._pages and not self._requests:
                if self._closing:
                    return
                self._wake.clear()
                continue
            batch, self._pages = self._pages[:MAX_BATCH], self._pages[MAX_BATCH:]
            requests, self._requests = self._requests, []
            try:
                done = await loop.run_in_executor(self._writer, self._write, [page for page, _ in batch], requests)
            except PipelineError as error:
                self._fail(batch, error)
            except Exception as error:  # noqa: BLE001  whatever it is, the crawl must not wait for it for ever
                self._fail(batch, StoreError(f"a page could not be committed: {error!r}"))
            else:
                self._unqueued -= len(requests)
                self._succeed(batch, done)

    def _write(self, pages: list[Page], requests: list[Request]) -> Committed:
        context = self._context
        # The jar first: a page that is committed is never fetched again, so its cookies must not be lost.
        context.session.jar.save()
        try:
            pages = self._kept.save(pages) if context.keep_pages else pages
        except OSError as error:
            raise StoreError(f"a page cannot be kept: {error.strerror}", where=str(context.store.data_dir),
                             fix="free some disk space, or take \"pages\" out of the digests' attach") from error
        done = commit_pages(context.store, context.run, pages, now=datetime.now(UTC),
                            comparison=self._comparison, seen=self._seen) if pages else Committed()
        self._kept.settle(done.news)
        if requests:
            done.queued += enqueue(context.store, context.run, requests)
        return done

    def _succeed(self, batch: list[tuple[Page, asyncio.Future[None]]], done: Committed) -> None:
        progress = self._context.progress
        for name in (entry.name for entry in fields(Progress)):
            setattr(progress, name, getattr(progress, name) + getattr(done.progress, name))
        progress.waiting += len(done.queued) - sum(page.frontier_id is not None for page, _ in batch)
        for page, future in batch:
            if not future.done():
                future.set_result(None)
            if page.downloads:
                self._context.on_downloads()
        self._on_queued(done.queued)

    def _fail(self, batch: list[tuple[Page, asyncio.Future[None]]], error: PipelineError) -> None:
        for _, future in batch:
            if not future.done():
                future.set_exception(error)
        self._on_fatal(error)
