"""Keeps the search index of items current, at a pace that costs crawls little."""

from __future__ import annotations

import asyncio
import logging
import shutil
import sqlite3
import time
from collections.abc import Callable

from pipeline.errors import PipelineError
from pipeline.service.state import ServiceState
from pipeline.store.console.item_index import BATCH, ItemIndex
from pipeline.text import size_for_people

EVERY_S = 3.0
WORK_S = 2.0
"""How long one update lasts at most."""
_PAUSES, _PAUSES_BESIDE_RUNS = 3.0, 15.0
"""After a batch, the update waits for so many times the CPU time of the batch. Beside runs, it so takes at most a twenty-fifth of a core."""

logger = logging.getLogger("pipeline.service")


class ItemIndexing:
    """Adds to the index what crawls have stored. Without an index (PostgreSQL), it does nothing. has_runs: whether runs are in progress."""

    def __init__(self, state: ServiceState, has_runs: Callable[[], bool]) -> None:
        self._state = state
        self._has_runs = has_runs
        self._index = ItemIndex.of(state.store)
        self._reported = ""

    async def update(self) -> None:
        began = time.monotonic()
        while self._index is not None and not self._state.stopping.is_set() and time.monotonic() < began + WORK_S:
            examined, cpu_s = 0, 0.0
            try:
                problem = self._lack_of_space()
                if not problem:
                    examined, cpu_s = await asyncio.to_thread(self._add_batch, self._index)
            except (PipelineError, sqlite3.Error, OSError) as error:
                problem = str(error)
            self._report(problem)
            if examined < BATCH:
                return
            await asyncio.sleep((_PAUSES_BESIDE_RUNS if self._has_runs() else _PAUSES) * cpu_s)

    def _add_batch(self, index: ItemIndex) -> tuple[int, float]:
        """Add a batch of items. Return how many were examined, and the CPU time in seconds."""
        began = time.thread_time()
        return index.update(self._state.store), time.thread_time() - began

    def _lack_of_space(self) -> str:
        settings = self._state.settings
        free = shutil.disk_usage(settings.data_dir).free
        least = settings.pipeline.keep_free
        return f"only {size_for_people(free)} free; [pipeline] keep_free requires {size_for_people(least)}" if free < least else ""

    def _report(self, problem: str) -> None:
        """Log a problem when it begins and when it ends: a search of items without the index is slow, but says what it has not looked at."""
        if problem and problem != self._reported:
            logger.warning("the search index of items cannot be updated: %s; a search looks at the items one after the other", problem)
        elif self._reported and not problem:
            logger.info("the search index of items is updated again")
        self._reported = problem
