"""The leader process of a run: sends frontier rows to the followers, and commits the returned pages.

Only the leader reads and writes the store. The leader remembers in memory which rows each follower is fetching. If a follower
dies, its rows are fetched again; if the leader dies, its followers end too. No page is lost, because the row of an uncommitted
page is still in the frontier.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from pipeline.crawl.context import CrawlContext
from pipeline.crawl.interfaces import RowSource
from pipeline.crawl.processes.messages import Message, SessionSync, packed, received
from pipeline.errors import PipelineError
from pipeline.settings import SpiderTable
from pipeline.store.crawl.frontier import Queued
from pipeline.text import counted

FINISH_S = 5.0
"""How long, in seconds, a stopped run waits for the pages that followers are fetching."""
MAX_ROWS = 64
"""The maximum number of rows that one follower has at a time. With several rows, a follower can work while the leader is busy."""
BACKLOG_BYTES = 20 * 10**6
"""Followers receive no more rows while the pages that wait to be committed exceed this size in total."""
MIN_PAGE_BYTES = 50_000
"""For the limit BACKLOG_BYTES, every page counts as at least this many bytes."""

@dataclass(frozen=True)
class FollowerSockets:
    """The leader's ends of the sockets to its followers.

    request: a function that asks the parent process to start the next follower; None if all followers are started with the run.
    concurrency: how many concurrent requests to one host each follower may send; only used if all followers are started with the
    run.
    """

    sockets: Sequence[socket.socket] = ()
    concurrency: int = 0
    request: Callable[[], None] | None = None


logger = logging.getLogger(__name__)


def shares(table: SpiderTable) -> tuple[int, int]:
    """Return how many concurrent requests to one host the leader may send at first, and how many each follower may send."""
    each = table.concurrency // table.first_processes
    return table.concurrency - each * (table.first_processes - 1), each


class FollowerGroup:
    """The follower processes of a run, as managed by the leader process.

    concurrency: how many concurrent requests to one host each follower may send. optional: whether followers join during the crawl.
    If so, the leader's own concurrency is reduced each time that a follower joins, and an error that ends a follower does not end
    the run.
    """

    def __init__(self, context: CrawlContext, concurrency: int, *, optional: bool = False) -> None:
        self._context = context
        self._concurrency = concurrency
        self._optional = optional
        self._uncommitted_bytes = 0
        self._followers: list[_Follower] = []
        self._frontier: RowSource | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._heard = asyncio.Event()
        self._closing = False
        self.lost = 0
        """The number of followers that ended before the crawl ended."""

    async def add(self, end: socket.socket) -> None:
        """Connect to a follower, which will get rows as soon as it is ready.

        end: the socket to the follower. The follower's process may not be running yet.
        """
        reader, writer = await asyncio.open_connection(sock=end)
        follower = _Follower(reader, writer, SessionSync(self._context))
        self._followers.append(follower)
        if self._frontier is not None:
            self._begin(follower, self._frontier)

    def start(self, frontier: RowSource) -> None:
        """Start sending rows of this frontier to the followers."""
        self._frontier = frontier
        for follower in self._followers:
            self._begin(follower, frontier)

    @property
    def ready(self) -> int:
        """The number of followers that are ready to fetch pages."""
        return sum(follower.ready for follower in self._followers)

    @property
    def joining(self) -> bool:
        """Whether a connected follower is not yet ready to fetch pages."""
        return self.ready < len(self._followers)

    def _begin(self, follower: _Follower, frontier: RowSource) -> None:
        follower.send([], self._concurrency)
        self._tasks.append(asyncio.create_task(self._listen(follower, frontier)))

    @property
    def at_work(self) -> bool:
        return bool(self._uncommitted_bytes) or any(follower.rows for follower in self._followers)

    def feed(self) -> None:
        """Send more rows to each follower that has at most MAX_ROWS / 2 rows.

        If only a few rows are left, they are shared between all processes.
        """
        frontier = self._frontier
        if frontier is None or self._uncommitted_bytes >= BACKLOG_BYTES:
            return
        for follower in self._followers:
            if follower.ready and len(follower.rows) <= MAX_ROWS // 2:
                rows = frontier.take(min(MAX_ROWS, -(-frontier.ready // (self.ready + 1))) - len(follower.rows))
                if rows:
                    follower.send(rows)

    def announce_login(self) -> None:
        """Tell the followers that the leader has logged in again."""
        for follower in self._followers:
            follower.send([])

    async def close(self) -> None:
        """Wait at most FINISH_S for the pages that followers are fetching, then close the connections."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FINISH_S):
                while self.at_work and self._context.fatal is None:
                    self._heard.clear()
                    await self._heard.wait()
        self._closing = True
        for follower in self._followers:
            follower.writer.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _listen(self, follower: _Follower, frontier: RowSource) -> None:
        while (message := await received(follower.reader)) is not None:
            if not follower.ready:
                follower.ready = True
                self._divide_concurrency(frontier)
                logger.info("%d processes fetch the pages of this run", self.ready + 1)
            follower.sync.take(message.update)
            self._context.notes += [note for note in message.notes if note not in self._context.notes]
            if message.failures is not None:
                self._context.failures.merge(message.failures)
            if message.fatal is not None:
                if self._optional:
                    logger.error("a follower process failed: %s", message.fatal)
                else:
                    frontier.fatal(message.fatal)
                break
            if message.expired is not None:
                await self._log_in(follower, message.expired, frontier)
            for page in message.pages:
                assert page.frontier_id is not None
                self._context.add_host(page.redirected_host)
                follower.rows.pop(page.frontier_id, None)
                size_bytes = max(page.memory_bytes, MIN_PAGE_BYTES)
                self._uncommitted_bytes += size_bytes
                self._context.committer.post(page).add_done_callback(partial(self._taken, size_bytes, frontier))
            self.feed()
            frontier.wake_engine()
            self._heard.set()
        self._lose(follower, frontier)
        self._heard.set()

    def _divide_concurrency(self, frontier: RowSource) -> None:
        if self._optional:
            frontier.limit_requests(self._context.table.concurrency - self._concurrency * self.ready)

    def _taken(self, size_bytes: int, frontier: RowSource, page: asyncio.Future[None]) -> None:
        self._uncommitted_bytes -= size_bytes
        page.exception()  # marks the exception as retrieved: the committer has reported it and is ending the run
        if not self._uncommitted_bytes:
            frontier.wake_engine()
            self._heard.set()

    async def _log_in(self, follower: _Follower, epoch: int, frontier: RowSource) -> None:
        """Log in again for a follower that has detected an expired login."""
        relogin = self._context.relogin
        assert relogin is not None
        try:
            while not relogin.login_state.is_stale(epoch):
                await relogin.renew(epoch)
            await relogin.settled()
        except PipelineError as error:
            frontier.fatal(error)
        else:
            follower.send([])

    def _lose(self, follower: _Follower, frontier: RowSource) -> None:
        if self._closing:
            return
        self.lost += 1
        self._followers.remove(follower)
        follower.writer.close()
        self._divide_concurrency(frontier)
        if self._context.fatal is None:
            logger.error("a follower process of this run has ended unexpectedly; the other processes will fetch its %s", counted(len(follower.rows), "page"))
            frontier.give_back(list(follower.rows.values()))


class _Follower:
    """The connection to one follower.

    ready: whether the follower can fetch pages. rows: the rows that the follower is fetching, by id.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sync: SessionSync) -> None:
        self.reader = reader
        self.writer = writer
        self.sync = sync
        self.ready = False
        self.rows: dict[int, Queued] = {}

    def send(self, rows: list[Queued], concurrency: int = 0) -> None:
        self.rows |= {row.id: row for row in rows}
        with contextlib.suppress(RuntimeError, ConnectionError):  # the follower has just died: _listen() will give its rows back
            self.writer.write(packed(Message(self.sync.update(), rows=rows, concurrency=concurrency)))
