"""Perform a run in a child process: login, crawl, downloads, progress, outcome."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from pipeline.crawl.browser.run_browser import logged_in
from pipeline.crawl.context import CrawlContext
from pipeline.crawl.crawler import crawl, crawl_as_member
from pipeline.crawl.page_limit import PageLimit
from pipeline.crawl.processes.follower import FollowerRelogin, join
from pipeline.crawl.processes.leader import FollowerSockets, shares
from pipeline.crawl.processes.membership import FollowerMembership, LeaderMembership, shared_session
from pipeline.crawl.processes.session_exchange import SharedSession
from pipeline.crawl.scrapy.project.project import ScrapyProject, given_in, load_spider, project_settings
from pipeline.crawl.scrapy.project.reactor import run_on_reactor
from pipeline.crawl.scrapy.project.settings.adoption import adopted
from pipeline.crawl.spider_import import spider_class
from pipeline.errors import PipelineError, StoreError
from pipeline.model import DRY_RUN, Outcome, Progress, Run
from pipeline.run_log import page_file
from pipeline.session import Session, open_session, prepare
from pipeline.session.politeness.host_limits import HostBudget, host_limits_of
from pipeline.session.politeness.robots import Robots
from pipeline.settings import Settings, SpiderTable, quiet_in_s, quiet_until
from pipeline.store import Store
from pipeline.store.crawl import frontier, members
from pipeline.store.crawl.members import Member
from pipeline.store.mail import login_cookies
from pipeline.store.runs import host_pauses, jobs
from pipeline.store.runs.follow_ups import FollowUps
from pipeline.store.runs.runs import HOST_PAUSED, QUIET, Ending, end_run, report_progress
from pipeline.store.session_files import files_of
from pipeline.workers.archiving import archiving_of
from pipeline.workers.lease_fence import LeaseFence
from pipeline.workers.members import has_members
from pipeline.workers.run_downloads import RunDownloads
from pipeline.workers.stop_request import StopRequest

if TYPE_CHECKING:
    from pipeline.session.browser.browser import SessionBrowser

PROGRESS_EVERY_S = 1.0
END_PATIENCE_S = 30.0
NEW_LOGIN_S = 15.0
"""How long, in seconds, a process that joins a run waits until the leader has replaced an expired login."""
STOP_GRACE_S = 10.0
"""How long, in seconds, a stopped crawl waits for requests in flight."""

logger = logging.getLogger(__name__)


class CrawlRun:
    """Performs one run in this process: login, crawl, downloads, outcome.

    stop: whether the parent process has asked this process to stop. followers: the sockets to the follower processes of the run.
    request_follower: a function that asks the parent process to start a follower; used if the spider has `processes = "auto"`.
    """

    def __init__(self, store: Store, settings: Settings, run: Run, stop: StopRequest, followers: Sequence[socket.socket] = (), *,
                 request_follower: Callable[[], None] = lambda: None,
                 clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._store = store
        self._settings = settings
        self._spider = settings.spiders[run.spider]
        self._run = run
        self._stop = stop
        self._followers = FollowerSockets(followers, request=request_follower) if self._spider.processes == "auto" else \
            FollowerSockets(followers, shares(self._spider)[1])
        self._clock = clock
        self._quiet_until: datetime | None = None
        self._project: ScrapyProject | None = None
        self._reactor_loop: asyncio.AbstractEventLoop | None = None
        self._runner: asyncio.Runner | None = None
        self._progress = replace(run.progress)  # not all numbers are zero if an earlier process of this run was killed
        self._dry_run = run.reason == DRY_RUN
        self._has_members = not self._dry_run and has_members(store, settings, self._spider)
        self._downloads: RunDownloads | None = None
        self._ended = threading.Event()
        self._stop_was_requested = False

    def perform(self) -> None:
        """Perform the run and store how it ended."""
        reporter = threading.Thread(target=self._report, name="progress", daemon=True)
        reporter.start()
        try:
            ending = self._attempt()
        except PipelineError as error:
            logger.error("%s", error)  # noqa: TRY400  no traceback, since the user caused the error or can fix it
            ending = Ending(Outcome.FAILED, str(error), type(error).__name__, keep_open=True, retry=error.retry)
        except Exception as error:
            logger.exception("the run failed with an unexpected error")
            ending = Ending(Outcome.FAILED, f"{type(error).__name__}: {error}", "SpiderError", keep_open=True)
        finally:
            self._ended.set()
            reporter.join()
        end_patiently(self._store, self._run, ending, self._figures(), FollowUps.of(self._settings, self._run.spider))

    def _attempt(self) -> Ending:
        """Perform the run and return its ending.

        End the run immediately during quiet hours, or while a host of the spider is paused.
        """
        spidercls = self._load_spider()
        here = self._clock().astimezone(self._settings.zone)
        if (until := quiet_until(self._spider.quiet, here)) is not None:
            return Ending(Outcome.STOPPED, f"paused for quiet hours until {until:%H:%M}", QUIET, keep_open=True)
        if (left_s := quiet_in_s(self._spider.quiet, here)) is not None:
            timer = threading.Timer(left_s, self._stop_for_quiet_hours, [here.astimezone(UTC) + timedelta(seconds=left_s)])
            timer.daemon = True
            timer.start()
        paused = host_pauses.paused_hosts(self._store, now=datetime.now(UTC))
        if (until := host_pauses.paused_until(self._spider, paused)) is not None:
            return Ending(Outcome.STOPPED, f"requests to its host are paused until {self._local(until)} (Retry-After)",
                          HOST_PAUSED, keep_open=True)
        ending = self._crawl_and_download(spidercls, paused)
        if self._quiet_until is None or ending.outcome is not Outcome.STOPPED:
            return ending
        return replace(ending, error=f"paused for quiet hours until {self._quiet_until:%H:%M}; {ending.error}", error_kind=QUIET)

    def _load_spider(self) -> type[Any]:
        """Import the class of the spider. If it belongs to a Scrapy project, load the project, and adopt the values of its settings."""
        spider = self._spider
        if spider.project is None:
            return spider_class(spider.spider, self._settings.folder)
        self._project, spidercls, self._reactor_loop = load_spider(spider.project, spider.spider, self._settings.folder)
        self._spider = adopted(spider, given_in(project_settings(self._project, spidercls)))
        return spidercls

    def _run_loop(self, work: Callable[[], Coroutine[Any, Any, Ending]]) -> Ending:
        if self._reactor_loop is not None:
            return run_on_reactor(self._reactor_loop, work)
        if self._runner is not None:
            return self._runner.run(work())
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(work())

    def _crawl_and_download(self, spidercls: type[Any], paused: Mapping[str, datetime]) -> Ending:
        spider = self._spider
        session = open_session(self._run.spider, spider, self._settings, files_of(self._store, self._run.spider, run=self._run))
        if spider.jar == "fresh" and not frontier.counts(self._store, self._run.pass_id):  # this is the first run of the pass
            session.clear()
        table = spider if self._has_members else _with_share(spider, shares(spider)[0])
        with logged_in(session, table, self._settings.browser, self._store.data_dir, has_loop=self._reactor_loop is not None) as (self._runner, browser):
            self._record_login(session)
            return self._crawl_as(session, table, browser, spidercls, paused)

    def _crawl_as(self, session: Session, table: SpiderTable, browser: SessionBrowser | None, spidercls: type[Any],
                  paused: Mapping[str, datetime]) -> Ending:
        """Crawl and download in a session that is logged in. table: the settings for this process; browser: that of the login, or None."""
        spider = self._spider
        budget = self._open_budget(paused)
        self._stop.add_listener(budget.close)
        robots = _robots(session, budget, spider) if spider.robots else None
        self._downloads = RunDownloads(self._store, self._settings, self._run, session, budget=budget, robots=robots)
        downloads = self._downloads.pool
        self._stop.add_listener(downloads.stop)
        context = CrawlContext(
            store=self._store, run=self._run, session=session, progress=self._progress,
            table=table, session_browser=browser,
            starts=tuple(prepare(start) for start in spider.start), on_downloads=downloads.wake, budget=budget, robots=robots,
            project=self._project, browser=self._settings.browser, fast_engine=self._settings.pipeline.fast_engine,
            keep_pages=not self._dry_run and self._settings.keeps_pages(self._run.spider),
            archive=archiving_of(self._store, self._settings, self._run),
            page_limit=PageLimit(page_file(self._settings.data_dir, self._run.id), spider.page_cpu_limit))
        if self._has_members:
            if earlier := members.read_file(self._store, self._run, members.SESSION):  # of a killed leader: newer than its logins
                session.adopt(session.token, SharedSession.unpacked(earlier).epoch + 1, checkable=session.checkable)
            member = members.lead(self._store, self._run, shared_session(context), followers=spider.first_processes - 1,
                                  request=jobs.defer_follower, now=datetime.now(UTC))
            context.membership = LeaderMembership(context, member, each=shares(spider)[1])
        if not self._dry_run:
            downloads.start()
        try:
            ending = self._run_loop(lambda: self._crawl(context, spidercls))
            if ending.outcome is Outcome.SUCCEEDED and not self._stop and not self._dry_run:
                downloads.drain()
        finally:
            downloads.stop()
            budget.release()
            session.save()
            self._record_login(session)
        return ending if self._dry_run else self._downloads.final_ending(ending, stopped=bool(self._stop))

    async def _crawl(self, context: CrawlContext, spidercls: type[Any]) -> Ending:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        # The crawl is stopped first, because downloads take up to five seconds to stop, and the crawl would fetch more pages in this
        # time.
        self._stop.add_listener(partial(_call_in, loop, stop.set), first=True)
        crawling = asyncio.create_task(crawl(context, spidercls, stop=stop, followers=self._followers))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({crawling, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        # A page that hangs must not delay the stop. The next run will fetch uncommitted pages again.
        done, _ = await asyncio.wait({crawling}, timeout=STOP_GRACE_S if stop.is_set() else None)
        if not done:
            crawling.cancel()
            return Ending(Outcome.STOPPED, "stopped while pages were being fetched", keep_open=True)
        return crawling.result()

    def _open_budget(self, paused: Mapping[str, datetime]) -> HostBudget:
        """Return the request limits of all hosts. Pauses longer than the setting `patience` are stored for later runs."""
        def on_pause(host: str, seconds: float) -> None:
            if seconds <= self._spider.patience:
                return
            now = datetime.now(UTC)
            wanted = now + timedelta(seconds=min(seconds, host_pauses.LONGEST.total_seconds()))
            try:
                until = host_pauses.pause_host(self._store, host, until=wanted, spider=self._run.spider, now=now)
            except PipelineError as error:
                logger.warning("the pause of requests to %s could not be stored: %s", host, error)
            else:
                logger.warning("%s requested a pause until %s (Retry-After): no run sends requests to this host until then",
                               host, self._local(until))

        now, here_s = datetime.now(UTC), time.monotonic()
        return _budget(self._store, self._spider, on_pause=on_pause, paused={
            host: here_s + (until - now).total_seconds() for host, until in paused.items()})

    def _local(self, at: datetime) -> str:
        return f"{at.astimezone(self._settings.zone):%Y-%m-%d %H:%M:%S %Z}"

    def _stop_for_quiet_hours(self, since: datetime) -> None:
        """Stop the run at a checkpoint. The service will continue the pass after the quiet hours."""
        self._quiet_until = quiet_until(self._spider.quiet, since.astimezone(self._settings.zone))
        self._stop.ask()

    def _record_login(self, session: Session) -> None:
        """Store the expiry time of the login, so that an alert can be sent before the login expires.

        If the store raises an error, only log the error.
        """
        try:
            if (found := session.login_cookies()) is not None:
                login_cookies.record(self._store, self._run.spider, *found, now=datetime.now(UTC))
        except PipelineError as error:
            logger.warning("the time at which the login expires could not be stored: %s", error)

    def _figures(self) -> Progress:
        if self._downloads is not None:
            self._downloads.add_figures_to(self._progress)
        return self._progress

    def _report(self) -> None:
        """Renew the lease and store the progress once a second. Kill this process if the lease is lost."""
        fence = LeaseFence()
        if self._store.shared:
            fence.watch(self._ended)
        while not self._ended.wait(PROGRESS_EVERY_S):
            transfers = self._downloads.active() if self._downloads is not None else ()
            try:
                with fence.renewal():
                    ours = report_progress(self._store, self._run, self._figures(), transfers, now=datetime.now(UTC),
                                           on_stop=self._stop_on_request)
            except PipelineError as error:
                logger.warning("the progress could not be stored: %s", error)
                continue
            if not ours:
                logger.error("another process has taken over run %d: this process ends", self._run.id)
                os.killpg(0, signal.SIGKILL)

    def _stop_on_request(self) -> None:
        """Stop at a checkpoint, because a person has asked for it."""
        if not self._stop_was_requested:
            self._stop_was_requested = True
            logger.info("a person has asked to stop the run: it stops at a checkpoint")
            if not self._stop:  # the parent process may have asked first
                self._stop.ask()


def end_patiently(store: Store, run: Run, ending: Ending, progress: Progress, follow_ups: FollowUps) -> None:
    """Store how the run ended. While the database does not respond, as during its restart, try again for END_PATIENCE_S.

    Otherwise a run that succeeded would be stored as killed. Raises StoreError, LeaseLostError, DiskFullError.
    """
    deadline_s = time.monotonic() + END_PATIENCE_S
    while True:
        try:
            end_run(store, run, ending, replace(progress), now=datetime.now(UTC), follow_ups=follow_ups)
        except StoreError as error:
            if not error.retry or time.monotonic() >= deadline_s:
                raise
            logger.warning("the end of the run could not be stored, and is stored again: %s", error)
        else:
            return
        time.sleep(PROGRESS_EVERY_S)


def follow(store: Store, settings: Settings, run: Run, leader: socket.socket) -> None:
    """Fetch pages for the leader process of the run.

    The leader commits the pages; this process writes nothing to the store. leader: the socket to the leader process.
    """
    spider = settings.spiders[run.spider]
    context = partial(_context_of_follower, store, settings, run, PageLimit(Path(os.devnull), spider.page_cpu_limit))

    async def work() -> None:
        await join(leader, context, spider_class(spider.spider, settings.folder))
        os.killpg(0, signal.SIGKILL)  # the leader has ended or has received all pages, so that requests in flight are no longer needed

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())


def take_part(store: Store, settings: Settings, member: Member, stop: StopRequest) -> None:
    """Fetch and commit pages of a run that a process on this or another node leads, until the run ends or a stop is requested."""
    run = member.run
    spider = settings.spiders[run.spider]
    shared = members.read_file(store, run, members.SESSION)
    if not shared:
        logger.info("the run has ended in the meantime")
        return
    page_limit = PageLimit(page_file(settings.data_dir, run.id, member.id), spider.page_cpu_limit)

    async def work() -> None:
        context = _context_of_follower(store, settings, run, page_limit, shares(spider)[1])
        context.is_follower = True
        session = context.session
        session.keep_in_memory()  # only the leader saves the cookie jar
        session.clear()  # the leader shares its own
        fence = LeaseFence()
        fence.watch(threading.Event())
        context.membership = membership = FollowerMembership(context, member, renewal=fence.renewal)
        membership.take_session(SharedSession.unpacked(shared))
        if not await _is_logged_in(store, run, session, membership):
            logger.error("the login of the run is not valid on this node (does the site bind a login to an IP address?): its other processes "
                         "fetch the pages")
            return
        if session.login_state is not None:
            context.relogin = FollowerRelogin(session.login_state, membership)
        stop.add_listener(partial(_call_in, asyncio.get_running_loop(), membership.end_soon))
        try:
            await crawl_as_member(context, spider_class(spider.spider, settings.folder))
        finally:
            context.budget.release()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(work())
        except PipelineError as error:
            logger.error("%s", error)  # noqa: TRY400  the other processes of the run fetch the pages


async def _is_logged_in(store: Store, run: Run, session: Session, membership: FollowerMembership) -> bool:
    """Return whether the site accepts the login of the leader from this node. If the login has just expired, wait for the next one."""
    login_state = session.login_state
    if login_state is None or not session.checkable:
        return True
    if await asyncio.to_thread(login_state.verify, login_state.epoch, time.monotonic()):
        return True
    until_s, epoch = time.monotonic() + NEW_LOGIN_S, login_state.epoch
    while not login_state.is_stale(epoch) and time.monotonic() < until_s:
        await asyncio.sleep(PROGRESS_EVERY_S)
        if shared := members.read_file(store, run, members.SESSION):
            membership.take_session(SharedSession.unpacked(shared))
    return await asyncio.to_thread(login_state.verify, login_state.epoch, time.monotonic())


def _context_of_follower(store: Store, settings: Settings, run: Run, page_limit: PageLimit, concurrency: int) -> CrawlContext:
    spider = settings.spiders[run.spider]
    return CrawlContext(
        store=store, run=run, table=_with_share(spider, concurrency),
        session=open_session(run.spider, spider, settings, files_of(store, run.spider, run=run)),
        starts=tuple(prepare(start) for start in spider.start), progress=Progress(), on_downloads=lambda: None,
        budget=_budget(store, spider), page_limit=page_limit, browser=settings.browser,
        keep_pages=run.reason != DRY_RUN and settings.keeps_pages(run.spider), archive=archiving_of(store, settings, run), fast_engine=settings.pipeline.fast_engine)


def _budget(store: Store, spider: SpiderTable, **more: Any) -> HostBudget:
    return HostBudget(host_limits_of(store), delay_s=spider.delay, concurrency=spider.concurrency, **more)


def _robots(session: Session, budget: HostBudget, spider: SpiderTable) -> Robots:
    def slow_down(url: str, delay_s: float) -> None:
        if delay_s > spider.delay:
            budget.slow_down(url, min(delay_s, spider.patience))
    return Robots(session.look, on_delay=slow_down)


def _with_share(spider: SpiderTable, concurrency: int) -> SpiderTable:
    """Return a copy of the spider's settings table with `concurrency` reduced to this process's share."""
    return spider.model_copy(update={"concurrency": concurrency})


def _call_in(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the crawl has ended and its event loop is closed
        loop.call_soon_threadsafe(function)
