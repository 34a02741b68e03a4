"""A follower process of a run: fetches the rows that the leader sends, and returns their pages."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import scrapy
from scrapy.spiders import Spider

from pipeline.crawl.context import CrawlContext, Failures
from pipeline.crawl.crawler import make_crawler
from pipeline.crawl.frontier.requests import RowScheduler
from pipeline.crawl.processes.messages import Message, SessionSync, packed, received
from pipeline.crawl.relogin import Relogin
from pipeline.errors import PipelineError, SpiderError
from pipeline.model import Page, Request
from pipeline.session.login.expiry import LoginState
from pipeline.store.crawl.commit import SeenRequests
from pipeline.store.crawl.frontier import Queued


class LeaderClient:
    """The connection to the leader, and the PageWriter of a follower process.

    Pages posted in the same iteration of the event loop are sent in one message.
    """

    def __init__(self, context: CrawlContext, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._context = context
        self._reader = reader
        self._writer = writer
        self._sync = SessionSync(context)
        self._pages: list[Page] = []
        self._seen = SeenRequests()
        self._expired: int | None = None
        self._notes_sent = 0
        self.rows: deque[Queued] = deque()
        self.heard = asyncio.Event()
        """An event that is set whenever a message from the leader has arrived."""
        self.on_rows: Callable[[], None] = lambda: None

    def report_ready(self) -> None:
        """Tell the leader that this process is ready for rows."""
        self._send()

    async def listen(self) -> None:
        """Process the leader's messages until the leader closes the connection."""
        while (message := await received(self._reader)) is not None:
            self.take(message)

    def take(self, message: Message) -> None:
        login_state = self._context.session.login_state
        epoch = login_state.epoch if login_state is not None else 0
        self._sync.take(message.update)
        if login_state is not None and login_state.epoch != epoch:
            self._seen = SeenRequests()
        self.rows.extend(message.rows)
        self.heard.set()
        self.on_rows()

    @property
    def idle(self) -> bool:
        return True

    async def commit(self, page: Page) -> None:
        self.post(page)

    def post(self, page: Page) -> asyncio.Future[None]:
        """Send the page to the leader, and return a future that is already done.

        A follower need not wait until the page is committed: the leader sends no more rows while many pages are uncommitted.
        """
        loop = asyncio.get_running_loop()
        if not self._pages:
            loop.call_soon(self._send)
        login_state = self._context.session.login_state
        if login_state is None or not login_state.is_stale(page.epoch):  # a page fetched with an earlier login is not sent: the leader will have it fetched again
            links = self._seen.unseen(page.links)
            self._seen.add(links)  # the leader commits these links with this page, unless the run ends or a new login is made
            page = replace(page, links=tuple(links))
        self._pages.append(page)
        done = loop.create_future()
        done.set_result(None)
        return done

    def enqueue(self, request: Request) -> None:
        raise AssertionError("a follower process must not add requests to the frontier")

    def ask_login(self, epoch: int) -> None:
        """Ask the leader for a new login, because the login with this epoch has expired."""
        self._expired = epoch
        self._send()

    def end(self, error: PipelineError) -> None:
        """Send the leader the error that is ending this process and will therefore end the whole run."""
        self._send(error)

    async def close(self) -> None:
        self._writer.close()

    def _send(self, fatal: PipelineError | None = None) -> None:
        pages, self._pages = self._pages, []
        expired, self._expired = self._expired, None
        context = self._context
        notes = context.notes[self._notes_sent:]
        self._notes_sent += len(notes)
        failures, context.failures = context.failures, Failures()
        self._writer.write(packed(Message(self._sync.update(), pages=pages, notes=notes,
                                          failures=failures if failures != Failures() else None, expired=expired, fatal=fatal)))


class FollowerScheduler(RowScheduler):
    """The Scrapy scheduler of a follower process, which returns requests for the rows sent by the leader."""

    def open(self, spider: Spider) -> None:
        super().open(spider)
        assert isinstance(self._context.committer, LeaderClient)
        self._leader = self._context.committer
        self._leader.on_rows = self.wake_engine

    def has_pending_requests(self) -> bool:
        return True  # until the leader closes the connection

    def enqueue_request(self, request: scrapy.Request) -> bool:
        self._send_again(request)
        return True

    def next_request(self) -> scrapy.Request | None:
        self._release_delayed()
        if self._resend:
            return self._resend.popleft()
        return self._issue(self._leader.rows.popleft()) if self._leader.rows else None


class Leader(Protocol):
    """The leader, as asked for a new login. heard: an event that is set whenever something from the leader has arrived."""

    heard: asyncio.Event

    def ask_login(self, epoch: int) -> None: ...


class FollowerRelogin(Relogin):
    """The Relogin of a process that is not the leader: asks the leader to log in, and waits for the new login."""

    def __init__(self, login_state: LoginState, leader: Leader) -> None:
        super().__init__(login_state)
        self._leader = leader
        self._asked = -1

    async def settled(self) -> int:
        while self._asked == self.login_state.epoch:
            await self._heard()
        return self.login_state.epoch

    async def renew(self, epoch: int) -> None:
        if self._asked < epoch and not self.login_state.is_stale(epoch):
            self._asked = epoch
            self._leader.ask_login(epoch)
        while not self.login_state.is_stale(epoch):
            await self._heard()

    async def _heard(self) -> None:
        self._leader.heard.clear()
        await self._leader.heard.wait()


async def join(leader: socket.socket, make_context: Callable[[int], CrawlContext], spidercls: type[Spider]) -> None:
    """Fetch the pages of the frontier rows that the leader sends, until the leader closes the connection.

    leader: the socket to the leader process. make_context: a function that creates the crawl's context; it is called after the
    leader has logged in, with this process's share of the spider's concurrency.
    """
    reader, writer = await asyncio.open_connection(sock=leader)
    first = await received(reader)
    if first is None:
        return
    context = make_context(first.concurrency)
    context.is_follower = True
    context.session.keep_in_memory()  # only the leader saves the cookie jar
    context.session.clear()  # the first message has all cookies and the web storage
    leader_client = LeaderClient(context, reader, writer)
    context.committer = leader_client
    leader_client.take(first)
    leader_client.report_ready()
    if context.session.login_state is not None:
        context.relogin = FollowerRelogin(context.session.login_state, leader_client)
    listening = asyncio.create_task(leader_client.listen())
    crawling = asyncio.create_task(make_crawler(context, spidercls).crawl_async())
    await asyncio.wait({listening, crawling}, return_when=asyncio.FIRST_COMPLETED)
    if crawling.done():
        leader_client.end(context.fatal or SpiderError(f"a follower process of this run ended unexpectedly: {crawling.exception()!r}"))
        await writer.drain()
    writer.close()
