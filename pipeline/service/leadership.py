"""Leadership: which of several services on one PostgreSQL database does the work of a single one.

The leader plans and claims slots, resumes interrupted runs, sends alerts and deletes old data. It holds an advisory lock and confirms it
every second. When it is killed, cut off or frozen, another service becomes the leader within ten seconds.

Correctness does not depend on it: rows and leases in the store decide who claims a slot, performs a run or sends a message. Two leaders
for a moment would do useless work, but nothing twice. On SQLite, where there is only one service, this service is always the leader.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from pipeline.errors import PipelineError
from pipeline.store.database.leader_lock import SESSION_TIMEOUT_S, LeaderLock

CONFIRM_EVERY_S = 1.0
CONFIRMED_FOR_S = SESSION_TIMEOUT_S - 1.0
"""A service that could not confirm the lock for this long is not the leader any more.

This is less than the time after which the server releases the lock, so that the next leader begins after this one has ended.
"""

logger = logging.getLogger("pipeline.service")


class Leadership:
    """Whether this service is the leader.

    lock: the lock of the leader; None means that nothing is asked, and `alone` decides. alone: whether this service is always the
    leader. on_change: called in the event loop when the service has become the leader, or has stopped being it.
    """

    def __init__(self, lock: LeaderLock | None, on_change: Callable[[], None], *, alone: bool = False) -> None:
        self._lock = lock
        self._alone = alone
        self._on_change = on_change
        self._confirmed_s = float("-inf")
        self._was_leader = alone
        # A thread of its own: the threads that read the store may all be waiting.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="leadership")

    @property
    def is_leader(self) -> bool:
        """Whether this service is the leader now. This property may be read in any thread."""
        return self._alone or time.monotonic() - self._confirmed_s < CONFIRMED_FOR_S

    async def start(self) -> None:
        """Try once to become the leader."""
        if self._lock is not None:
            await self._confirm(self._lock)
            self._note()

    async def run(self) -> None:
        """Try to become the leader, and confirm the lock, until the task is cancelled."""
        while self._lock is not None:
            await asyncio.sleep(CONFIRM_EVERY_S)
            await self._confirm(self._lock)
            self._note()

    async def stop(self) -> None:
        """Give up the lock, so that another service becomes the leader at once. Call this method when `run` has ended."""
        self._confirmed_s = float("-inf")
        if self._lock is not None:
            with contextlib.suppress(TimeoutError):  # the session ends with this process
                await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(self._thread, self._lock.release), CONFIRM_EVERY_S)
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _confirm(self, lock: LeaderLock) -> None:
        asked_s = time.monotonic()
        confirming = asyncio.get_running_loop().run_in_executor(self._thread, lock.hold)
        while not confirming.done():
            await asyncio.wait({confirming}, timeout=CONFIRM_EVERY_S)
            self._note()  # the leadership may end while the database does not answer
        try:
            is_held = confirming.result()
        except PipelineError as error:
            if self._was_leader:
                logger.warning("%s", error)
            is_held = False
        self._confirmed_s = asked_s if is_held else float("-inf")

    def _note(self) -> None:
        if (now := self.is_leader) == self._was_leader:
            return
        self._was_leader = now
        logger.info("this service is now the leader: it plans the schedules and resumes interrupted runs" if now else
                    "this service is no longer the leader; another service can take over")
        self._on_change()
