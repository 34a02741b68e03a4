"""Perform runs in child processes, enforce their limits, and store how killed runs ended."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from pipeline.errors import LeaseLostError, PipelineError
from pipeline.model import DRY_RUN, Outcome, Run
from pipeline.run_log import page_at_work, page_file
from pipeline.settings import Settings
from pipeline.store import Store
from pipeline.store.crawl.commit import progress_so_far
from pipeline.store.crawl.frontier import set_page_aside
from pipeline.store.files.run_logs import upload_run_logs
from pipeline.store.runs.follow_ups import FollowUps
from pipeline.store.runs.runs import Ending, end_run, get_run, renew_run
from pipeline.store.runs.stop_requests import stop_is_requested
from pipeline.workers.digests import DigestRunner
from pipeline.workers.followers import FollowerProcesses
from pipeline.workers.forkserver import warm_up
from pipeline.workers.lease_fence import FENCED, LIMIT_S, UNSTORED
from pipeline.workers.members import MemberRunner, has_members
from pipeline.workers.prepared_process import PreparedProcess
from pipeline.workers.process import MAX_PAGES_SET_ASIDE, STOP_LIMIT_S, WATCH_EVERY_S, Child

RENEW_EVERY_S = 5.0
RETRY_WRITE_S = 1.0
"""If the ending of a run cannot be stored because the disk is full: the seconds until the next attempt."""
PAGE_SIGNALS = frozenset({signal.SIGPROF, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT})
"""The signals that show that a page ended the process: the page exceeded its CPU limit (SIGPROF) or crashed a parser."""

logger = logging.getLogger(__name__)


def _start(child: Child, sockets: Sequence[socket.socket]) -> None:
    """Start the leader process of a run, then close the leader's sockets in this process.

    If these sockets stayed open, the followers would not notice the end of the leader.
    """
    try:
        child.start()
    finally:
        for each in sockets:
            each.close()


class Runner:
    """Starts child processes and waits until they end. A service or command has one Runner."""

    def __init__(self, store: Store, settings: Settings, prepared: PreparedProcess | None = None) -> None:
        """Create the runner.

        prepared: the process for the first run; all other processes are forked from the forkserver.
        """
        self._store = store
        self._prepared = prepared
        self._has_forkserver = prepared is None
        self.settings = settings
        self._children: set[Child] = set()
        self._by_run: dict[int, Child] = {}
        self._stopping = False
        self._stop_requests: set[int] = set()
        self.performing: set[int] = set()
        """The ids of the runs in progress. This object will store how these runs end."""
        self.members = MemberRunner(store, self)
        self.digests = DigestRunner(store, self)

    def log_file(self, kind: str, number: int) -> Path:
        return self.settings.data_dir / "logs" / kind / f"{number}.log"

    async def perform(self, run: Run) -> Run:
        """Perform a leased run in a child process, and return the ended run.

        If the child crashes or is killed, no exception is raised; the returned run has an outcome that says this.
        """
        self.performing.add(run.id)
        try:
            return await self._perform(run)
        finally:
            self.performing.discard(run.id)
            self._stop_requests.discard(run.id)

    async def _perform(self, run: Run) -> Run:
        """Start the process of the run. If a page kills the process, start another process that skips the page."""
        log_file = self.log_file("runs", run.id)
        noted = page_file(self.settings.data_dir, run.id)
        deadline = time.monotonic() + self.settings.spiders[run.spider].time_limit
        try:
            for left in reversed(range(MAX_PAGES_SET_ASIDE + 1)):
                reason, code = await self._in_child(run, log_file, deadline)
                again = left and await asyncio.to_thread(self.set_page_aside, run, reason, code, page_at_work(noted))
                if not again or self._must_stop(run):
                    break
                run = await asyncio.to_thread(self._with_progress, run)
            ended = await self._end(run, reason, code, log_file)
            await asyncio.to_thread(upload_run_logs, self._store, ended, self.performing)  # may wait for the object store: the run has ended
            return ended
        finally:
            noted.unlink(missing_ok=True)

    def _with_progress(self, run: Run) -> Run:
        """Return the run with the progress stored so far, to which the next process of the run will add its own progress."""
        found = get_run(self._store, run.id) or run
        return replace(found, progress=progress_so_far(self._store, found))

    def set_page_aside(self, run: Run, reason: Ending | None, code: int | None, page: int) -> bool:
        """If a page killed the process, mark the page as skipped. Return whether to continue the run in a new process.

        A page that causes one of PAGE_SIGNALS is skipped immediately. If the process exceeded its memory or time limit, the page
        may not be the cause; therefore the page is skipped only if this happens a second time while the same page is being
        processed. page: the id of the page's frontier row; 0 means that no page was being processed. reason: why this process
        killed the child, or None. code: the exit code of the child.
        """
        if not page or code is None or code >= 0:
            return False
        signalled = signal.Signals(-code)
        if signalled in PAGE_SIGNALS:
            limit_s = self.settings.spiders[run.spider].page_cpu_limit
            why = f"took more than page_cpu_limit = {limit_s:g} s of CPU time" if signalled is signal.SIGPROF else \
                f"ended its process with {signalled.name}"
        elif reason is None or reason.outcome is Outcome.STOPPED:
            return False
        else:
            why = f"was being processed both times that the process was killed: {reason.error}"
        try:
            url = set_page_aside(self._store, run, page, why, at_once=signalled in PAGE_SIGNALS)
        except PipelineError as error:
            logger.error("%s run %d: %s", run.spider, run.id, error)  # noqa: TRY400  the run ends as killed and is retried
            return False
        if url:
            logger.warning("%s run %d: %s %s; this page is skipped for the rest of the pass", run.spider, run.id, url, why)
        return bool(url) and signalled in PAGE_SIGNALS

    async def _in_child(self, run: Run, log_file: Path, deadline: float) -> tuple[Ending | None, int | None]:
        """Start the processes of a run and wait until they end.

        Return two values. The first is the ending of the run if this process killed the child processes, otherwise None. The
        second is the exit code of the leader process.
        """
        spider = self.settings.spiders[run.spider]
        settings = self.settings.for_run(run.spider)
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            near_ends, far_ends = list[socket.socket](), prepared.far_ends
        else:  # there is no prepared process, or a page has killed it
            await asyncio.to_thread(self.need_forkserver)
            local = 0 if run.reason != DRY_RUN and has_members(self._store, self.settings, spider) else spider.most_followers
            pairs = [socket.socketpair() for _ in range(local)]
            near_ends, far_ends = [near for near, _ in pairs], [far for _, far in pairs]
        child = Child("run", settings, log_file, run, *near_ends, prepared=prepared)
        followers = FollowerProcesses(far_ends, partial(Child, "follow", settings, log_file, run), self.need_forkserver)
        try:
            self._children.add(child)
            self._by_run[run.id] = child
            if self._must_stop(run):
                child.stop()
            await asyncio.to_thread(_start, child, near_ends)
            if spider.processes == "auto":
                followers.start_on_request(child)
            else:
                await followers.start_all()
            reason = await self._watch(run, child, followers, deadline=deadline, memory_limit_bytes=spider.memory_limit)
            code = await child.wait()
        finally:
            self._children.discard(child)
            self._by_run.pop(run.id, None)
            child.ignore_requests()
            child.kill()  # also kills the processes that the child has started
            await followers.end()
        await asyncio.to_thread(child.close)
        return reason, code

    def need_forkserver(self) -> None:
        """Start the forkserver, unless it is already running."""
        if not self._has_forkserver:
            warm_up()
            self._has_forkserver = True

    async def _watch(self, run: Run, child: Child, followers: FollowerProcesses, *, deadline: float,
                     memory_limit_bytes: int) -> Ending | None:
        """Wait until the child ends, and kill the child if it exceeds a limit. Return the ending of a killed run, else None.

        Renew the lease of the run meanwhile, because a child cannot renew the lease while its spider computes for a long time.
        """
        renew_at = time.monotonic() + RENEW_EVERY_S
        stop_deadline: float | None = None
        while await child.wait(min(WATCH_EVERY_S, max(0.0, deadline - time.monotonic()))) is None:
            now = time.monotonic()
            if now >= renew_at:
                renew_at = now + RENEW_EVERY_S
                if not await asyncio.to_thread(self._renew_lease, run):
                    child.kill()  # another process has taken over the run and will store how it ends
                    return None
            if self._must_stop(run) and stop_deadline is None:
                stop_deadline = now + STOP_LIMIT_S
            memory = await asyncio.to_thread(lambda: child.memory_bytes() + followers.memory_bytes())
            if memory > memory_limit_bytes and followers.optional and followers.running:
                logger.warning("%s run %d: the processes of the run use %.0f MB of memory in total, and memory_limit is %.0f MB; the run continues with one "
                               "process", run.spider, run.id, memory / 1e6, memory_limit_bytes / 1e6)
                await followers.end()
            elif memory > memory_limit_bytes:
                child.kill()
                return Ending(Outcome.KILLED, f"the run used {memory / 1e6:.0f} MB of memory; memory_limit is "
                              f"{memory_limit_bytes / 1e6:.0f} MB", "SpiderError", keep_open=True, retry=True)
            if now >= deadline:
                child.kill()
                return Ending(Outcome.TIMED_OUT, "the run did not finish within time_limit = "
                              f"{self.settings.spiders[run.spider].time_limit:.0f} s",
                              "SpiderError", keep_open=True, retry=True)
            if stop_deadline is not None and now >= stop_deadline:
                child.kill()
                return Ending(Outcome.STOPPED, "the run was killed because it did not stop in time", keep_open=True)
        return None

    def _renew_lease(self, run: Run) -> bool:
        """Renew the lease of the run. Return False if another process has the lease."""
        try:
            if stop_is_requested(self._store, run):
                self.stop_run(run.id)
            return renew_run(self._store, run, now=datetime.now(UTC))
        except PipelineError as error:
            logger.warning("%s run %d: the lease could not be renewed: %s", run.spider, run.id, error)
            return True

    async def _end(self, run: Run, reason: Ending | None, code: int | None, log_file: Path) -> Run:
        """Store how the run ended, and return the ended run.

        Try again as long as the disk is full, because the spider cannot run again before the ending of this run is stored.
        """
        logged = False
        while True:
            try:
                return await asyncio.to_thread(self._store_ending, run, reason, code, log_file)
            except PipelineError as error:
                if self._stopping or not error.retry:
                    raise
                if not logged:
                    logger.error("%s run %d: the result of the run cannot be stored yet: %s", run.spider, run.id, error)  # noqa: TRY400
                logged = True
            await asyncio.sleep(RETRY_WRITE_S)

    def _store_ending(self, run: Run, reason: Ending | None, code: int | None, log_file: Path) -> Run:
        found = get_run(self._store, run.id)
        if found is not None and found.ended_at is not None:
            return found
        if reason is None and code == FENCED:
            reason = Ending(Outcome.KILLED, f"the lease of the run could not be renewed for {LIMIT_S:.0f} s, because the database did not respond",
                            "StoreError", keep_open=True, retry=True)
        elif reason is None and code == UNSTORED:
            reason = Ending(Outcome.KILLED, f"the process of the run could not store its result in the database; see {log_file.name} in data_dir/logs/runs",
                            "StoreError", keep_open=True, retry=True)
        elif reason is None:
            how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
            reason = Ending(Outcome.KILLED, f"the process of the run ended unexpectedly with {how}; see {log_file.name} "
                            "in data_dir/logs/runs", "SpiderError", keep_open=True, retry=True)
        follow_ups = FollowUps.of(self.settings, run.spider) if run.spider in self.settings.spiders else None
        try:
            return end_run(self._store, run, reason, None, now=datetime.now(UTC), follow_ups=follow_ups)
        except LeaseLostError:
            return get_run(self._store, run.id) or run

    def _must_stop(self, run: Run) -> bool:
        return self._stopping or run.id in self._stop_requests

    def stop_run(self, run_id: int) -> None:
        """Ask the process of one run to stop at a checkpoint. Any thread may call this method."""
        if run_id in self.performing and run_id not in self._stop_requests:
            self._stop_requests.add(run_id)
            logger.info("run %d stops at a checkpoint, because a person has asked for it", run_id)
            if (child := self._by_run.get(run_id)) is not None:
                child.stop()

    def stop(self) -> None:
        """Ask every child process to stop at a checkpoint, so that perform() returns soon."""
        self._stopping = True
        for child in self._children:
            child.stop()
        self.digests.stop()
        self.members.stop()
