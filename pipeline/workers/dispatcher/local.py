"""The local dispatcher: starts the oldest waiting runs in its own process."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

from pipeline.errors import PipelineError
from pipeline.model import Run
from pipeline.store import Store
from pipeline.store.runs import jobs
from pipeline.store.runs.runs import start_run
from pipeline.workers.dispatcher.base import Capacity, Work
from pipeline.workers.dispatcher.held import held_spiders

logger = logging.getLogger(__name__)


class LocalDispatcher:
    """Starts the oldest waiting runs whenever wake() was called.

    Other processes cannot wake this dispatcher, so wake() must also be called at intervals.
    """

    def __init__(self, store: Store, capacity: Capacity, work: Work) -> None:
        self._store = store
        self._capacity = capacity
        self._work = work
        self._woken = asyncio.Event()
        self._stopping = False
        self._tasks: set[asyncio.Future[None]] = set()

    async def run(self) -> None:
        """Start waiting runs until stop() is called, and return when the runs in progress have ended."""
        while not self._stopping and self._work.perform is not None:
            self._woken.clear()
            try:
                run = await asyncio.to_thread(self._start_next)
            except PipelineError as error:
                logger.error("waiting runs could not be started: %s", error)  # noqa: TRY400
                run = None
            if run is not None:
                self._spawn(run)
                continue
            if not self._stopping:
                await self._woken.wait()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _start_next(self) -> Run | None:
        now = datetime.now(UTC)
        held = held_spiders(self._store, self._capacity.settings(), now)
        return start_run(self._store, None, owner=self._store.owner, now=now, limit=self._capacity.runs(), held=held,
                         queues=self._capacity.accepted_queues() if self._store.shared else (), stopping=lambda: self._stopping)

    def _spawn(self, run: Run) -> None:
        assert self._work.perform is not None
        task = asyncio.ensure_future(self._work.perform(run))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Future[None]) -> None:
        self._tasks.discard(task)
        self._woken.set()  # another run may start now

    def wake(self) -> None:
        """Look for waiting runs now."""
        self._woken.set()

    def stop(self) -> None:
        """Start no more runs."""
        self._stopping = True
        self._woken.set()

    async def sweep(self) -> None:
        """Delete jobs that no process takes, if the database was used with procrastinate before. Raises StoreError."""
        await asyncio.to_thread(self._delete_done_jobs)

    def _delete_done_jobs(self) -> None:
        with self._store.write_unlocked() as connection:
            jobs.delete_done(connection)

    @property
    def busy(self) -> bool:
        """Whether a run is in progress."""
        return bool(self._tasks)

    @property
    def builds_digests(self) -> bool:
        """Whether claimed digests are built by the jobs of any process: no, by the process that has claimed them."""
        return False
