"""The Scrapy scheduler of a run's member.

Takes rows of the frontier from the store in batches that no other member has.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterable, Sequence

from pipeline.crawl.frontier.scheduler import FrontierScheduler
from pipeline.crawl.interfaces import Membership
from pipeline.errors import PipelineError
from pipeline.store.crawl import members
from pipeline.store.crawl.frontier import Queued


class MemberScheduler(FrontierScheduler):
    """Gives to Scrapy the rows that this member has taken. Links of committed pages are free for every member."""

    refill_below = 32
    _again: set[int]

    changes = 0
    """How often this process has changed the frontier, so that an earlier look at the store can be recognised as outdated."""

    @property
    def _membership(self) -> Membership:
        assert self._context.membership is not None
        return self._context.membership

    def _open_committer(self) -> None:
        super()._open_committer()
        self._again = set()  # rows that this member must fetch again

    def _open_frontier(self) -> None:
        if self._membership.member.leader:
            super()._open_frontier()
        else:
            self._know_starts()
        self._more_in_store = True
        self._membership.start(self)

    def _read_first_rows(self) -> None:
        """Read nothing: members take rows one batch after the other."""

    def has_pending_requests(self) -> bool:
        membership = self._membership
        if self._resend or self._delayed or self._refilling is not None or not self._context.committer.idle:
            return True
        if self._window and not self._is_closing():
            return True
        if self._unproved is not None and self._unproved.prove_held():  # at once, because other members may wait for the links
            return True
        if self._under_way:
            return True
        return not (membership.over or (membership.closing and not membership.member.leader))

    @property
    def is_idle(self) -> bool:
        """Whether this process neither fetches nor commits anything."""
        return not (self._resend or self._delayed or self._refilling or self._under_way or self._window) and self._context.committer.idle

    def look_for_rows(self) -> None:
        """Take rows from the store, because there may be free ones."""
        if not self._is_closing():
            self._more_in_store = True
            self.wake_engine()

    def give_back_all(self) -> None:
        """Return all rows of this member to the store. Only for a process that fetches nothing."""
        self._releasing = asyncio.create_task(self._release(None))

    def end_soon(self) -> None:
        """Fetch only the pages that are in flight, and return the other rows of this member to the store."""
        rows, self._window = self._window, []
        if rows:
            self._releasing = asyncio.create_task(self._release([entry[1] for entry in rows]))
        self.wake_engine()

    async def _release(self, ids: Sequence[int] | None) -> None:
        try:
            await asyncio.to_thread(members.release, self._context.store, self._membership.member, ids)
        except PipelineError as error:
            self.fatal(error)

    def _is_closing(self) -> bool:
        return self._membership.closing

    def _next_row(self) -> Queued | None:
        return None if self._is_closing() else super()._next_row()

    def _budget_spent(self) -> str:
        """Return a note for the run if the leader has reached max_time; "" otherwise. The store counts the pages of all members."""
        if not self._membership.member.leader or self._membership.closing:
            return ""
        return self._time_spent()

    def _capped(self) -> bool:
        reason = self._budget_spent()
        if reason:
            self._context.capped_by = reason  # whether rows are left is known when all members have ended
            self._membership.end_soon()
        return bool(reason)

    def _refetch(self, ids: Sequence[int]) -> None:
        self._again.update(ids)
        self.changes += 1
        super()._refetch(ids)

    def _on_committed(self, ids: Iterable[int]) -> None:
        self.changes += 1
        super()._on_committed(ids)

    def _on_queued(self, queued: Sequence[Queued]) -> None:
        if queued:
            self.changes += 1
            self.look_for_rows()

    async def _refill(self) -> None:
        context, membership = self._context, self._membership
        self._more_in_store = False  # set before, since a commit during the transaction may set it to True
        again, self._again = sorted(self._again), set()
        try:
            found = await asyncio.to_thread(members.claim, context.store, membership.member, again=again, max_pages=context.table.max_pages)
        except PipelineError as error:
            self.fatal(error)
            return
        finally:
            self._refilling = None
        self.changes += 1
        for host in found.hosts:  # the links of the rows may lead to hosts that only another member knows
            context.add_host(host)
        for row in found.rows:
            heapq.heappush(self._window, (-row.request.priority, row.id, row))
        if found.capped and membership.member.leader:
            context.capped = True
            context.capped_by = f"stopped at max_pages = {context.table.max_pages}"
            membership.over = found.over and not found.rows
        self._wake()
