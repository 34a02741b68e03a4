"""Interfaces between the modules of a crawl.

Meta keys, and protocols of the committer, the followers and the members.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from pipeline.errors import PipelineError
from pipeline.model import Page, Request
from pipeline.store.crawl.commit import MemberCommit
from pipeline.store.crawl.frontier import Queued
from pipeline.store.crawl.members import Member

FRONTIER_ID = "pipeline_frontier_id"
"""The meta key with the id of the frontier row of a request; the value is None for a request that is only in memory."""

START = "pipeline_start"
"""The meta key with the index of a start request in the settings. Bodies and secrets of start requests are never stored."""

VARIANT = "pipeline_part"
"""The meta key whose value distinguishes requests with the same URL, such as the page number in the request body."""

FROM_START = "pipeline_begun"
"""The meta key that marks a request yielded by the spider's start(). Such a request may go to a private address.

The key is only used in the store.
"""

EPOCH = "pipeline_login_epoch"
"""The meta key with the number (epoch) of the login that was current when a request was sent."""

SAFE_TO_REPLAY = "safe_to_replay"
"""The meta key that a spider sets to allow a POST request to be sent twice."""

NOT_BEFORE = "pipeline_not_before"
"""The meta key of a delayed request: the earliest time, on the event loop's clock, at which the request may be sent."""

UNCONDITIONAL = "pipeline_whole"
"""The meta key of a request that must not be conditional, so that the response is the whole page and not a 304."""

RENDERED = "rendered"
"""The meta key, only in memory, with the Rendered of the page, without its body, if the page was opened in a browser."""

EXCHANGES = "pipeline_exchanges"
"""The meta key, only in memory, with the requests and responses of a page, redirects included, if the spider archives pages."""

IS_RENDERED = "rendered"
"""The flag of a response whose body is the DOM of a page, as HTML in UTF-8."""

CACHED = "cached"
"""The flag, as Scrapy names it, of a response whose body is the cached one."""


class HostPausedError(Exception):
    """The host of a request is paused (Retry-After). The request will be sent after the pause."""


class PageWriter(Protocol):
    """Commits the pages of a crawl.

    Implementations: frontier.committer.Committer; frontier.unproved_pages.UnprovedPages, which wraps a Committer if the session
    has a login; processes.follower.LeaderClient in a follower process.
    """

    @property
    def idle(self) -> bool: ...
    async def commit(self, page: Page) -> None: ...
    def post(self, page: Page) -> asyncio.Future[None]: ...
    def enqueue(self, request: Request) -> None: ...
    async def close(self) -> None: ...


class Membership(Protocol):
    """The part of this process in a run whose pages several processes, on any nodes, fetch and commit.

    Implemented by processes.membership.
    """

    member: Member
    closing: bool
    over: bool

    def start(self, rows: MemberRows) -> None: ...
    def commit_of(self, pages: Sequence[Page]) -> MemberCommit: ...
    def end_soon(self) -> None: ...
    async def close(self) -> None: ...


class MemberRows(Protocol):
    """The scheduler of a member, as its membership sees it. Implemented by processes.member_scheduler.MemberScheduler."""

    @property
    def changes(self) -> int: ...
    @property
    def is_idle(self) -> bool: ...
    def look_for_rows(self) -> None: ...
    def give_back_all(self) -> None: ...
    def end_soon(self) -> None: ...
    def limit_requests(self, per_host: int) -> None: ...
    def fatal(self, error: PipelineError) -> None: ...
    def wake_engine(self) -> None: ...


class RowSource(Protocol):
    """The frontier, as the leader process sees it: it gives rows to followers, and takes back the rows of a dead follower."""

    @property
    def ready(self) -> int: ...
    def take(self, count: int) -> list[Queued]: ...
    def give_back(self, rows: Sequence[Queued]) -> None: ...
    def wake_engine(self) -> None: ...
    def limit_requests(self, per_host: int) -> None: ...
    def fatal(self, error: PipelineError) -> None: ...


class Followers(Protocol):
    """The run's follower processes, as seen by the frontier.

    Implemented by processes.leader.FollowerGroup.
    """

    @property
    def at_work(self) -> bool: ...
    def start(self, frontier: RowSource) -> None: ...
    def feed(self) -> None: ...
    def announce_login(self) -> None: ...
    async def close(self) -> None: ...
