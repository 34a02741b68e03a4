"""A child process: one crawl with its session and downloads, or the rendering of one digest.

Started from a forkserver that has imported this module, and so Scrapy; reached by name only, so that the
service itself never does. The child leads a session of its own and ends when its pipe to the parent closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import json
import logging
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import uvloop

from pipeline import logs
from pipeline.crawl.context import CrawlContext
from pipeline.crawl.crawler import PRELOAD, crawl, refusals_note, spider_class
from pipeline.crawl.extract import Document
from pipeline.crawl.extract.try_rules import session_note, try_spider
from pipeline.crawl.middlewares import pdf
from pipeline.crawl.page_limit import PageLimit
from pipeline.crawl.processes.follower import join
from pipeline.crawl.processes.leader import shares
from pipeline.download.limits import Limits
from pipeline.download.pool import Downloads
from pipeline.download.response.answer import TryLaterError, refused_status
from pipeline.download.storage.paths import Places
from pipeline.errors import PipelineError, SpiderError
from pipeline.hosts import place_of
from pipeline.model import DRY_RUN, DigestClaim, Outcome, Progress, Run, Transfer
from pipeline.run_log import Capture, RunLog, page_file
from pipeline.session import Session, open_session, prepare, translate
from pipeline.session.client import fetch
from pipeline.session.page import Page as FetchedPage
from pipeline.session.politeness.host_limits import HostBudget
from pipeline.session.politeness.robots import FORBIDDEN, Robots
from pipeline.session.refreshes import follow_refreshes
from pipeline.settings import Settings, SpiderTable, quiet_in_s, quiet_until
from pipeline.settings.masking import Mask
from pipeline.store import Store, open_store
from pipeline.store.files import download_queue
from pipeline.store.mail import login_cookies
from pipeline.store.runs import host_pauses
from pipeline.store.runs.follow_ups import FollowUps
from pipeline.store.runs.runs import HOST_PAUSED, QUIET, Ending, end_run, report_progress, work_left
from pipeline.text import counted, shown_url
from pipeline.workers.signals import STOPPING

PROGRESS_EVERY_S = 1.0
GC_OBJECTS = 25_000
"""New objects between two looks for cycles: a fifth more pages a second than with Python's 700."""
NICE = 5
"""Of runs, so that the service still answers while they take every core. Digests wait for them, too."""
STOP_GRACE_S = 10.0
"""How long a stopped crawl waits for the pages under way."""

logger = logging.getLogger(__name__)

for _name in PRELOAD:
    importlib.import_module(_name if _name.split(".")[-1].islower() else _name.rpartition(".")[0])


def enter(work: str, settings: Settings, log_file: str, pipe: Connection, *arguments: Any) -> None:
    """The first thing a child does. work: "run" (a Run and sockets to its mates follow), "mate" (the Run and the socket
    to its leader), "digest" (a DigestClaim and its owner) or "try"
    (a spider's name, a URL and the file for what was found)."""
    os.setsid()
    gc.freeze()  # what was loaded before the fork is not looked through again
    gc.enable()
    for number in STOPPING:  # ignored since the fork; by a handler, so that programs it starts do not inherit that
        signal.signal(number, _leave_it_to_the_parent)
    mask = Mask.of(settings)
    log = RunLog(Path(log_file), settings.logs.max_size)
    capture = Capture(log, mask)
    logs.configure(log, mask=mask, level=settings.logs.level, parts=settings.logs.parts, base=_about(work, *arguments))
    for chatty in ("scrapy.addons", "scrapy.middleware", "scrapy.crawler"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        _perform(work, settings, pipe, *arguments)
    except Exception as error:
        logger.exception("it ended before it could say why elsewhere")
        raise SystemExit(1) from error
    finally:
        capture.end()


def _leave_it_to_the_parent(number: int, frame: object) -> None:
    """A signal that asks for a stop goes to the parent, too, which asks for a checkpoint and kills what does not end."""


def _perform(work: str, settings: Settings, pipe: Connection, *arguments: Any) -> None:
    stop = Stop(pipe)
    stop.look()
    threading.Thread(target=stop.watch, name="parent", daemon=True).start()
    store = open_store(settings.data_dir, settings.database_url, migrate=False)
    try:
        if work in ("run", "mate"):
            _give_way(NICE)
            # A crawl makes many objects and few cycles.
            gc.set_threshold(GC_OBJECTS, 20, 20)
            if work == "run":
                CrawlRun(store, settings, arguments[0], stop, arguments[1:]).perform()
            else:
                _fetch_along(store, settings, *arguments)
        elif work == "try":
            _try(settings, pipe, *arguments)
        else:
            _give_way(2 * NICE)
            _build_digest(store, settings, pipe, *arguments)
    finally:
        store.close()


def _about(work: str, *arguments: Any) -> dict[str, str | int]:
    """What every line of this child's log is about."""
    if work in ("run", "mate"):
        return {"run": arguments[0].id, "spider": arguments[0].spider}
    return {"digest": arguments[0].name} if work == "digest" else {"spider": arguments[0]}


def _give_way(nice: int) -> None:
    """To the service and whatever else runs here. Where each session is scheduled as a group (sched(7), autogroup),
    nice counts within ours only, and it is the group that has to give way."""
    os.nice(nice)
    with contextlib.suppress(OSError):  # no such groups
        Path("/proc/self/autogroup").write_text(str(nice), "ascii")


class Stop:
    """What the parent says through the pipe: `stop` asks for a checkpoint; its end is ours."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._wanted = threading.Event()
        self._listeners: list[Callable[[], None]] = []

    def look(self) -> None:
        """Take a stop that was said before we were there."""
        with contextlib.suppress(EOFError, OSError):  # the parent is gone: watch() ends us
            if self._pipe.poll() and self._pipe.recv() == "stop":
                self.ask()

    def watch(self) -> None:
        try:
            while True:
                if self._pipe.recv() == "stop" and not self:
                    self.ask()
        except (EOFError, OSError):
            # The parent is gone. Everything done is committed; the rest is taken up when the lease runs out.
            os.killpg(0, signal.SIGKILL)

    def ask(self) -> None:
        """Ask for a checkpoint."""
        self._wanted.set()
        for listener in list(self._listeners):
            listener()

    def call(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)
        if self._wanted.is_set():
            listener()

    def __bool__(self) -> bool:
        return self._wanted.is_set()


class CrawlRun:
    """One run: login, crawl, downloads, outcome."""

    def __init__(self, store: Store, settings: Settings, run: Run, stop: Stop, mates: Sequence[socket.socket] = (), *,
                 clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._store = store
        self._settings = settings
        self._run = run
        self._stop = stop
        self._mates = mates
        self._clock = clock
        self._held_until: datetime | None = None
        self._progress = replace(run.progress)  # of a process before this one, which a page ended
        self._before = run.progress
        self._rehearsal = run.reason == DRY_RUN
        self._downloads: Downloads | None = None
        self._ended = threading.Event()

    def perform(self) -> None:
        """Do all of it and write how it ended. Only a lost lease leaves nothing to write."""
        reporter = threading.Thread(target=self._report, name="progress", daemon=True)
        reporter.start()
        try:
            ending = self._attempt()
        except PipelineError as error:
            logger.error("%s", error)  # noqa: TRY400  one line: a user caused it, or can mend it
            ending = Ending(Outcome.FAILED, str(error), type(error).__name__, keep_open=True, retry=error.retry)
        except Exception as error:
            logger.exception("the run failed")
            ending = Ending(Outcome.FAILED, f"{type(error).__name__}: {error}", "SpiderError", keep_open=True)
        finally:
            self._ended.set()
            reporter.join()
        end_run(self._store, self._run, ending, self._so_far(), now=datetime.now(UTC),
                follow_ups=FollowUps.of(self._settings, self._run.spider))

    def _attempt(self) -> Ending:
        spider = self._settings.spiders[self._run.spider]
        spidercls = spider_class(spider.spider, self._settings.folder)
        here = self._clock().astimezone(self._settings.zone)
        if (until := quiet_until(spider.quiet, here)) is not None:
            return Ending(Outcome.STOPPED, f"quiet hours until {until:%H:%M}", QUIET, keep_open=True)
        if (left_s := quiet_in_s(spider.quiet, here)) is not None:
            evening = threading.Timer(left_s, self._hold, [spider, here.astimezone(UTC) + timedelta(seconds=left_s)])
            evening.daemon = True
            evening.start()
        paused = host_pauses.paused_hosts(self._store, now=datetime.now(UTC))
        if (until := host_pauses.paused_until(spider, paused)) is not None:
            return Ending(Outcome.STOPPED, f"its host asks to be left alone until {self._shown(until)} (Retry-After)",
                          HOST_PAUSED, keep_open=True)
        session = open_session(self._run.spider, spider, self._settings)
        session.ensure_login()
        self._record_login(session)
        budget = self._budget(paused)
        self._stop.call(budget.close)
        robots = _robots(session, budget, spider) if spider.robots else None
        self._downloads = self._open_downloads(session, budget, robots)
        context = CrawlContext(
            store=self._store, run=self._run, table=_share(spider, mate=False), session=session, progress=self._progress,
            starts=tuple(prepare(start) for start in spider.start), on_downloads=self._downloads.wake, budget=budget, robots=robots,
            keep_pages=not self._rehearsal and self._settings.keeps_pages(self._run.spider),
            page_limit=PageLimit(page_file(self._settings.data_dir, self._run.id), spider.page_cpu_limit))
        if not self._rehearsal:
            self._downloads.start()
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                ending = runner.run(self._crawl(context, spidercls))
            if ending.outcome is Outcome.SUCCEEDED and not self._stop and not self._rehearsal:
                self._downloads.drain()
        finally:
            self._downloads.stop()
            session.jar.save()
            self._record_login(session)
        ending = ending if self._rehearsal else self._with_downloads(ending)
        if self._held_until is None or ending.outcome is not Outcome.STOPPED:
            return ending
        return replace(ending, error=f"quiet hours until {self._held_until:%H:%M}; {ending.error}", error_kind=QUIET)

    def _budget(self, paused: Mapping[str, datetime]) -> HostBudget:
        """The budget of all hosts; pauses longer than this run waits for are remembered for the runs after it."""
        spider = self._settings.spiders[self._run.spider]

        def on_pause(host: str, seconds: float) -> None:
            if seconds <= spider.patience:
                return
            now = datetime.now(UTC)
            wanted = now + timedelta(seconds=min(seconds, host_pauses.LONGEST.total_seconds()))
            try:
                until = host_pauses.pause_host(self._store, host, until=wanted, spider=self._run.spider, now=now)
            except PipelineError as error:
                logger.warning("that %s asks to be left alone is not remembered: %s", host, error)
            else:
                logger.warning("%s asks to be left alone until %s: no run asks it before", host, self._shown(until))

        now, here_s = datetime.now(UTC), time.monotonic()
        return _budget(self._settings, spider, on_pause=on_pause, paused={
            host: here_s + (until - now).total_seconds() for host, until in paused.items()})

    def _shown(self, at: datetime) -> str:
        return f"{at.astimezone(self._settings.zone):%Y-%m-%d %H:%M:%S %Z}"

    def _hold(self, spider: SpiderTable, since: datetime) -> None:
        """Quiet hours begin: a checkpoint. A service goes on with it when they are over."""
        self._held_until = quiet_until(spider.quiet, since.astimezone(self._settings.zone))
        self._stop.ask()

    def _record_login(self, session: Session) -> None:
        """When its login ends, for the alerts; a run does not fail for want of that."""
        try:
            if (found := session.login_cookies()) is not None:
                login_cookies.record(self._store, self._run.spider, *found, now=datetime.now(UTC))
        except PipelineError as error:
            logger.warning("when the login ends was not written down: %s", error)

    async def _crawl(self, context: CrawlContext, spidercls: type[Any]) -> Ending:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._stop.call(partial(_set_in, loop, stop))
        crawling = asyncio.create_task(crawl(context, spidercls, stop=stop, mates=self._mates))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({crawling, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        # A page that hangs must not hold up a stop: what is not committed is fetched again.
        done, _ = await asyncio.wait({crawling}, timeout=STOP_GRACE_S if stop.is_set() else None)
        if not done:
            crawling.cancel()
            return Ending(Outcome.STOPPED, "stopped while pages were under way", keep_open=True)
        return crawling.result()

    def _open_downloads(self, session: Session, budget: HostBudget, robots: Robots | None) -> Downloads:
        spider = self._settings.spiders[self._run.spider]
        table = spider.downloads

        def before(url: str) -> None:
            if robots is not None:
                robots.check(url)
            if (left_s := budget.left_alone_s(url)) > spider.patience:
                raise TryLaterError(f"its host asks to be left alone for {left_s:.0f} s", where=shown_url(url),
                                    fix="let the next run fetch it, or raise patience", after_s=left_s)
            budget.wait(url)

        downloads = Downloads(
            self._store, self._run, client=partial(session.client, before=before), admit=budget.place_for_file,
            leave_alone=budget.leave_alone, translate=translate, login_state=session.login_state, checkable=lambda: session.checkable,
            limits=Limits(max_bytes=table.max_size, max_run_bytes=table.max_total, rate_bytes_s=table.rate,
                          keep_free_bytes=self._settings.pipeline.keep_free, stall_s=table.timeout,
                          attempts=table.attempts),
            places=Places(table.path, self._settings.zone, table.link_duplicates),
            workers=table.workers, per_host=table.per_host, owner=self._store.owner, on_change=lambda: None)
        self._stop.call(downloads.stop)
        return downloads

    def _with_downloads(self, ending: Ending) -> Ending:
        """A disk without room fails the run; its downloads wait for the next one, which goes on with the pass."""
        assert self._downloads is not None
        fatal = self._downloads.fatal
        if fatal is not None and ending.outcome is Outcome.SUCCEEDED:
            return Ending(Outcome.FAILED, str(fatal), type(fatal).__name__, keep_open=True, retry=fatal.retry)
        files_left = work_left(self._store, self._run.pass_id)[1]
        if ending.outcome is Outcome.SUCCEEDED and files_left:
            outcome = Outcome.STOPPED if self._stop else Outcome.FAILED
            return Ending(outcome, f"{files_left} files are still to be fetched", "DownloadError", keep_open=True,
                          retry=True)
        if ending.outcome is Outcome.SUCCEEDED and (note := self._why_files_failed()):
            ending = replace(ending, error="; ".join(filter(None, (ending.error, note))))
        aside = download_queue.set_aside(self._store, self._run.pass_id)
        if ending.outcome is Outcome.SUCCEEDED and aside.count and aside.until is not None:
            note = (f"{aside.count} file{'s' * (aside.count > 1)} set aside after failing in {download_queue.SET_ASIDE_AFTER} runs, asked "
                    f"for again from {aside.until.astimezone(self._settings.zone):%Y-%m-%d %H:%M}; the first: {aside.first}")
            ending = replace(ending, error="; ".join(filter(None, (ending.error, note))))
        return ending

    def _why_files_failed(self) -> str:
        """How many files were refused, by what, how many robots.txt forbids, and why the first of the others failed; "" for none."""
        refused: Counter[tuple[int, str]] = Counter()
        forbidden = 0
        others = []
        for url, error in download_queue.failed(self._store, self._run.pass_id):
            if status := refused_status(error):
                refused[status, place_of(url)] += 1
            elif FORBIDDEN in error:
                forbidden += 1
            else:
                others.append(error)
        return "; ".join(filter(None, (refusals_note(refused, "file"),
                                       f"{counted(forbidden, 'file')} kept out by robots.txt" if forbidden else "",
                                       f"{counted(len(others), 'file')} failed; the first: {others[0]}" if others else "")))

    def _so_far(self) -> Progress:
        if self._downloads is not None:
            files = self._downloads.figures()
            before = self._before
            self._progress.downloads = before.downloads + files.done - files.unchanged
            self._progress.downloads_unchanged = before.downloads_unchanged + files.unchanged
            self._progress.downloads_failed = before.downloads_failed + files.failed
            self._progress.download_bytes = before.download_bytes + files.bytes
        return self._progress

    def _under_way(self) -> Sequence[Transfer]:
        return self._downloads.figures().active if self._downloads is not None else ()

    def _report(self) -> None:
        """Keep the lease, and the figures in the store fresh. Whoever lost the lease has nothing left to do here."""
        while not self._ended.wait(PROGRESS_EVERY_S):
            try:
                ours = report_progress(self._store, self._run, self._so_far(), self._under_way(), now=datetime.now(UTC))
            except PipelineError as error:
                logger.warning("progress not written: %s", error)
                continue
            if not ours:
                logger.error("run %d was taken up by someone else: ending", self._run.id)
                os.killpg(0, signal.SIGKILL)


def _budget(settings: Settings, spider: SpiderTable, **more: Any) -> HostBudget:
    return HostBudget(settings.data_dir / "hosts", delay_s=spider.delay, concurrency=spider.concurrency, **more)


def _robots(session: Session, budget: HostBudget, spider: SpiderTable) -> Robots:
    def slow_down(url: str, delay_s: float) -> None:
        if delay_s > spider.delay:
            budget.slow_down(url, min(delay_s, spider.patience))
    return Robots(session.look, on_delay=slow_down)


def _share(spider: SpiderTable, *, mate: bool) -> SpiderTable:
    """The table with this process's share of the requests at a time."""
    return spider.model_copy(update={"concurrency": shares(spider.concurrency, spider.processes)[mate]})


def _fetch_along(store: Store, settings: Settings, run: Run, leader: socket.socket) -> None:
    """Be one of several processes of a run. Everything that counts is the leader's: nothing is written here."""
    spider = settings.spiders[run.spider]

    def context() -> CrawlContext:
        return CrawlContext(
            store=store, run=run, table=_share(spider, mate=True), session=open_session(run.spider, spider, settings),
            starts=tuple(prepare(start) for start in spider.start), progress=Progress(), on_downloads=lambda: None,
            budget=_budget(settings, spider), page_limit=PageLimit(Path(os.devnull), spider.page_cpu_limit),
            keep_pages=run.reason != DRY_RUN and settings.keeps_pages(run.spider))

    async def work() -> None:
        await join(leader, context, spider_class(spider.spider, settings.folder))
        os.killpg(0, signal.SIGKILL)  # the leader is gone, or has all there is: whatever is under way is for nothing

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())


def _set_in(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    with contextlib.suppress(RuntimeError):  # the crawl is over and its loop closed
        loop.call_soon_threadsafe(event.set)


def _try(settings: Settings, pipe: Connection, name: str, url: str, report: str) -> None:
    """Fetch a page with the spider's session and write what each rule matches; what went wrong is the parent's to tell."""
    error: PipelineError | None = None
    try:
        spider = settings.spiders[name]
        session = open_session(name, spider, settings)
        session.ensure_login()
        with session.client() as client:
            page = FetchedPage(fetch(client, "GET", url, max_bytes=spider.max_page_size, timeout_s=spider.timeout),
                               spider.encoding)
            page = follow_refreshes(client, page, method="GET", is_wanted=lambda page: False, encoding=spider.encoding,
                                    max_bytes=spider.max_page_size, timeout_s=spider.timeout)
        answer = page.answer
        body, text, headers, encoding = answer.body, page.text, dict(answer.headers), page.encoding
        if spider.pdf and pdf.is_one(body):
            body, headers["Content-Type"] = asyncio.run(pdf.page_of(body, answer.url)), "text/html; charset=utf-8"
            text, encoding = body.decode(), "utf-8"
        document = Document(url=answer.url, status=answer.status, text=text, headers=lambda: headers,
                            encoding=encoding)
        found = try_spider(spider, document, body, spider_class(spider.spider, settings.folder))
        found["session"] = session_note(session, page)
        Path(report).write_text(json.dumps(found, default=str), "utf-8")
    except PipelineError as failed:
        error = failed
    pipe.send(error)


def _build_digest(store: Store, settings: Settings, pipe: Connection, claim: DigestClaim, owner: str, *less: Any) -> None:
    """Render a digest into the outbox; what went wrong is the parent's to tell.

    less: where earlier processes died of it, the first of its presentations to try, and why not an earlier one.
    """
    first, problem = less or (0, "")
    from pipeline.mail import digest as mail_digest  # noqa: PLC0415  a crawl needs none of it; a service preloads it
    try:
        mail_digest.build(store, settings, claim, owner=owner, now=datetime.now(UTC), first=first, problem=problem)
        error: PipelineError | None = None
    except PipelineError as failed:
        error = failed
    except Exception as failed:
        logger.exception("digest %s failed", claim.name)
        error = SpiderError(f"{type(failed).__name__}: {failed}", where=f"digests.{claim.name}",
                            fix="see its log; it is tried again")
    pipe.send(error)
