"""The part of one process in a run whose pages several processes, on any nodes, fetch and commit.

The members of such a run share the frontier through the store (pipeline.store.crawl.members). A leader is still needed, because
some steps of a run must happen once: the login and its proof, the start requests, new logins, limits such as max_pages, the end of
the pass and the verdict. The leader is the process that holds the run's lease; it fetches pages like every other member.

Every member looks at the store periodically. The leader shares its session, logs in again when a member asks for it, adds up what
the members have committed, frees the rows of members that have died, and finds the end of the pass: no row waits, and no
member holds one. The other members take over the session, and end when the leader is closing or the run has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime

from pipeline.crawl.context import CrawlContext, Failures
from pipeline.crawl.interfaces import MemberRows
from pipeline.crawl.processes.session_exchange import ReceivedChanges, SessionExchange, SharedSession
from pipeline.errors import LeaseLostError, PipelineError
from pipeline.model import FrontierState, Json, Page, Progress
from pipeline.session.web_storage import entries_of_packed
from pipeline.store.crawl import frontier, members
from pipeline.store.crawl.commit import MemberCommit
from pipeline.store.crawl.members import Member, View
from pipeline.text import counted

LOOK_EVERY_S = 0.5
"""The time between two looks at the store, in seconds."""
FINISH_S = 5.0
"""How long, in seconds, the leader of a stopped run waits for the pages that other members are fetching."""
MOST_TEXTS = 50
"""The maximum number of notes, and of links to other hosts, in a report."""
_DOWNLOADS = ("downloads", "downloads_unchanged", "downloads_failed", "download_bytes")

logger = logging.getLogger(__name__)


class StoreMembership(ABC):
    """What every member does.

    member: the row of this process in the store. renewal: returns a context manager that surrounds each look at the store, and so
    learns whether the store can be reached.
    """

    def __init__(self, context: CrawlContext, member: Member, *,
                 renewal: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext) -> None:
        self.member = member
        self._renewal = renewal
        self.closing = False
        """Whether this member takes no more rows, and ends when the pages in flight are committed."""
        self.over = False
        """Whether no member has anything left to fetch. Only the leader knows."""
        self.heard = asyncio.Event()
        """An event that is set after each look at the store."""
        self._context = context
        self._rows: MemberRows | None = None
        self._looking: asyncio.Task[None] | None = None
        self._now = asyncio.Event()
        self._failed_looks = 0

    def start(self, rows: MemberRows) -> None:
        """Look at the store periodically from now on. rows: the scheduler that fetches rows."""
        self._rows = rows
        self._looking = asyncio.create_task(self._look_periodically(rows))

    def commit_of(self, pages: Sequence[Page]) -> MemberCommit:
        """Return what to store with these pages. Called in the thread of the committer."""
        return MemberCommit(self.member, self._report(pages), self._changed_session())

    def end_soon(self) -> None:
        """Take no more rows, and tell the other members, if this is the leader. Fetch only the pages that are in flight."""
        if not self.closing:
            self.closing = True
            self._now.set()
            if self._rows is not None:
                self._rows.end_soon()

    def stop_looking(self) -> None:
        if self._looking is not None:
            self._looking.cancel()

    def _report(self, pages: Sequence[Page] = ()) -> dict[str, Json]:
        context = self._context
        failures, offsite = replace(context.failures), set(context.offsite)
        for page in pages:
            if page.error:
                failures.add(page.error, page.error_kind or "FetchError", transient=page.transient)
            offsite.update(page.offsite)
        report: dict[str, Json] = {
            "failures": {name: value for name, value in asdict(failures).items() if value}, "capped": context.capped,
            "hosts": list(context.added_hosts), "notes": context.notes[:MOST_TEXTS], "offsite": sorted(offsite)[:MOST_TEXTS]}
        return {name: value for name, value in report.items() if value}

    @abstractmethod
    def _changed_session(self) -> bytes | None:
        """Return what responses to this member and its pages have changed in cookies and web storage, if there is anything new."""

    @abstractmethod
    async def _consider(self, view: View, rows: MemberRows, *, settled: bool) -> None:
        """Act on a look at the store. settled: whether this process did not change the frontier since before the look."""

    async def _tell(self) -> None:
        """Store the report of this member now."""
        await asyncio.to_thread(members.tell, self._context.store, self.member, self._report())

    def _look(self) -> View:
        with self._renewal():
            return members.look(self._context.store, self.member)

    async def _look_periodically(self, rows: MemberRows) -> None:
        while True:
            self._now.clear()
            changes, idle = rows.changes, rows.is_idle
            try:
                view = await asyncio.to_thread(self._look)
                if not view.in_progress:
                    rows.fatal(members.lost(self.member))
                    return
                for member in view.members:
                    for host in member.report.get("hosts", ()):
                        self._context.add_host(host)
                settled = idle and rows.is_idle and changes == rows.changes
                if settled and view.held_here:  # no rows that this process knows of: never let the other members wait for them
                    rows.give_back_all()
                await self._consider(view, rows, settled=settled)
                self._failed_looks = 0
            except LeaseLostError as error:
                rows.fatal(error)
                return
            except PipelineError as error:
                self._failed_looks += 1
                if self._failed_looks == 1:
                    logger.warning("the state of the run could not be read: %s", error)
            except Exception as error:
                logger.exception("the members of the run cannot work together any longer")
                rows.fatal(LeaseLostError(f"the state of the run could not be read: {error!r}"))
                return
            self.heard.set()
            try:
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._now.wait()
            except TimeoutError:
                pass


class LeaderMembership(StoreMembership):
    """The leader of a run's members. each: how many requests to one host every other member may send at the same time."""

    def __init__(self, context: CrawlContext, member: Member, *, each: int) -> None:
        super().__init__(context, member)
        self._each = each
        self._count = 0
        self._counted: Progress | None = None
        self._received: dict[int, ReceivedChanges] = {}
        self._read_versions: dict[str, int] = {}
        self._shared = (-1, -1, -1)
        self._told_closing = False
        self._logging_in: asyncio.Task[None] | None = None
        for name in (each.name for each in fields(Progress)):  # the reports of all members, also of a killed leader, are added
            if name not in _DOWNLOADS:
                setattr(context.progress, name, 0)

    def _changed_session(self) -> bytes | None:
        return None

    def _report(self, pages: Sequence[Page] = ()) -> dict[str, Json]:
        return super()._report(pages) | ({"closing": True} if self.closing else {})

    async def _consider(self, view: View, rows: MemberRows, *, settled: bool) -> None:
        others = [member for member in view.members if member.id != self.member.id]
        if lost := [member.id for member in others if member.lost]:
            ended = await asyncio.to_thread(members.free_lost, self._context.store, self.member, lost, now=datetime.now(UTC))
            if ended:
                logger.error("%s of this run ended unexpectedly; the others fetch the pages again that were not committed", counted(len(ended), "process"))
        at_work = [member for member in others if member.at_work and member.id not in lost]
        if len(at_work) != self._count:
            self._count = len(at_work)
            logger.info("%d processes fetch the pages of this run", self._count + 1)
            rows.limit_requests(max(1, self._context.table.concurrency - self._each * self._count))
        self._add_up([member.report for member in others])
        await self._take_changes(view)
        for member in at_work:
            self._log_in_for(member.report, rows)
        await self._share_session()
        if self.closing and not self._told_closing:
            await self._tell()
            self._told_closing = True
        if self.closing:
            self.over = self.over or not (at_work and view.held)
        elif settled and not view.free and not view.held:
            self.over = True
        elif view.free:
            rows.look_for_rows()
        if self.over:
            rows.wake_engine()

    def _add_up(self, reports: Sequence[Mapping[str, Json]]) -> None:
        """Add to the progress of the run what other members have committed since the last call."""
        total, progress = members.added_up(reports), self._context.progress
        before = self._counted or Progress(waiting=total.waiting)  # the leader counted the waiting rows when it opened the frontier
        if total.pages != before.pages:
            self._context.on_downloads()
        progress.add(total, known=before)
        self._counted = total

    async def _take_changes(self, view: View) -> None:
        """Add what the other members have changed in cookies and web storage, also those that have ended."""
        context = self._context
        for member_id in (member.id for member in view.members if member.id != self.member.id):
            name = f"{members.COOKIES}{member_id}"
            version = view.versions.get(name, 0)
            if version == self._read_versions.get(name, 0):
                continue
            data = await asyncio.to_thread(members.read_file, context.store, self.member.run, name)
            self._read_versions[name] = version
            self._received.setdefault(member_id, ReceivedChanges()).apply(data, context.session.jar, self._epoch, context.session.storage)

    @property
    def _epoch(self) -> int:
        login_state = self._context.session.login_state
        return login_state.epoch if login_state is not None else 0

    def _log_in_for(self, report: Mapping[str, Json], rows: MemberRows) -> None:
        """Log in again, if a member has found that the login of this process has expired."""
        relogin, epoch = self._context.relogin, report.get("expired")
        if relogin is None or epoch is None or relogin.login_state.is_stale(epoch) or self._logging_in is not None:
            return

        async def log_in() -> None:
            try:
                await relogin.renew(epoch)
                await relogin.settled()
            except PipelineError as error:
                rows.fatal(error)
            finally:
                self._logging_in = None
                self._now.set()

        self._logging_in = asyncio.create_task(log_in())

    async def _share_session(self) -> None:
        """Store the session for the other members, if it has changed and no login is in progress."""
        session = self._context.session
        login_state = session.login_state
        proved = login_state.proved if login_state is not None else 0
        now = (session.jar.version, proved, session.storage.version if session.storage is not None else 0)
        if now == self._shared or self._epoch != proved:
            return
        await asyncio.to_thread(members.share_session, self._context.store, self.member, shared_session(self._context))
        self._shared = now

    async def close(self) -> None:
        """Wait at most FINISH_S for the pages that other members are fetching, end all members, and add up their reports."""
        context = self._context
        self.stop_looking()
        if self._looking is not None:
            await asyncio.wait({self._looking})
        if context.fatal is not None and isinstance(context.fatal, LeaseLostError):
            return
        self.closing = True
        try:
            await self._tell()
            view = await asyncio.to_thread(members.look, context.store, self.member)
            deadline_s = asyncio.get_running_loop().time() + FINISH_S
            while context.fatal is None and view.held and asyncio.get_running_loop().time() < deadline_s and any(
                    member.at_work and not member.lost for member in view.members if member.id != self.member.id):
                await asyncio.sleep(LOOK_EVERY_S / 5)
                view = await asyncio.to_thread(members.look, context.store, self.member)
            await self._take_changes(view)
            reports = await asyncio.to_thread(members.end_all, context.store, self.member, now=datetime.now(UTC))
            left = (await asyncio.to_thread(frontier.counts, context.store, self.member.run.pass_id)).get(FrontierState.WAITING, 0)
        except PipelineError as error:
            if context.fatal is None:
                context.fatal = error
            return
        others = [report for member_id, report in reports.items() if member_id != self.member.id]
        self._add_up(others)
        context.progress.waiting = left
        context.capped = context.capped or bool(context.capped_by and left)
        for report in others:
            context.failures.merge(Failures(**report.get("failures", {})))
            context.notes += [note for note in report.get("notes", ()) if note not in context.notes]
            context.offsite.update(report.get("offsite", ()))
            context.capped = context.capped or bool(report.get("capped"))


class FollowerMembership(StoreMembership):
    """A member that is not the leader."""

    def __init__(self, context: CrawlContext, member: Member, *, renewal: Callable[[], AbstractContextManager[None]]) -> None:
        super().__init__(context, member, renewal=renewal)
        self._shared = SessionExchange(context.session.jar, context.session.storage)
        self._read_version = -1
        self._expired: int | None = None

    def take_session(self, session: SharedSession) -> None:
        """Use the session of the leader."""
        here = self._context.session
        epoch = here.login_state.epoch if here.login_state is not None else 0
        if session.epoch < epoch:
            return
        self._shared.take(session.cookies, new_login=session.epoch != epoch,
                          storage=entries_of_packed(session.storage.encode()) if session.storage else None)
        here.adopt(session.token, session.epoch, checkable=session.checkable)

    def ask_login(self, epoch: int) -> None:
        """Ask the leader for a new login, because the login with this epoch has expired."""
        self._expired = epoch
        self._asking = asyncio.create_task(self._ask())

    async def _ask(self) -> None:
        try:
            await self._tell()
        except PipelineError as error:
            if self._rows is not None:
                self._rows.fatal(error)

    async def close(self) -> None:
        """Store the last report, and free the rows that this member still holds."""
        self.stop_looking()
        try:
            await self._tell()
            await asyncio.to_thread(members.leave, self._context.store, self.member, now=datetime.now(UTC))
        except PipelineError as error:
            logger.info("%s", error)

    def _report(self, pages: Sequence[Page] = ()) -> dict[str, Json]:
        return super()._report(pages) | ({"expired": self._expired} if self._expired is not None else {})

    def _changed_session(self) -> bytes | None:
        login_state = self._context.session.login_state
        return self._shared.changes(login_state.epoch if login_state is not None else 0)

    async def _consider(self, view: View, rows: MemberRows, *, settled: bool) -> None:
        version = view.versions.get(members.SESSION, 0)
        if version != self._read_version:
            data = await asyncio.to_thread(members.read_file, self._context.store, self.member.run, members.SESSION)
            if data:
                self._read_version = version
                self.take_session(SharedSession.unpacked(data))
        if any(member.leader and member.at_work and member.report.get("closing") for member in view.members):
            self.end_soon()
        if self.closing:
            rows.wake_engine()
        elif view.free:
            rows.look_for_rows()


def shared_session(context: CrawlContext) -> bytes:
    """Return the session of this process, to be shared with the other members."""
    session = context.session
    return SharedSession(session.login_state.proved if session.login_state is not None else 0, session.token, session.checkable,
                         tuple(session.jar), session.storage.packed().decode() if session.storage is not None else "").packed()
