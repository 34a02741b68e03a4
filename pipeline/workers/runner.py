"""Runs one piece of work in a child: its limits, its kill, and the last word when it had none itself."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pipeline.errors import LeaseLostError, PipelineError, SpiderError
from pipeline.model import DigestClaim, Outcome, Run
from pipeline.run_log import page_at_work, page_file
from pipeline.settings import Settings
from pipeline.store import Store
from pipeline.store.crawl.commit import progress_so_far
from pipeline.store.crawl.frontier import set_page_aside
from pipeline.store.mail import digests
from pipeline.store.runs.follow_ups import FollowUps
from pipeline.store.runs.runs import Ending, end_run, get_run, renew_run
from pipeline.workers.process import Child

WATCH_EVERY_S = 1.0
RENEW_EVERY_S = 5.0
STOP_LIMIT_S = 30.0
"""How long a stopped child may take to checkpoint before it is killed."""
RETRY_WRITE_S = 1.0
MAX_PAGES_SET_ASIDE = 20
"""So many pages of a run may end its process before the run ends, too."""
PAGE_SIGNALS = frozenset({signal.SIGPROF, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT})
"""What ends a process in the middle of a page is that page's doing: its CPU limit, or a parser that crashed."""
DIGEST_LIMIT_S = 600.0
"""How long the rendering of a digest may take before it is killed."""
DEATHS_PER_PRESENTATION = 3
"""So many of its processes ended before a digest was rendered: it is then tried with less content."""

logger = logging.getLogger(__name__)


def _start(child: Child, followers: Sequence[Child], pairs: Sequence[tuple[socket.socket, socket.socket]]) -> None:
    """Start a run's processes; once they have their ends of the sockets, ours would hide that one of them is gone."""
    try:
        for each in (child, *followers):
            each.start()
    finally:
        for pair in pairs:
            for end in pair:
                end.close()


class Runner:
    """Starts children and sees them to their end. One for a service or a command."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self.settings = settings
        self._children: set[Child] = set()
        self._stopping = False
        self.performing: set[int] = set()
        """The ids of the runs whose end will be written from here."""
        self._deaths: Counter[int] = Counter()
        """By the id of a digest's claim: how many of its processes ended before it was rendered."""

    def log_file(self, kind: str, number: int) -> Path:
        return self.settings.data_dir / "logs" / kind / f"{number}.log"

    async def perform(self, run: Run) -> Run:
        """Perform a leased run in a child and return it ended, whatever became of the child."""
        self.performing.add(run.id)
        try:
            return await self._perform(run)
        finally:
            self.performing.discard(run.id)

    async def _perform(self, run: Run) -> Run:
        """Its process is started again after a page that ended it, without that page."""
        log_file = self.log_file("runs", run.id)
        noted = page_file(self.settings.data_dir, run.id)
        deadline = time.monotonic() + self.settings.spiders[run.spider].time_limit
        try:
            for left in reversed(range(MAX_PAGES_SET_ASIDE + 1)):
                reason, code = await self._in_child(run, log_file, deadline)
                again = left and await asyncio.to_thread(self._set_page_aside, run, reason, code, page_at_work(noted))
                if not again or self._stopping:
                    break
                run = await asyncio.to_thread(self._with_progress, run)
            return await self._end(run, reason, code, log_file)
        finally:
            noted.unlink(missing_ok=True)

    def _with_progress(self, run: Run) -> Run:
        """The run with what its process had done, for the next one to count on."""
        found = get_run(self._store, run.id) or run
        return replace(found, progress=progress_so_far(self._store, found))

    def _set_page_aside(self, run: Run, reason: Ending | None, code: int | None, page: int) -> bool:
        """Write down the page in whose middle the process ended, if any; whether the run goes on without it.

        A signal that only the process's own doing brings is that page's fault. A kill for memory or time may be: the page
        is set aside when it meets a second one.
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
            why = f"was at work when the process was killed twice: {reason.error}"
        try:
            url = set_page_aside(self._store, run, page, why, at_once=signalled in PAGE_SIGNALS)
        except PipelineError as error:
            logger.error("%s run %d: %s", run.spider, run.id, error)  # noqa: TRY400  the run ends as killed, and is taken up
            return False
        if url:
            logger.warning("%s run %d: %s %s; it is set aside", run.spider, run.id, url, why)
        return bool(url) and signalled in PAGE_SIGNALS

    async def _in_child(self, run: Run, log_file: Path, deadline: float) -> tuple[Ending | None, int | None]:
        """One process of a run, from its start to its end: why it was killed from here, and its exit code."""
        spider = self.settings.spiders[run.spider]
        pairs = [socket.socketpair() for _ in range(spider.processes - 1)]
        settings = self.settings.for_run(run.spider)
        child = Child("run", settings, log_file, run, *(near for near, _ in pairs))
        followers = [Child("follow", settings, log_file, run, far) for _, far in pairs]
        try:
            self._children.add(child)
            if self._stopping:
                child.stop()
            await asyncio.to_thread(_start, child, followers, pairs)
            reason = await self._watch(run, child, followers, deadline=deadline, memory_limit_bytes=spider.memory_limit)
            code = await child.wait()
        finally:
            self._children.discard(child)
            for each in (child, *followers):
                each.kill()  # what it started and left behind
        for each in (child, *followers):
            await asyncio.to_thread(each.close)
        return reason, code

    async def _watch(self, run: Run, child: Child, followers: Sequence[Child], *, deadline: float,
                     memory_limit_bytes: int) -> Ending | None:
        """Wait for the child, and kill it past its limits; the ending it then has.

        While it is alive its lease is kept from here, too: a spider that computes for long cannot renew it.
        """
        renew_at = time.monotonic() + RENEW_EVERY_S
        stop_deadline: float | None = None
        while await child.wait(min(WATCH_EVERY_S, max(0.0, deadline - time.monotonic()))) is None:
            now = time.monotonic()
            if now >= renew_at:
                renew_at = now + RENEW_EVERY_S
                if not await asyncio.to_thread(self._keep, run):
                    child.kill()  # another run took its place, and the row says so
                    return None
            if self._stopping and stop_deadline is None:
                stop_deadline = now + STOP_LIMIT_S
            memory = sum(each.memory_bytes() for each in (child, *followers))
            if memory > memory_limit_bytes:
                child.kill()
                return Ending(Outcome.KILLED, f"used {memory / 1e6:.0f} MB of memory; memory_limit is "
                              f"{memory_limit_bytes / 1e6:.0f} MB", "SpiderError", keep_open=True, retry=True)
            if now >= deadline:
                child.kill()
                return Ending(Outcome.TIMED_OUT, "was not done after time_limit = "
                              f"{self.settings.spiders[run.spider].time_limit:.0f} s",
                              "SpiderError", keep_open=True, retry=True)
            if stop_deadline is not None and now >= stop_deadline:
                child.kill()
                return Ending(Outcome.STOPPED, "was killed: it did not stop in time", keep_open=True)
        return None

    def _keep(self, run: Run) -> bool:
        """Renew its lease; False when it is no longer ours."""
        try:
            return renew_run(self._store, run, now=datetime.now(UTC))
        except PipelineError as error:
            logger.warning("%s run %d: its lease was not renewed: %s", run.spider, run.id, error)
            return True

    async def _end(self, run: Run, reason: Ending | None, code: int | None, log_file: Path) -> Run:
        """Write down how it ended, however long the disk is full: a run without an end would keep its spider for ever."""
        told = False
        while True:
            try:
                return await asyncio.to_thread(self._ended, run, reason, code, log_file)
            except PipelineError as error:
                if self._stopping or not error.retry:
                    raise
                if not told:
                    logger.error("%s run %d: its end cannot be written down yet: %s", run.spider, run.id, error)  # noqa: TRY400
                told = True
            await asyncio.sleep(RETRY_WRITE_S)

    def _ended(self, run: Run, reason: Ending | None, code: int | None, log_file: Path) -> Run:
        found = get_run(self._store, run.id)
        if found is not None and found.ended_at is not None:
            return found
        if reason is None:
            how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
            reason = Ending(Outcome.KILLED, f"its process ended with {how} before the run did; see {log_file.name} "
                            "in data_dir/logs/runs", "SpiderError", keep_open=True, retry=True)
        follow_ups = FollowUps.of(self.settings, run.spider) if run.spider in self.settings.spiders else None
        try:
            return end_run(self._store, run, reason, None, now=datetime.now(UTC), follow_ups=follow_ups)
        except LeaseLostError:
            return get_run(self._store, run.id) or run

    async def build_digest(self, claim: DigestClaim, owner: str) -> None:
        """Render a claimed digest in a child. Raises what went wrong; the claim stays and is taken up again."""
        log_file = self.log_file("digests", claim.id)
        deaths = self._deaths[claim.id]
        less = (min(deaths // DEATHS_PER_PRESENTATION, 2),
                f"{deaths} of its processes ended before it was rendered; see {log_file.name} in data_dir/logs/digests",
                ) if deaths >= DEATHS_PER_PRESENTATION else (0, "")
        child = Child("digest", self.settings, log_file, claim, owner, less)
        deadline = time.monotonic() + DIGEST_LIMIT_S
        try:
            await asyncio.to_thread(child.start)
            self._children.add(child)
            while await child.wait(min(30.0, max(0.0, deadline - time.monotonic()))) is None and time.monotonic() < deadline:
                await asyncio.to_thread(digests.renew, self._store, claim.id, owner=owner, now=datetime.now(UTC))
        finally:
            self._children.discard(child)
            child.kill()
        await child.wait()
        try:
            error: PipelineError | None = child.answer()
        except EOFError:
            self._deaths[claim.id] += 1
            if not self._store.shared:
                await asyncio.to_thread(self._store.files.sweep, "messages")  # it may have been killed while it wrote one
            error = SpiderError("its process ended before it was rendered", where=f"digests.{claim.name}",
                                fix=f"see {log_file.name} in data_dir/logs/digests; it is tried again", retry=True)
        await asyncio.to_thread(child.close)
        if error is not None:
            raise error
        self._deaths.pop(claim.id, None)

    def stop(self) -> None:
        """Ask every child for a checkpoint; perform() then returns soon."""
        self._stopping = True
        for child in self._children:
            child.stop()
