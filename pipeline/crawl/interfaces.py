"""Interfaces between parts of a crawl: keys of a request's meta, protocols of committer and followers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from pipeline.errors import PipelineError
from pipeline.model import Page, Request
from pipeline.store.crawl.frontier import Queued

FRONTIER_ID = "pipeline_frontier_id"
"""The meta key with the frontier row of a request; its value is None for a request that is kept in memory only."""

START = "pipeline_start"
"""The meta key with the index of the request's `start` in the settings, whose body and secrets stay out of the store."""

VARIANT = "pipeline_part"
"""The meta key that distinguishes requests with the same URL: a page number in the body, the item of a details page."""

FROM_START = "pipeline_begun"
"""The meta key, in the store only, of a request from the spider's start(): its address may be a private one."""

EPOCH = "pipeline_login_epoch"
"""The meta key with the epoch of the login that a request was sent with."""

SAFE_TO_REPLAY = "safe_to_replay"
"""The meta key by which a spider allows a POST to be sent twice."""

NOT_BEFORE = "pipeline_not_before"
"""The meta key of a request that is delayed: the event loop's time before which it must not be sent."""

UNCONDITIONAL = "pipeline_whole"
"""The meta key of a request that must be sent without conditions, so that its page comes whole and not as a 304."""


class HostPausedError(Exception):
    """The host of a request is paused (Retry-After); the request goes back to the frontier."""


class PageWriter(Protocol):
    """Commits the pages of a crawl.

    Implemented by frontier.committer.Committer, by frontier.unproved_pages.UnprovedPages in front of it for a session with
    a login, and by processes.follower.LeaderClient in a follower process.
    """

    @property
    def idle(self) -> bool: ...
    async def commit(self, page: Page) -> None: ...
    def post(self, page: Page) -> asyncio.Future[None]: ...
    def enqueue(self, request: Request) -> None: ...
    async def close(self) -> None: ...


class RowSource(Protocol):
    """The frontier as the leader of several processes uses it: rows to hand out to followers, and to take back."""

    @property
    def ready(self) -> int: ...
    def take(self, count: int) -> list[Queued]: ...
    def give_back(self, rows: Sequence[Queued]) -> None: ...
    def wake_engine(self) -> None: ...
    def fatal(self, error: PipelineError) -> None: ...


class Followers(Protocol):
    """The run's follower processes as the frontier uses them; implemented by processes.leader.FollowerGroup."""

    @property
    def at_work(self) -> bool: ...
    def start(self, frontier: RowSource) -> None: ...
    def feed(self) -> None: ...
    def announce_login(self) -> None: ...
    async def close(self) -> None: ...
