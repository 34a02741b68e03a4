"""What Scrapy's components share during one crawl. They find it at `crawler.pipeline`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast
from weakref import WeakKeyDictionary

from pipeline.crawl.extract.links import hosts_of
from pipeline.crawl.page_limit import PageLimit
from pipeline.errors import PipelineError
from pipeline.hosts import HostSet, host_of
from pipeline.model import Json, Page, Progress, Request, Run
from pipeline.session import PreparedStart, Session
from pipeline.session.politeness.host_limits import HostBudget
from pipeline.session.politeness.robots import FORBIDDEN, Robots
from pipeline.settings import SpiderTable
from pipeline.store import Store
from pipeline.store.crawl import items

if TYPE_CHECKING:
    from scrapy.crawler import Crawler
    from scrapy.http import Response

    from pipeline.crawl.processes.leader import Crew
    from pipeline.crawl.relogin import Relogin

logger = logging.getLogger(__name__)

FRONTIER_ID = "pipeline_frontier_id"
"""The meta key that says which frontier row a request answers; None for one kept in memory only."""

START = "pipeline_start"
"""The meta key that says which `start` of the settings a request is: its body and secrets stay out of the store."""


PART = "pipeline_part"
"""The meta key that tells apart requests of one URL: the page number in a body, the item a details page is for."""


BEGUN = "pipeline_begun"
"""The meta key, in the store only, of a request of the spider's own start(): where it goes may be private."""

EPOCH = "pipeline_login_epoch"
"""The meta key that says during which login a request was sent."""

SAFE = "safe_to_replay"
"""The meta key by which a spider says that a POST may be sent twice."""

NOT_BEFORE = "pipeline_not_before"
"""The meta key of a request that waits in the frontier: the event loop's time at which it may go."""


class HostPausedError(Exception):
    """The host of a request is left alone for now; it goes back to the frontier."""


@dataclass
class Failures:
    """Pages that were of no use, counted by whether that can pass, with the first one's words. robots: those kept out by robots.txt,
    which are among the permanent ones."""

    transient: int = 0
    permanent: int = 0
    spider: int = 0
    robots: int = 0
    first: str = ""
    first_by_robots: str = ""
    first_kind: str = ""

    def add(self, error: str, kind: str, *, transient: bool) -> None:
        if transient:
            self.transient += 1
        else:
            self.permanent += 1
        if kind == "SpiderError":
            self.spider += 1
        if FORBIDDEN in error:
            self.robots += 1
            self.first_by_robots = self.first_by_robots or error
        elif not self.first:
            self.first = error
        self.first_kind = self.first_kind or kind


class Writer(Protocol):
    """Who commits for a crawl: committer.Committer, unproved.UnprovedPages in front of it where there is a login, or in
    a run's further processes mate.Postman."""

    @property
    def idle(self) -> bool: ...
    async def commit(self, page: Page) -> None: ...
    def post(self, page: Page) -> asyncio.Future[None]: ...
    def enqueue(self, request: Request) -> None: ...
    async def close(self) -> None: ...


@dataclass
class CrawlContext:
    """One run's crawl. starts: the settings' requests, secrets revealed, by index."""

    store: Store
    run: Run
    table: SpiderTable
    session: Session
    starts: tuple[PreparedStart, ...]
    progress: Progress
    on_downloads: Callable[[], None]
    failures: Failures = field(default_factory=Failures)
    committer: Writer = field(init=False)
    budget: HostBudget = field(default_factory=HostBudget)
    page_limit: PageLimit | None = None
    robots: Robots | None = None  # told what is read of robots.txt, for files
    relogin: Relogin | None = None
    crew: Crew | None = None  # the run's other processes, in the one that leads them
    mate: bool = False  # whether this is one of the others
    fatal: PipelineError | None = None
    hosts: HostSet = field(init=False)  # where links may lead
    counted_in: list[str] = field(default_factory=list)  # hosts that starts redirected to
    elsewhere: set[str] = field(default_factory=set)  # links that were left out for leading to other hosts
    notes: list[str] = field(default_factory=list)  # what else the run's line says
    capped: bool = False
    capped_by: str = ""
    first: tuple[Request, ...] = ()  # put into the frontier at once, instead of one by one by the spider's start()
    stopping: Callable[[], bool] = lambda: False  # asked before each request: a stop may come while the engine starts
    keep_unseen: bool = False
    keep_pages: bool = False
    decoded: WeakKeyDictionary[Response, bytes] = field(default_factory=WeakKeyDictionary)  # bodies of coded answers, by them

    def page_step(self, frontier_id: int | None) -> contextlib.AbstractContextManager[None]:
        """One step of a page that takes CPU time, such as parsing it, within page_cpu_limit. No await may be in it."""
        return contextlib.nullcontext() if self.page_limit is None else self.page_limit.step(frontier_id)

    def __post_init__(self) -> None:
        self.hosts = hosts_of(self.table)

    def known_keys(self, keys: Iterable[str]) -> set[str]:
        """Those of the keys under which the spider has items."""
        return items.known_keys(self.store, self.run.spider, keys)

    def latest_items(self, limit: int) -> list[dict[str, Json]]:
        """Of the spider, those of the newest passes first."""
        return items.latest(self.store, self.run.spider, limit=limit)

    def note(self, text: str) -> None:
        """Say something of this run once, in its log and in its line."""
        if text not in self.notes:
            self.notes.append(text)
            logger.warning("%s", text)

    def count_in(self, place: str) -> None:
        """Links may lead to this host, too."""
        if place and place not in self.counted_in:
            self.counted_in.append(place)
            self.hosts.add(place)
            if self.session.standing is not None:
                self.session.standing.expiry.count_in(host_of(f"//{place}"))

    def login_of(self, method: str, meta: Mapping[str, Any]) -> dict[str, Any]:
        """What a Page says of the login its request was sent with (the present one where it was not sent)."""
        standing = self.session.standing
        if standing is None:
            return {}
        return {"epoch": meta.get(EPOCH, standing.epoch),
                "repeatable": standing.expiry.may_replay(method) or bool(meta.get(SAFE))}


def context_of(crawler: Crawler) -> CrawlContext:
    return cast("CrawlContext", cast("Any", crawler).pipeline)
