"""Build digests: when they are due, after a run, and for ended runs that have not been reported yet."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable

from pipeline.errors import PipelineError
from pipeline.model import DigestClaim, Run
from pipeline.service.state import ServiceState, utc_now
from pipeline.store.mail import digests
from pipeline.store.runs.follow_ups import is_tried_again
from pipeline.workers.runner import Runner

RETRY_S = 60.0
AT_ONCE = 2
"""The number of digests built at the same time, so that a digest that takes long does not delay the others."""

logger = logging.getLogger("pipeline.service")


class DigestBuilder:
    """Claims ended runs for a digest, and renders the digest in a child process.

    on_message: called when a digest was built, so that its messages may be in the outbox.
    """

    def __init__(self, state: ServiceState, runner: Runner, on_message: Callable[[], None]) -> None:
        self._state = state
        self._runner = runner
        self._on_message = on_message
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._places = asyncio.Semaphore(AT_ONCE)
        self._owner = f"{state.store.owner}:digest"

    @property
    def busy(self) -> bool:
        """Whether a digest is being built."""
        return any(lock.locked() for lock in self._locks.values())

    async def build_after(self, run: Run) -> None:
        """Build the digests without a schedule that report this run, unless a retry of the run is waiting."""
        if await self._state.ask(is_tried_again, run):
            return
        for name, digest in self._state.settings.digests.items():
            if not digest.schedule and run.spider in digest.spiders:
                await self.build(name, f"after run {run.id}")

    async def build_unreported(self) -> None:
        """Build digests of ended runs that were not reported, because the process was killed or the rendering failed."""
        try:
            unfinished = await self._state.ask(digests.unfinished)
        except PipelineError as error:
            logger.error("digests of unreported runs could not be built: %s", error)  # noqa: TRY400
            unfinished = []
        for name, digest in self._state.settings.digests.items():
            if name in unfinished or not digest.schedule:
                await self.build(name, "untold runs")

    async def build(self, name: str, slot_key: str, *, scheduled: bool = False) -> bool:
        """Build a digest of the runs that the digest has not reported yet, except during its quiet hours.

        Returns whether the runs for `slot_key` were claimed or there was nothing to report. If the digest cannot be rendered, it is
        built again later.
        scheduled: whether `slot_key` is a due time of the digest's schedule.
        """
        digest = self._state.settings.digests[name]
        if digest.quiet_until(utc_now(), self._state.settings.zone) is not None:
            return False
        claimed = False
        async with self._locks[name], self._places:
            claim = None
            try:
                claim = await asyncio.to_thread(digests.claim, self._state.store, name, digest.spiders, slot_key, owner=self._owner,
                                                now=utc_now(), scheduled=scheduled,
                                                even_empty=scheduled and digest.empty == "send", repeats=bool(digest.schedule))
                if claim is None:
                    return True
                claimed = claim.slot_key == slot_key  # if not, an earlier, unfinished claim was built
                await self._runner.build_digest(claim, self._owner)
            except PipelineError as error:
                logger.error("the digest %s could not be built: %s", name, error)  # noqa: TRY400
                self._state.failed = True
                if claim is not None:
                    await self._put_off(claim, error)
            else:
                self._on_message()
        return claimed

    async def _put_off(self, claim: DigestClaim, error: PipelineError) -> None:
        """Postpone a digest that could not be rendered, unless an immediate retry is likely to succeed."""
        if error.retry:  # after a killed process or a full disk, the claim is not postponed, so that changes are reported in order
            return
        try:
            await asyncio.to_thread(digests.put_off, self._state.store, claim, str(error), owner=self._owner, now=utc_now())
        except PipelineError as failed:
            logger.error("the digest %s could not be postponed: %s", claim.name, failed)  # noqa: TRY400  the lease of the claim lasts until it expires
