"""Claim due slots: a spider's slot becomes a waiting run, and a digest's slot becomes a digest."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta

from pipeline.errors import PipelineError
from pipeline.model import Outcome
from pipeline.schedule.claims import Schedules, claim_due, follow_claims, open_schedules
from pipeline.schedule.next_slots import NextSlot, NextSlots
from pipeline.service.digests import RETRY_S as DIGEST_RETRY_S
from pipeline.service.digests import DigestBuilder
from pipeline.service.scheduling import Scheduling
from pipeline.service.state import ServiceState, about, utc_now
from pipeline.store.runs import slots

STORE_RETRY_S = 1.0

logger = logging.getLogger("pipeline.service")


class DueSlots:
    """Plans the schedules in the settings as APScheduler jobs, and claims slots when they are due."""

    def __init__(self, state: ServiceState, scheduling: Scheduling, digests: DigestBuilder) -> None:
        self._state = state
        self._scheduling = scheduling
        self._digests = digests
        self._plans: Schedules | None = None
        self._is_following = False

    async def claim(self) -> None:
        """Claim the slots that are due now. If the settings have changed, first plan the schedules of the new settings.

        If slots were missed while no service was running, the newest missed slot of each schedule is claimed.
        """
        self._state.slots_changed.clear()
        now = utc_now()
        if self._is_following:  # another service has claimed slots until now
            self._is_following, self._plans = False, None
        try:
            plans = self._plans
            if plans is None or plans.settings is not self._state.settings:
                plans = self._plans = await asyncio.to_thread(open_schedules, self._state.store, self._state.settings, now=now)
                await asyncio.to_thread(self._scheduling.plan, plans)
                gc.freeze()  # thousands of schedules stay in memory: exclude them from garbage collection
            await self._claim(plans, now)
            self._scheduling.look_again(plans.put_off_until(now))
        except PipelineError as error:
            logger.error("the runs and digests that are due could not be started: %s", error)  # noqa: TRY400
            self._scheduling.look_again(utc_now() + timedelta(seconds=STORE_RETRY_S))

    async def follow(self) -> None:
        """While another service claims the slots, keep the next due times for the status."""
        self._state.slots_changed.clear()
        now = utc_now()
        if not self._is_following:
            self._is_following, self._plans = True, None
            self._scheduling.plan_nothing()
        try:
            if self._plans is None or self._plans.settings is not self._state.settings:
                self._plans = await asyncio.to_thread(open_schedules, self._state.store, self._state.settings, now=now)
            else:
                await asyncio.to_thread(follow_claims, self._state.store, self._plans, now=now)
        except PipelineError as error:
            logger.error("the next due times cannot be read: %s", error)  # noqa: TRY400

    def upcoming(self) -> Mapping[str, datetime]:
        """Return the next due time of each spider; empty before the schedules are planned for the first time."""
        return self._plans.spiders.upcoming() if self._plans is not None else {}

    def clock_was_set(self, seconds: float) -> None:
        """Look for due slots after the clock was set forward by `seconds`, or back if `seconds` is negative.

        After the clock was set back, the schedules are planned again, so that slots later than the new time become due again. A slot
        that was claimed before the clock was set is not claimed a second time.
        """
        if seconds < 0:
            self._plans = None
        self._state.wake()

    async def _claim(self, plans: Schedules, now: datetime) -> None:
        for run in await asyncio.to_thread(claim_due, self._state.store, plans, now=now):
            if run.outcome is Outcome.SKIPPED:
                logger.info("%s: a run was skipped: %s", run.spider, run.error, extra=about(run))
            self._state.wake_dispatcher()
        for entry in plans.digests.due(now):
            if (until := await self._digests.waits_until(entry.name)) is not None:
                plans.digests.wait(entry, min(until, now + timedelta(seconds=DIGEST_RETRY_S)))  # a mute can be ended before
            else:
                self._state.spawn(self._build_digest(plans.digests, entry))

    async def _build_digest(self, plan: NextSlots, entry: NextSlot) -> None:
        """Build the digest of a due slot.

        If the runs of the digest cannot be claimed, the slot is retried later.
        """
        if entry.name not in self._state.settings.digests:
            return
        if await self._digests.build(entry.name, entry.due.key, scheduled=True):
            await self._state.ask(slots.move_cursor, "digest", entry.name, entry.schedule, entry.due.planned)
            plan.advance(entry, utc_now())
        else:
            plan.wait(entry, utc_now() + timedelta(seconds=DIGEST_RETRY_S))
        self._state.slots_changed.set()
