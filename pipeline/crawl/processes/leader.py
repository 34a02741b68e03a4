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
from collections.abc import Sequence
from functools import partial
from typing import Self

from pipeline.crawl.context import CrawlContext
from pipeline.crawl.interfaces import RowSource
from pipeline.crawl.processes.messages import Message, SessionSync, packed, received
from pipeline.errors import PipelineError
from pipeline.store.crawl.frontier import Queued

FINISH_S = 5.0
"""How long a stopped run waits for the pages that followers are fetching."""
MAX_ROWS = 64
"""The maximum number of rows that one follower has. With several rows, a follower can work while the leader is busy."""
BACKLOG_BYTES = 20 * 10**6
"""Followers receive no more rows while pages with more than this number of bytes wait to be committed."""
MIN_PAGE_BYTES = 50_000
"""For the limit BACKLOG_BYTES, every page counts as at least this many bytes."""

logger = logging.getLogger(__name__)


def shares(concurrency: int, processes: int) -> tuple[int, int]:
    """Return how many concurrent requests to one host the leader may send, and how many each follower may send."""
    each = concurrency // processes
    return concurrency - each * (processes - 1), each


class FollowerGroup:
    """The follower processes of a run, as managed by the leader process."""

    def __init__(self, context: CrawlContext) -> None:
        self._context = context
        self._uncommitted_bytes = 0
        self._followers: list[_Follower] = []
        self._frontier: RowSource
        self._tasks: list[asyncio.Task[None]] = []
        self._heard = asyncio.Event()
        self._closing = False

    @classmethod
    async def open(cls, context: CrawlContext, sockets: Sequence[socket.socket]) -> Self:
        """Connect to the followers and return the group. sockets: one socket for each follower."""
        group = cls(context)
        for each in sockets:
            reader, writer = await asyncio.open_connection(sock=each)
            group._followers.append(_Follower(reader, writer, SessionSync(context)))
        return group

    def start(self, frontier: RowSource) -> None:
        """Start to send rows of this frontier to the followers."""
        self._frontier = frontier
        for follower in self._followers:
            follower.send([])
            self._tasks.append(asyncio.create_task(self._listen(follower)))
        self.feed()

    @property
    def at_work(self) -> bool:
        return bool(self._uncommitted_bytes) or any(follower.rows for follower in self._followers)

    def feed(self) -> None:
        """Send rows to each follower that has at most MAX_ROWS / 2 rows.

        If there are few rows, share them between all processes.
        """
        if self._uncommitted_bytes >= BACKLOG_BYTES:
            return
        for follower in self._followers:
            if len(follower.rows) <= MAX_ROWS // 2:
                rows = self._frontier.take(min(MAX_ROWS, -(-self._frontier.ready // (len(self._followers) + 1))) - len(follower.rows))
                if rows:
                    follower.send(rows)

    def announce_login(self) -> None:
        """Tell the followers that there is a new login."""
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

    async def _listen(self, follower: _Follower) -> None:
        while (message := await received(follower.reader)) is not None:
            follower.sync.take(message.update)
            if message.fatal is not None:
                self._frontier.fatal(message.fatal)
                break
            if message.expired is not None:
                await self._log_in(follower, message.expired)
            for page in message.pages:
                assert page.frontier_id is not None
                self._context.add_host(page.redirected_host)
                follower.rows.pop(page.frontier_id, None)
                size_bytes = max(page.size_bytes, MIN_PAGE_BYTES)
                self._uncommitted_bytes += size_bytes
                self._context.committer.post(page).add_done_callback(partial(self._taken, size_bytes))
            self.feed()
            self._frontier.wake_engine()
            self._heard.set()
        self._lose(follower)
        self._heard.set()

    def _taken(self, size_bytes: int, page: asyncio.Future[None]) -> None:
        self._uncommitted_bytes -= size_bytes
        page.exception()  # marks the exception as retrieved: the committer has reported it and ends the run
        if not self._uncommitted_bytes:
            self._frontier.wake_engine()
            self._heard.set()

    async def _log_in(self, follower: _Follower, epoch: int) -> None:
        """Log in again for a follower that has detected an expired login."""
        relogin = self._context.relogin
        assert relogin is not None
        try:
            while not relogin.login_state.is_stale(epoch):
                await relogin.renew(epoch)
            await relogin.settled()
        except PipelineError as error:
            self._frontier.fatal(error)
        else:
            follower.send([])

    def _lose(self, follower: _Follower) -> None:
        if self._closing:
            return
        self._followers.remove(follower)
        follower.writer.close()
        if self._context.fatal is None:
            logger.error("a follower process of this run has ended unexpectedly; the other processes fetch its %d pages", len(follower.rows))
            self._frontier.give_back(list(follower.rows.values()))


class _Follower:
    """The connection to one follower. rows: the rows that the follower is fetching, by id."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sync: SessionSync) -> None:
        self.reader = reader
        self.writer = writer
        self.sync = sync
        self.rows: dict[int, Queued] = {}

    def send(self, rows: list[Queued]) -> None:
        self.rows |= {row.id: row for row in rows}
        with contextlib.suppress(RuntimeError, ConnectionError):  # the follower has just died: _listen() gives its rows back
            self.writer.write(packed(Message(self.sync.update(), rows=rows)))
