"""The row of this process in the table of nodes.

Written every few seconds, deleted at a clean stop (PostgreSQL).
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pipeline.errors import PipelineError
from pipeline.service.state import ServiceState
from pipeline.store.health import nodes
from pipeline.store.health.nodes import MAX_SKEW_S, NodeReport, NodeState

LEAVE_LIMIT_S = 3.0
"""How long a stopping service waits until its row is deleted. Otherwise other services report the process as gone."""

logger = logging.getLogger("pipeline.service")
_T = TypeVar("_T")


class NodeReporter:
    """Reports this process to the other services.

    describe: a function that returns what the process is and does now.
    """

    def __init__(self, state: ServiceState, describe: Callable[[], NodeReport]) -> None:
        self._state = state
        self._describe = describe
        self._is_skewed = False
        self._gone: set[str] | None = None
        self._failed = False
        # A thread of its own: the threads that read the store may all be waiting for the write lock.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="node")

    async def report(self) -> None:
        """Write the row of this process, and log which other processes have disappeared or returned."""
        found = self._describe()
        try:
            skew_s = await self._in_thread(lambda: nodes.report(self._state.store, found))
            if found.leader:
                self._log_gone(await self._in_thread(lambda: nodes.nodes(self._state.store)))
        except PipelineError as error:
            if not self._failed:
                logger.warning("this process could not be reported to the other nodes: %s", error)
            self._failed = True
            return
        self._failed = False
        is_skewed = abs(skew_s) > MAX_SKEW_S
        if is_skewed and not self._is_skewed:
            logger.warning("the clock of this machine is %.1f s %s the clock of the database server; set up time synchronization (NTP)",
                           abs(skew_s), "ahead of" if skew_s > 0 else "behind")
        self._is_skewed = is_skewed

    async def leave(self) -> None:
        """Delete the row of this process. If this fails, the row is deleted after a day."""
        try:
            await asyncio.wait_for(self._in_thread(lambda: nodes.leave(self._state.store)), LEAVE_LIMIT_S)
        except (PipelineError, TimeoutError) as error:
            logger.warning("the other nodes could not be told that this process stops: %s", error or "the database does not answer")
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _log_gone(self, found: list[nodes.Node]) -> None:
        gone = {node.owner: node for node in found if node.state is NodeState.GONE}
        if self._gone is not None:
            for owner in gone.keys() - self._gone:
                logger.warning("a process of the node %s (%s) is gone: it was last seen %.0f s ago; its runs are resumed elsewhere",
                               gone[owner].name, ", ".join(gone[owner].roles), gone[owner].age_s)
            for node in found:
                if node.owner in self._gone and node.owner not in gone:
                    logger.info("a process of the node %s (%s) is back", node.name, ", ".join(node.roles))
        self._gone = set(gone)


def load_of_machine() -> float:
    """Return the load average of one minute, divided by the number of cores; 0 if it is unknown."""
    try:
        return round(os.getloadavg()[0] / (os.cpu_count() or 1), 2)
    except OSError:
        return 0.0
