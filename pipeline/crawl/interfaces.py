"""Interfaces between the parts of a crawl: keys of a request's meta, protocols of committer and followers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from pipeline.errors import PipelineError
from pipeline.model import Page, Request
from pipeline.store.crawl.frontier import Queued

FRONTIER_ID = "pipeline_frontier_id"
"""The meta key that says which frontier row a request answers; None for one kept in memory only."""

START = "pipeline_start"
"""The meta key that says which `start` of the settings a request is: its body and secrets stay out of the store."""

PART = "pipeline_part"
"""The meta key that tells apart requests of one URL: the page number in a body, the item a details page is for."""

FROM_START = "pipeline_begun"
"""The meta key, in the store only, of a request of the spider's own start(): where it goes may be private."""

EPOCH = "pipeline_login_epoch"
"""The meta key that says during which login a request was sent."""

SAFE_TO_REPLAY = "safe_to_replay"
"""The meta key by which a spider says that a POST may be sent twice."""

NOT_BEFORE = "pipeline_not_before"
"""The meta key of a request that waits in the frontier: the event loop's time at which it may go."""

WHOLE = "pipeline_whole"
"""The meta key of a request that is sent again without conditions."""


class HostPausedError(Exception):
    """The host of a request is left alone for now; it goes back to the frontier."""


class PageWriter(Protocol):
    """Commits the pages of a crawl: frontier.committer.Committer, frontier.unproved_pages.UnprovedPages in front of it where
    there is a login, or processes.follower.LeaderClient in a run's further processes."""

    @property
    def idle(self) -> bool: ...
    async def commit(self, page: Page) -> None: ...
    def post(self, page: Page) -> asyncio.Future[None]: ...
    def enqueue(self, request: Request) -> None: ...
    async def close(self) -> None: ...


class RowSource(Protocol):
    """The frontier as the leader of several processes sees it: rows to hand out, and where they come back."""

    @property
    def ready(self) -> int: ...
    def take(self, count: int) -> list[Queued]: ...
    def give_back(self, rows: Sequence[Queued]) -> None: ...
    def wake_engine(self) -> None: ...
    def fatal(self, error: PipelineError) -> None: ...


class Followers(Protocol):
    """The run's further processes as the frontier sees them: processes.leader.FollowerGroup."""

    @property
    def at_work(self) -> bool: ...
    def start(self, frontier: RowSource) -> None: ...
    def feed(self) -> None: ...
    def announce_login(self) -> None: ...
    async def close(self) -> None: ...
