"""Start members of a run: processes that fetch its pages, led by a process on this or another node."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime
from typing import Protocol

from pipeline.errors import PipelineError
from pipeline.model import Outcome, Run
from pipeline.run_log import page_at_work, page_file
from pipeline.settings import Settings, SpiderTable
from pipeline.store import Store
from pipeline.store.crawl import members
from pipeline.store.crawl.members import Member
from pipeline.store.runs.runs import Ending, get_run
from pipeline.workers.lease_fence import LIMIT_S
from pipeline.workers.process import MAX_PAGES_SET_ASIDE, STOP_LIMIT_S, WATCH_EVERY_S, Child

RENEW_EVERY_S = 3.0

logger = logging.getLogger(__name__)


def has_members(store: Store, settings: Settings, spider: SpiderTable) -> bool:
    """Return whether the processes of a spider's run may be on several nodes, and commit their pages themselves.

    If False, they are on one machine, connected by sockets, and only the leader commits pages.
    """
    if not store.shared or spider.first_processes == 1:
        return False
    from pipeline.workers.dispatcher.choose import uses_procrastinate  # noqa: PLC0415  other runs need no dispatcher
    return uses_procrastinate(store, settings)


class Starter(Protocol):
    """What the processes of members need of the Runner."""

    settings: Settings

    def need_forkserver(self) -> None: ...
    def set_page_aside(self, run: Run, reason: Ending | None, code: int | None, page: int) -> bool: ...


class MemberRunner:
    """Performs jobs that fetch pages of other runs, each in a child process, and enforces their limits."""

    def __init__(self, store: Store, starter: Starter) -> None:
        self._store = store
        self._starter = starter
        self._children: set[Child] = set()
        self._stopping = False

    async def follow(self, run_id: int) -> None:
        """Fetch pages of a run in progress, and return when the run has ended or this process stops.

        Return at once if the run has ended, or has enough processes. If a page kills the process, start another process that skips
        the page. Any other death of the process changes nothing for the run: its other processes fetch the pages.
        """
        for _ in range(MAX_PAGES_SET_ASIDE + 1):
            try:
                again = await self._follow(run_id)
            except PipelineError as error:
                logger.warning("run %d: another process could not help to fetch its pages: %s", run_id, error)
                return
            if not again or self._stopping:
                return

    async def _follow(self, run_id: int) -> bool:
        """Return whether to start another process, because a page killed this one."""
        settings = self._starter.settings
        run = await asyncio.to_thread(get_run, self._store, run_id)
        if self._stopping or run is None or run.ended_at is not None or (spider := settings.spiders.get(run.spider)) is None \
                or not has_members(self._store, settings, spider):
            return False
        member = await asyncio.to_thread(members.join, self._store, run, owner=self._store.owner, most=spider.first_processes - 1,
                                         now=datetime.now(UTC))
        if member is None:
            return False
        noted = page_file(settings.data_dir, run.id, member.id)
        try:
            await asyncio.to_thread(self._starter.need_forkserver)
            reason, code = await self._in_child(member, spider)
            page = page_at_work(noted)
        finally:
            noted.unlink(missing_ok=True)
            await asyncio.to_thread(members.leave, self._store, member, now=datetime.now(UTC))
        if code and (reason is None or reason.outcome is not Outcome.STOPPED):
            how = reason.error if reason is not None else f"signal {-code}" if code < 0 else f"exit code {code}"
            logger.error("%s run %d: a process that fetched pages of the run ended (%s); the other processes fetch them again",
                         run.spider, run.id, how)
        return await asyncio.to_thread(self._starter.set_page_aside, run, reason, code, page)

    async def _in_child(self, member: Member, spider: SpiderTable) -> tuple[Ending | None, int | None]:
        """Start a process for the member, and wait until it ends. Return why it was killed, or None, and its exit code."""
        run, settings = member.run, self._starter.settings
        log_file = settings.data_dir / "logs" / "runs" / f"{run.id}.log"
        child = Child("member", settings.for_run(run.spider), log_file, run, member)
        try:
            await asyncio.to_thread(child.start)
            self._children.add(child)
            reason = await self._watch(member, child, memory_limit_bytes=spider.memory_limit)
            code = await child.wait()
        finally:
            self._children.discard(child)
            child.kill()
        await asyncio.to_thread(child.close)
        return reason, code

    async def _watch(self, member: Member, child: Child, *, memory_limit_bytes: int) -> Ending | None:
        """Wait until the child ends, renew the lease of the member meanwhile, and kill the child if it exceeds a limit.

        A child whose run has ended, or whose rows others have, can store nothing more: it is asked to end, and may close its files.
        """
        renewed = time.monotonic()
        renew_at = renewed + RENEW_EVERY_S
        over = False
        stop_deadline: float | None = None
        while await child.wait(WATCH_EVERY_S) is None:
            now = time.monotonic()
            if now >= renew_at:
                renew_at = now + RENEW_EVERY_S
                ours = await asyncio.to_thread(self._renew, member)
                if ours:
                    renewed = now
                over = over or ours is False
                if now - renewed >= LIMIT_S and not over:  # cut off from the database: others fetch the rows of the member soon
                    child.kill()
                    return Ending(Outcome.STOPPED)
            if (self._stopping or over) and stop_deadline is None:
                child.stop()
                stop_deadline = now + STOP_LIMIT_S
            memory = await asyncio.to_thread(child.memory_bytes)
            if memory > memory_limit_bytes:
                child.kill()
                return Ending(Outcome.KILLED, f"the run used {memory / 1e6:.0f} MB of memory; memory_limit is {memory_limit_bytes / 1e6:.0f} MB")
            if stop_deadline is not None and now >= stop_deadline:
                child.kill()
                return Ending(Outcome.STOPPED)
        return None

    def _renew(self, member: Member) -> bool | None:
        """Renew the lease. Return False if it is lost; None if the database does not respond."""
        try:
            return members.renew(self._store, member, now=datetime.now(UTC))
        except PipelineError as error:
            logger.warning("%s run %d: the lease of a process could not be renewed: %s", member.run.spider, member.run.id, error)
            return None

    def stop(self) -> None:
        """Ask every process to commit the pages in flight and to end, so that follow() returns soon."""
        self._stopping = True
        for child in self._children:
            child.stop()
