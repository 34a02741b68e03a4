"""Housekeeping: delete downloads that exceed the limits, and data that [retention] does not keep."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import datetime

from pipeline.download.storage.retention import DeletedFiles, delete_left_behind, delete_surplus
from pipeline.errors import PipelineError
from pipeline.service.state import ServiceState, utc_now
from pipeline.store.maintenance import retention
from pipeline.store.maintenance.clock_trust import ClockTrust
from pipeline.store.runs import host_limits
from pipeline.text import size_for_people

PRUNE_PAUSE_S = 0.02

logger = logging.getLogger("pipeline.service")


class Housekeeping:
    """Deletes old data, and decides whether the outbox may give up messages because of their age.

    may_go_on: whether a deletion that takes long may go on, or must end because another service is the leader now.
    """

    def __init__(self, state: ServiceState, may_go_on: Callable[[], bool]) -> None:
        self._state = state
        self._may_go_on = may_go_on
        self._clock_trust = ClockTrust(state.store)
        self._doubt = ""
        self._over_quota_bytes = 0

    def by_age(self, now: datetime) -> bool:
        """Return whether data may be deleted, and messages given up, because of their age.

        The result is False while the system clock is not plausible. Each change of the result is logged.
        """
        doubt = self._clock_trust.doubt(now)
        if doubt and not self._doubt:
            logger.warning("%s", doubt)
        elif self._doubt and not doubt:
            logger.info("the system clock is plausible again: old data is deleted as usual")
        self._doubt = doubt
        return not doubt

    async def tidy_downloads(self) -> None:
        """Delete downloaded files that exceed the limits in the settings."""
        try:
            deleted = await asyncio.to_thread(self._delete_surplus_files)
        except PipelineError as error:
            logger.error("downloaded files that exceed the limits could not be deleted: %s", error)  # noqa: TRY400
            return
        if deleted.over_bytes and not self._over_quota_bytes:
            logger.warning("the downloaded files exceed their maximum size by %s, because files that a digest has yet to send are not deleted", size_for_people(deleted.over_bytes))
        self._over_quota_bytes = deleted.over_bytes

    async def prune(self) -> None:
        """Delete the data that the settings table [retention] does not keep.

        The data is deleted in small transactions with pauses between them, so that other processes can write.
        """
        def go_on() -> bool:
            time.sleep(PRUNE_PAUSE_S)
            return not self._state.stopping.is_set() and self._may_go_on()

        try:
            pruned = await asyncio.to_thread(self._prune, go_on)
        except (PipelineError, OSError) as error:
            logger.error("old data could not be deleted: %s", error)  # noqa: TRY400
        else:
            if pruned:
                logger.info("old data was deleted, as [retention] says: %s", pruned)

    def _delete_surplus_files(self) -> DeletedFiles:
        now = utc_now()
        return delete_surplus(self._state.store, self._state.settings, now=now, by_age=self.by_age(now))

    def _prune(self, go_on: Callable[[], bool]) -> retention.PruneResult:
        now = utc_now()
        if self.by_age(now):
            delete_left_behind(self._state.store, self._state.settings, now=now)
        if self._state.store.shared:
            with self._state.store.autocommit() as connection:
                host_limits.delete_expired(connection)
        return retention.prune(self._state.store, retention.RetentionRules.of(self._state.settings), now=now, by_age=self.by_age(now), go_on=go_on)
