"""Build digests: when they are due, after a run, and for ended runs that have not been reported yet."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta

from pipeline.errors import PipelineError
from pipeline.model import DigestClaim, Run
from pipeline.service.state import ServiceState, utc_now
from pipeline.store.mail import digest_mutes, digests
from pipeline.store.runs.follow_ups import is_tried_again
from pipeline.workers.runner import Runner

RETRY_S = 60.0
ON_REQUEST = "manual "
"""The beginning of the slot key of a digest that a person asked for."""
_AT_ONCE = (ON_REQUEST, digests.AGAIN)
AT_ONCE = 2
"""Maximum number of digests that are built at the same time. With more than one, a slow digest does not delay the others."""

logger = logging.getLogger("pipeline.service")


class DigestBuilder:
    """Claims ended runs for a digest, and renders the digest in a child process.

    on_message: called after a digest was built, because its messages may now be in the outbox. by_jobs: returns whether any process
    may build a claimed digest, to which the dispatcher hands its job (`build_claimed`).
    """

    def __init__(self, state: ServiceState, runner: Runner, on_message: Callable[[], None], by_jobs: Callable[[], bool]) -> None:
        self._state = state
        self._runner = runner
        self._on_message = on_message
        self._by_jobs = by_jobs
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._places = asyncio.Semaphore(AT_ONCE)
        self._owner = f"{state.store.owner}:digest"

    @property
    def busy(self) -> bool:
        """Whether a digest is being built."""
        return any(lock.locked() for lock in self._locks.values())

    async def build_after(self, run: Run) -> None:
        """Build each digest that reports this run and has no schedule.

        If a retry of the run is waiting, do nothing.
        """
        if await self._state.ask(is_tried_again, run):
            return
        for name, digest in self._state.settings.digests.items():
            if not digest.schedule and run.spider in digest.spiders:
                await self.build(name, f"after run {run.id}")

    async def build_unreported(self) -> None:
        """Build the digests of ended runs that have not been reported yet.

        A run may be unreported because a process was killed, or because the rendering failed.
        """
        try:
            unfinished = await self._state.ask(digests.unfinished)
        except PipelineError as error:
            logger.error("digests of unreported runs could not be built: %s", error)  # noqa: TRY400
            unfinished = []
        for name, digest in self._state.settings.digests.items():
            if name in unfinished or not digest.schedule:
                await self.build(name, "untold runs")

    async def build(self, name: str, slot_key: str, *, scheduled: bool = False, at_once: bool = False) -> bool:
        """Build a digest of the runs that the digest has not reported yet.

        During the digest's quiet hours, or while it is muted, do nothing.
        Returns True if the runs were claimed for `slot_key`, or if there was nothing to report. Returns False if the caller must try
        again: during quiet hours or a mute, after an error of the store, or if an earlier, unfinished claim was built instead. A digest whose
        rendering failed is built again later.
        slot_key: the text that identifies the slot, or the reason for the digest if it has no schedule.
        scheduled: whether `slot_key` identifies a slot. Only then is a digest with `empty = "send"` sent without any news.
        at_once: whether a person asked for the digest. Quiet hours and mutes are then ignored, and failures that only repeat are reported.
        """
        try:
            if not at_once and await self.waits_until(name) is not None:
                return False
        except PipelineError as error:
            await self._failed(name, None, error)
            return False
        if self._by_jobs():
            return await self._claim_for_any(name, slot_key, scheduled=scheduled, at_once=at_once)
        claimed = False
        async with self._locks[name], self._places:
            claim = None
            try:
                claim = await self._claim(name, slot_key, scheduled=scheduled, owner=self._owner, at_once=at_once)
                if claim is None:
                    return True
                claimed = claim.slot_key == slot_key  # if not, an earlier, unfinished claim was built
                await self._runner.digests.build(claim, self._owner)
            except PipelineError as error:
                await self._failed(name, claim, error)
            else:
                self._on_message()
        return claimed

    async def _claim_for_any(self, name: str, slot_key: str, *, scheduled: bool, at_once: bool) -> bool:
        """Claim the runs for a digest that any process builds. Return False if the store could not be written."""
        try:
            await self._claim(name, slot_key, scheduled=scheduled, owner=None, at_once=at_once)
        except PipelineError as error:
            await self._failed(name, None, error)
            return False
        return True

    async def _claim(self, name: str, slot_key: str, *, scheduled: bool, owner: str | None, at_once: bool = False) -> DigestClaim | None:
        """Claim the runs that a digest has yet to report. owner: the owner of the claim's lease; None leaves the claim to any process."""
        digest = self._state.settings.digests[name]
        return await asyncio.to_thread(digests.claim, self._state.store, name, digest.spiders, slot_key, owner=owner, now=utc_now(),
                                       scheduled=scheduled, even_empty=scheduled and digest.empty == "send", repeats=at_once or bool(digest.schedule))

    async def claim_on_request(self, name: str) -> DigestClaim | None:
        """Claim the runs for a digest that a person wants now. Return None if there are none; the claim is then built by build_requested."""
        return await self._claim(name, f"{ON_REQUEST}{utc_now().isoformat()}", scheduled=False, owner=None, at_once=True)

    async def build_requested(self, name: str, digest_id: int) -> None:
        """Build the digest of a claim that no process has leased, also during quiet hours and while it is muted."""
        if self._by_jobs():
            return
        async with self._locks[name], self._places:
            await self.build_claimed(digest_id)

    async def build_claimed(self, digest_id: int) -> None:
        """Build the digest of a claim, and the other unfinished claims with the same digest, the oldest first.

        Nothing is built if another process builds one of them, during the quiet hours of the digest, or while it is muted.
        """
        claim: DigestClaim | None = None
        name = f"of the claim {digest_id}"
        try:
            while (claim := await asyncio.to_thread(digests.take_oldest, self._state.store, digest_id, owner=self._owner, now=utc_now())):
                name = claim.name
                if not claim.slot_key.startswith(_AT_ONCE) and (until := await self.waits_until(name)) is not None:
                    await asyncio.to_thread(digests.give_back, self._state.store, claim, owner=self._owner, until=until)
                    return
                await self._runner.digests.build(claim, self._owner)
                self._on_message()
        except PipelineError as error:
            await self._failed(name, claim, error)

    async def waits_until(self, name: str) -> datetime | None:
        """Return until when a digest must wait, for its quiet hours or because it is muted; None if it can be built now."""
        digest, now = self._state.settings.digests.get(name), utc_now()
        if digest is None:  # the settings of this process are not those of the process that has claimed the digest
            return now + timedelta(seconds=RETRY_S)
        quiet = digest.quiet_until(now, self._state.settings.zone)
        muted = (await asyncio.to_thread(digest_mutes.muted_until, self._state.store, now=now)).get(name)
        return max((until for until in (quiet, muted) if until is not None), default=None)

    async def _failed(self, name: str, claim: DigestClaim | None, error: PipelineError) -> None:
        logger.error("the digest %s could not be built: %s", name, error)
        self._state.failed = True
        if claim is not None:
            await self._put_off(claim, error)

    async def _put_off(self, claim: DigestClaim, error: PipelineError) -> None:
        """Postpone a digest that could not be rendered.

        After a killed process or a full disk, which a retry may help, newer changes must not be reported before the changes of this claim.
        """
        try:
            if not error.retry:
                await asyncio.to_thread(digests.put_off, self._state.store, claim, str(error), owner=self._owner, now=utc_now())
            elif self._by_jobs():
                await asyncio.to_thread(digests.give_back, self._state.store, claim, owner=self._owner,
                                        until=utc_now() + timedelta(seconds=RETRY_S))
        except PipelineError as failed:
            logger.error("the digest %s could not be postponed: %s", claim.name, failed)  # noqa: TRY400  the claim is retried when its lease has expired
