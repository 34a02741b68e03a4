"""The service's part in the housekeeping of the archive: when it runs on which node.

Each node adds what it finds on its disk.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import datetime

from pipeline.archive.housekeeping.housekeeping import HousekeepingOptions, is_due
from pipeline.errors import PipelineError
from pipeline.service.state import ServiceState, utc_now
from pipeline.workers.archive_housekeeping import run_in_child

EVERY_S = 300.0
FIRST_S = 2.0
THOROUGH_EVERY_S = 86_400.0
"""How often the leader lists the object store, to find files without a row."""

logger = logging.getLogger("pipeline.service")


class ArchiveHousekeeping:
    """Starts a child process whenever there is something to do.

    leads: whether this service is the leader. Only the leader merges and deletes the files of an object store; files on the disk are the
    matter of their node. by_age: whether data may be deleted because of its age (Housekeeping.by_age).
    """

    def __init__(self, state: ServiceState, leads: Callable[[], bool], by_age: Callable[[datetime], bool]) -> None:
        self._state = state
        self._leads = leads
        self._by_age = by_age
        self._reported: set[str] = set()
        self._thorough_s = float("-inf")

    async def run(self) -> None:
        """Do what is due. A problem is logged when it begins; its end is logged, too."""
        try:
            options = await asyncio.to_thread(self._options)
            if options is None:
                self._report([])
                return
            report = await run_in_child(self._state.settings, options, is_stopped=self._state.stopping.is_set)
        except (PipelineError, OSError) as error:
            if not self._state.stopping.is_set():
                self._report([f"the files of the archive could not be kept in order: {error}"])
            return
        if options.thorough:
            self._thorough_s = time.monotonic()
        for text in report.done:
            logger.info("archive: %s", text)
        self._report(report.problems)

    def _options(self) -> HousekeepingOptions | None:
        """Return what there is to do; None if nothing is due."""
        store, now = self._state.store, utc_now()
        shared = not store.files.is_remote or self._leads()
        thorough = store.files.is_remote and shared and time.monotonic() - self._thorough_s > THOROUGH_EVERY_S
        options = HousekeepingOptions(shared=shared, by_age=self._by_age(now), thorough=thorough)
        return options if is_due(store, self._state.settings, options, now=now) else None

    def _report(self, problems: list[str]) -> None:
        for problem in problems:
            if problem not in self._reported:
                logger.warning("archive: %s", problem)
        if self._reported and not problems:
            logger.info("archive: its files are in order again")
        self._reported = set(problems)
