"""A further process of a run: it fetches the rows its leader hands it, and hands back their pages to be committed."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import replace

import scrapy
from scrapy.spiders import Spider

from pipeline.crawl.context import CrawlContext
from pipeline.crawl.crawler import make_crawler
from pipeline.crawl.frontier.requests import RowScheduler
from pipeline.crawl.processes.protocol import Message, Shared, packed, received
from pipeline.crawl.relogin import Relogin
from pipeline.errors import PipelineError, SpiderError
from pipeline.model import Page, Request
from pipeline.session.login.expiry import Standing
from pipeline.store.crawl.frontier import Queued, Seen


class Postman:
    """The socket to the leader; to Scrapy it is what commits. What comes of a moment goes in one message."""

    def __init__(self, context: CrawlContext, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._context = context
        self._reader = reader
        self._writer = writer
        self._shared = Shared(context)
        self._pages: list[Page] = []
        self._seen = Seen()
        self._expired: int | None = None
        self.rows: deque[Queued] = deque()
        self.said = asyncio.Event()
        """Set whenever the leader has said something."""
        self.on_rows: Callable[[], None] = lambda: None

    async def listen(self) -> None:
        """Take what the leader sends, until it is gone."""
        while (message := await received(self._reader)) is not None:
            self.take(message)

    def take(self, message: Message) -> None:
        standing = self._context.session.standing
        epoch = standing.epoch if standing is not None else 0
        self._shared.take(message.news)
        if standing is not None and standing.epoch != epoch:
            self._seen = Seen()
        self.rows.extend(message.rows)
        self.said.set()
        self.on_rows()

    @property
    def idle(self) -> bool:
        return True

    async def commit(self, page: Page) -> None:
        self.post(page)

    def post(self, page: Page) -> asyncio.Future[None]:
        """Done at once: the leader hands out more only when it has committed what it was sent."""
        loop = asyncio.get_running_loop()
        if not self._pages:
            loop.call_soon(self._send)
        standing = self._context.session.standing
        if standing is None or not standing.is_stale(page.epoch):  # else the leader has it fetched again
            links = self._seen.besides(page.links)
            self._seen.add(links)  # committed with this page, or the run ends, or there is a new login
            page = replace(page, links=tuple(links))
        self._pages.append(page)
        done = loop.create_future()
        done.set_result(None)
        return done

    def enqueue(self, request: Request) -> None:
        raise AssertionError("a mate begins no request of its own")

    def ask_login(self, epoch: int) -> None:
        """Say that the login of `epoch` has expired."""
        self._expired = epoch
        self._send()

    def end(self, error: PipelineError) -> None:
        """Say what ends this process, and so the run."""
        self._send(error)

    async def close(self) -> None:
        self._writer.close()

    def _send(self, fatal: PipelineError | None = None) -> None:
        pages, self._pages = self._pages, []
        expired, self._expired = self._expired, None
        self._writer.write(packed(Message(self._shared.news(), pages=pages, expired=expired, fatal=fatal)))


class MateScheduler(RowScheduler):
    """Issues the rows the leader sent."""

    def open(self, spider: Spider) -> None:
        super().open(spider)
        assert isinstance(self._context.committer, Postman)
        self._postman = self._context.committer
        self._postman.on_rows = self.wake_engine

    def has_pending_requests(self) -> bool:
        return True  # until the leader ends this process

    def enqueue_request(self, request: scrapy.Request) -> bool:
        self._send_again(request)
        return True

    def next_request(self) -> scrapy.Request | None:
        self._due()
        if self._again:
            return self._again.popleft()
        return self._issue(self._postman.rows.popleft()) if self._postman.rows else None


class LeadersLogin(Relogin):
    """The one login of the run: the leader makes it, and all wait for it."""

    def __init__(self, standing: Standing, postman: Postman) -> None:
        super().__init__(standing)
        self._postman = postman
        self._asked = -1

    async def settled(self) -> int:
        while self._asked == self.standing.epoch:
            await self._said()
        return self.standing.epoch

    async def renew(self, epoch: int) -> None:
        if self._asked < epoch and not self.standing.is_stale(epoch):
            self._asked = epoch
            self._postman.ask_login(epoch)
        while not self.standing.is_stale(epoch):
            await self._said()

    async def _said(self) -> None:
        self._postman.said.clear()
        await self._postman.said.wait()


async def join(leader: socket.socket, context_of: Callable[[], CrawlContext], spidercls: type[Spider]) -> None:
    """Fetch what the leader hands out until it is gone.

    context_of: asked once the leader has logged in; its table's concurrency is this process's share.
    """
    reader, writer = await asyncio.open_connection(sock=leader)
    first = await received(reader)
    if first is None:
        return
    context = context_of()
    context.mate = True
    context.session.jar.path = None  # the leader keeps it
    context.session.jar.clear()
    postman = Postman(context, reader, writer)
    context.committer = postman
    postman.take(first)
    if context.session.standing is not None:
        context.relogin = LeadersLogin(context.session.standing, postman)
    listening = asyncio.create_task(postman.listen())
    crawling = asyncio.create_task(make_crawler(context, spidercls).crawl_async())
    await asyncio.wait({listening, crawling}, return_when=asyncio.FIRST_COMPLETED)
    if crawling.done():
        postman.end(context.fatal or SpiderError(f"a process of this run ended: {crawling.exception()!r}"))
        await writer.drain()
    writer.close()
