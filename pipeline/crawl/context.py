"""The state that Scrapy's components share during one crawl: store, session, limits, failures, notes."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

from pipeline.crawl.archiving import Archiving
from pipeline.crawl.extract.links import hosts_of
from pipeline.crawl.interfaces import EPOCH, SAFE_TO_REPLAY, Followers, Membership, PageWriter
from pipeline.crawl.page_in_progress import PagesInProgress
from pipeline.crawl.page_limit import PageLimit
from pipeline.crawl.relogin import Relogin
from pipeline.errors import PipelineError
from pipeline.hosts import HostSet, host_of
from pipeline.model import Json, Progress, Request, Run
from pipeline.session import PreparedStart, Session
from pipeline.session.browser.render_rules import RenderRules
from pipeline.session.politeness.host_limits import HostBudget
from pipeline.session.politeness.robots import FORBIDDEN, Robots, RobotsTxt
from pipeline.settings import BrowserTable, SpiderTable
from pipeline.store import Store
from pipeline.store.crawl import items
from pipeline.store.runs.notes import is_known

if TYPE_CHECKING:
    from scrapy import Request as ScrapyRequest
    from scrapy.crawler import Crawler
    from scrapy.http import Response

    from pipeline.crawl.scrapy.project.project import ScrapyProject
    from pipeline.session.browser.browser import SessionBrowser

logger = logging.getLogger(__name__)

@dataclass
class Failures:
    """The numbers of failed pages, and the first error of each kind.

    transient: the number of failures that may go away on a retry. permanent: the number of all other failures. robots: how many
    of the permanent failures were caused by robots.txt. spider: how many failures were caused by the spider's own code. Not failures
    are ignored: the number of requests that middlewares of the spider wanted to be ignored; and handled: the number of pages with an
    exception that the spider or one of its middlewares has handled.
    """

    transient: int = 0
    permanent: int = 0
    spider: int = 0
    robots: int = 0
    ignored: int = 0
    handled: int = 0
    first: str = ""
    first_by_robots: str = ""
    first_ignored: str = ""
    first_handled: str = ""
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

    def ignore(self, request: str) -> None:
        """Count a request that was ignored. request: its URL and the reason."""
        self.ignored += 1
        self.first_ignored = self.first_ignored or request

    def handle(self, page: str) -> None:
        """Count a page with an exception that was handled. page: its URL and the exception."""
        self.handled += 1
        self.first_handled = self.first_handled or page

    def merge(self, other: Failures) -> None:
        """Add the failures that another process of the run has counted."""
        for name in ("transient", "permanent", "spider", "robots", "ignored", "handled"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.first = self.first or other.first
        self.first_by_robots = self.first_by_robots or other.first_by_robots
        self.first_ignored = self.first_ignored or other.first_ignored
        self.first_handled = self.first_handled or other.first_handled
        self.first_kind = self.first_kind or other.first_kind


@dataclass
class CrawlContext:
    """The state of one run's crawl.

    starts: the start requests from the settings, in the same order, with secrets filled in.
    """

    store: Store
    run: Run
    table: SpiderTable
    session: Session
    starts: tuple[PreparedStart, ...]
    progress: Progress
    on_downloads: Callable[[], None]
    failures: Failures = field(default_factory=Failures)
    budget: HostBudget = field(default_factory=HostBudget)
    page_limit: PageLimit | None = None
    on_response: Callable[[ScrapyRequest, Response], None] = lambda request, response: None  # the download handler calls this with each response
    limit: int | None = None  # how many requests to one host are sent at the same time, if this was changed during the crawl
    on_limit: list[Callable[[int], None]] = field(default_factory=list)  # called with each new limit: one function of each download handler
    robots: Robots | None = None  # robots.txt for file downloads; the middleware ObeyRobots adds each robots.txt that it fetches for pages
    known_robots: dict[str, RobotsTxt] = field(default_factory=dict)  # each robots.txt that a process of this run has fetched for pages, by URL
    relogin: Relogin | None = None
    followers: Followers | None = None  # set in the leader process of a run with several processes
    is_follower: bool = False
    membership: Membership | None = None  # if several processes, on any nodes, commit the pages of the run
    fatal: PipelineError | None = None
    render_rules: RenderRules = field(init=False)  # which pages are rendered in a browser
    hosts: HostSet = field(init=False)  # the hosts that links may lead to
    added_hosts: list[str] = field(default_factory=list)  # hosts that start URLs redirected to
    offsite: set[str] = field(default_factory=set)  # links that are not followed because they lead to other hosts
    notes: list[str] = field(default_factory=list)  # notes for the run's summary line, which `pipeline history` and digests show
    archive_notes: list[str] = field(default_factory=list)  # those of the notes that say what is missing in the archive
    capped: bool = False
    capped_by: str = ""
    first: tuple[Request, ...] = ()  # start requests that are put into the frontier directly; the spider's start() then yields nothing
    stopping: Callable[[], bool] = lambda: False  # checked before each request, since a stop may be requested while the engine is starting
    keep_unseen: bool = False
    keep_pages: bool = False
    archive: Archiving | None = None  # how the pages are archived; None archives nothing
    fast_engine: bool = True
    observers: list[object] = field(default_factory=list)  # listeners of signals, to which Scrapy has only weak references
    project: ScrapyProject | None = None  # the Scrapy project of the spider
    browser: BrowserTable = field(default_factory=BrowserTable)
    session_browser: SessionBrowser | None = None  # the browser in which the login was made or checked, and in which the pages are rendered
    check_robots: Callable[[str], Awaitable[None]] | None = None  # raises PipelineError if robots.txt forbids a URL; set by the middleware ObeyRobots
    pages: PagesInProgress = field(default_factory=PagesInProgress)
    decoded: WeakKeyDictionary[Response, bytes] = field(default_factory=WeakKeyDictionary)  # decoded bodies

    def page_step(self, frontier_id: int | None) -> contextlib.AbstractContextManager[None]:
        """Return a context manager that limits the CPU time of one step of processing a page, such as parsing.

        The limit is the setting `page_cpu_limit`. The step must contain no await.
        """
        return contextlib.nullcontext() if self.page_limit is None else self.page_limit.step(frontier_id)

    def __post_init__(self) -> None:
        self.hosts = hosts_of(self.table)
        self.render_rules = RenderRules.of(self.table)
        self._committer: PageWriter | None = None

    @property
    def committer(self) -> PageWriter:
        """The object that commits the pages of this crawl.

        The scheduler sets the object when the crawl starts. In a follower process, join() sets the object before the crawl.
        """
        assert self._committer is not None
        return self._committer

    @committer.setter
    def committer(self, writer: PageWriter) -> None:
        self._committer = writer

    async def close_committer(self) -> None:
        """Commit the pages that are not yet written and close the committer; do nothing if no committer was set."""
        if self._committer is not None:
            await self._committer.close()

    def known_keys(self, keys: Iterable[str]) -> set[str]:
        """Return the keys that belong to items of this spider in the store."""
        return items.known_keys(self.store, self.run.spider, keys)

    def latest_items(self, limit: int) -> list[dict[str, Json]]:
        """Return up to `limit` items of this spider from the store, the items of the newest passes first."""
        return items.latest(self.store, self.run.spider, limit=limit)

    def note(self, text: str) -> None:
        """Log a note, and add it to the run's summary line, which `pipeline history` and digests show.

        Do nothing if the run already has the same note.
        """
        if text not in self.notes:
            self.notes.append(text)
            logger.warning("%s", text)

    def note_once(self, text: str) -> None:
        """Add a note about the settings or the code of a spider, unless an earlier run has said the same. It is always logged."""
        if is_known(self.store, self.run, text):
            logger.warning("%s", text)
        else:
            self.note(text)

    def add_host(self, place: str) -> None:
        """Add a host to the hosts that links may lead to. place: the host and port ("name:port")."""
        if place and place not in self.added_hosts:
            self.added_hosts.append(place)
            self.hosts.add(place)
            if self.session.login_state is not None:
                self.session.login_state.expiry.add_host(host_of(f"//{place}"))

    def login_of(self, method: str, meta: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a Page that describe the login with which the page's request was sent.

        For a request that was not sent, the fields describe the current login.
        """
        login_state = self.session.login_state
        if login_state is None:
            return {}
        return {"epoch": meta.get(EPOCH, login_state.epoch),
                "repeatable": login_state.expiry.may_replay(method) or bool(meta.get(SAFE_TO_REPLAY))}


def context_of(crawler: Crawler) -> CrawlContext:
    """Return the context of a crawler's run, which make_crawler() has stored as `crawler.pipeline`."""
    return cast("CrawlContext", cast("Any", crawler).pipeline)
