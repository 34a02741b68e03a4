"""Several processes fetch one pass: the leader, which holds the run's lease, hands rows of the frontier to its mates.

The leader alone reads and writes the store. What a mate has under way is its in the leader's memory only, under the
run's lease: when a mate is gone its rows are fetched again, and when the leader is gone so are its mates, and nothing
is lost, since a page that was not committed still waits in the frontier.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Self

from pipeline.crawl.context import CrawlContext
from pipeline.crawl.processes.protocol import Message, Shared, packed, received
from pipeline.errors import PipelineError
from pipeline.store.crawl.frontier import Queued

if TYPE_CHECKING:
    from pipeline.crawl.frontier.scheduler import FrontierScheduler

FINISH_S = 5.0
"""How long a stopped run waits for the pages its mates have under way."""
ROOM = 64
"""Rows a mate holds at most: what it works on while the leader is busy, and what is fetched again when it is gone."""
BACKLOG_BYTES = 20 * 10**6
"""What of mates' pages may wait for the store before they get no more rows."""
LEAST_BYTES = 50_000
"""What a page counts at least."""

logger = logging.getLogger(__name__)


def shares(concurrency: int, processes: int) -> tuple[int, int]:
    """How many requests at a time to one host the leader may have, and each of its mates."""
    each = concurrency // processes
    return concurrency - each * (processes - 1), each


class Crew:
    """The leader's side."""

    def __init__(self, context: CrawlContext) -> None:
        self._context = context
        self._uncommitted_bytes = 0
        self._mates: list[_Mate] = []
        self._frontier: FrontierScheduler
        self._tasks: list[asyncio.Task[None]] = []
        self._heard = asyncio.Event()
        self._closing = False

    @classmethod
    async def open(cls, context: CrawlContext, sockets: Sequence[socket.socket]) -> Self:
        """sockets: one for each mate, which waits at the other end for its first message."""
        crew = cls(context)
        for each in sockets:
            reader, writer = await asyncio.open_connection(sock=each)
            crew._mates.append(_Mate(reader, writer, Shared(context)))
        return crew

    def begin(self, frontier: FrontierScheduler) -> None:
        """Hand out rows of this frontier from now on."""
        self._frontier = frontier
        for mate in self._mates:
            mate.send([])
            self._tasks.append(asyncio.create_task(self._listen(mate)))
        self.feed()

    @property
    def at_work(self) -> bool:
        return bool(self._uncommitted_bytes) or any(mate.rows for mate in self._mates)

    def feed(self) -> None:
        """Give rows to the mates that have room, each its share of few. A little at a time is not worth a message."""
        if self._uncommitted_bytes >= BACKLOG_BYTES:
            return
        for mate in self._mates:
            if len(mate.rows) <= ROOM // 2:
                rows = self._frontier.take(min(ROOM, -(-self._frontier.ready // (len(self._mates) + 1))) - len(mate.rows))
                if rows:
                    mate.send(rows)

    def tell(self) -> None:
        """Tell the mates of a new login."""
        for mate in self._mates:
            mate.send([])

    async def close(self) -> None:
        """Wait a moment for what the mates have under way, then let them go."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FINISH_S):
                while self.at_work and self._context.fatal is None:
                    self._heard.clear()
                    await self._heard.wait()
        self._closing = True
        for mate in self._mates:
            mate.writer.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _listen(self, mate: _Mate) -> None:
        while (message := await received(mate.reader)) is not None:
            mate.shared.take(message.news)
            if message.fatal is not None:
                self._frontier.fatal(message.fatal)
                break
            if message.expired is not None:
                await self._log_in(mate, message.expired)
            for page in message.pages:
                assert page.frontier_id is not None
                self._context.count_in(page.counts_in)
                mate.rows.pop(page.frontier_id, None)
                size_bytes = max(page.size_bytes, LEAST_BYTES)
                self._uncommitted_bytes += size_bytes
                self._context.committer.post(page).add_done_callback(partial(self._taken, size_bytes))
            self.feed()
            self._frontier.wake_engine()
            self._heard.set()
        self._lose(mate)
        self._heard.set()

    def _taken(self, size_bytes: int, page: asyncio.Future[None]) -> None:
        self._uncommitted_bytes -= size_bytes
        page.exception()  # retrieved: the committer has said so, and the run ends
        if not self._uncommitted_bytes:
            self._frontier.wake_engine()
            self._heard.set()

    async def _log_in(self, mate: _Mate, epoch: int) -> None:
        """The one login of the run, on behalf of a mate that met an expired one."""
        relogin = self._context.relogin
        assert relogin is not None
        try:
            while not relogin.standing.is_stale(epoch):
                await relogin.renew(epoch)
            await relogin.settled()
        except PipelineError as error:
            self._frontier.fatal(error)
        else:
            mate.send([])

    def _lose(self, mate: _Mate) -> None:
        if self._closing:
            return
        self._mates.remove(mate)
        mate.writer.close()
        if self._context.fatal is None:
            logger.error("a process of this run is gone; the others fetch its %d pages", len(mate.rows))
            self._frontier.give_back(list(mate.rows.values()))


class _Mate:
    """One of the others, as the leader sees it. rows: what it has under way."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, shared: Shared) -> None:
        self.reader = reader
        self.writer = writer
        self.shared = shared
        self.rows: dict[int, Queued] = {}

    def send(self, rows: list[Queued]) -> None:
        self.rows |= {row.id: row for row in rows}
        with contextlib.suppress(RuntimeError, ConnectionError):  # it is just gone: whoever listens gives its rows back
            self.writer.write(packed(Message(self.shared.news(), rows=rows)))
