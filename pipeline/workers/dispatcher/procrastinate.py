"""The dispatcher for several nodes.

Procrastinate wakes a process for each job, and the process takes the lease of the job's row.

procrastinate listens for new jobs (LISTEN/NOTIFY), hands each job to one process, and notices processes that do not respond any more.
Whether a run starts is decided by its row. A process that loses the connection to the database keeps the runs that it performs, and takes
new jobs as soon as the database answers again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import psycopg
from procrastinate import App, JobContext, PsycopgConnector
from procrastinate.exceptions import ConnectorException, ProcrastinateException
from procrastinate.job_context import AbortReason

from pipeline.errors import PipelineError
from pipeline.model import Run
from pipeline.store import Store
from pipeline.store.database.postgresql import driver_arguments
from pipeline.store.runs import jobs, leases
from pipeline.store.runs.runs import get_run, start_run
from pipeline.workers.dispatcher.base import Capacity, Work
from pipeline.workers.dispatcher.held import held_spiders, starts_at
from pipeline.workers.dispatcher.sweep import Sweeper
from pipeline.workers.dispatcher.tables import prepare_tables

HEARTBEAT_S = 3.0
STALLED_S = 10.0
"""A process whose heartbeat is older than this counts as killed, and its jobs are handed out again."""
RETRY_S = 1.0
LONGEST_RETRY_S = 10.0
"""After the database did not answer: the seconds until the first attempt to use it again, and the most between two attempts."""
FULL_S = 2.0
"""How long a job waits if its process stops, or performs as many runs as it may; the latter only after the database did not answer."""
EARLY = timedelta(seconds=1)
"""The least time after which a job comes again that came before its run may start."""
POLL_S = 2.0
"""How often a process looks for jobs of which no notification has reached it, such as those that waited for their time."""
OTHER_JOBS = 3
"""How many digests and deliveries one process works on at the same time, beside its runs."""

logger = logging.getLogger(__name__)


class ProcrastinateDispatcher:
    """Performs the jobs of procrastinate in this process, for as many runs at the same time as its capacity allows."""

    def __init__(self, store: Store, capacity: Capacity, work: Work) -> None:
        """Create the tables of procrastinate if they do not exist. Raises StoreError."""
        self._store = store
        self._capacity = capacity
        self._work = work
        self._stopping = False
        self._changed = asyncio.Event()
        self._app: App | None = None
        self._sweeper = Sweeper(store, stalled_s=STALLED_S)
        self._offered: tuple[object, ...] = ()
        self._performing: dict[int, asyncio.Task[None]] = {}
        self._other_work: set[asyncio.Future[None]] = set()
        for name in ("procrastinate", "psycopg.pool"):  # this module logs failures, once and without a traceback
            logging.getLogger(name).setLevel(logging.CRITICAL)
        prepare_tables(store)

    async def run(self) -> None:
        """Perform jobs until stop() is called, and return when the runs in progress have ended."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(partial(_ignore_lost_connections, loop.get_exception_handler()))
        failures = 0
        while not self._stopping:
            self._changed.clear()
            try:
                await self._take_jobs()
                failures = 0
            except (PipelineError, ProcrastinateException, psycopg.Error, OSError) as error:
                failures += 1
                if failures == 1:
                    logger.error("waiting runs cannot be taken from the database, which is tried again: %s", error.__cause__ or error)  # noqa: TRY400
            if not self._changed.is_set() and not self._stopping:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), min(LONGEST_RETRY_S, RETRY_S * 2.0 ** min(failures, 10)))
        if work := {*self._performing.values(), *self._other_work}:
            await asyncio.wait(work)

    async def _take_jobs(self) -> None:
        """Perform jobs until the settings change, stop() is called or the connection to the database is lost."""
        await asyncio.to_thread(prepare_tables, self._store)
        app = App(connector=PsycopgConnector(kwargs=driver_arguments(self._store.engine), min_size=1, max_size=3, timeout=5.0))
        for name, perform in ((jobs.PERFORM_RUN, self._perform_run), (jobs.FOLLOW_RUN, self._follow_run),
                              (jobs.BUILD_DIGEST, self._build_digest), (jobs.DELIVER, self._deliver)):
            app.task(name=name, pass_context=True)(perform)
        self._offered = self._offer()
        async with app.open_async():
            self._app = app
            changed = asyncio.create_task(self._changed.wait())
            workers = [asyncio.create_task(app.run_worker_async(
                queues=queues, concurrency=concurrency, listen_notify=True, fetch_job_polling_interval=POLL_S, abort_job_polling_interval=POLL_S,
                update_heartbeat_interval=HEARTBEAT_S, stalled_worker_timeout=STALLED_S, shutdown_graceful_timeout=0, delete_jobs="always",
                install_signal_handlers=False)) for queues, concurrency in self._queues()]
            try:
                await asyncio.wait([*workers, changed], return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._app = None
                for task in (*workers, changed):
                    task.cancel()
                ended = await asyncio.gather(*workers, return_exceptions=True)
            for each in ended:
                if isinstance(each, BaseException) and not isinstance(each, asyncio.CancelledError):
                    raise each

    def _queues(self) -> list[tuple[list[str], int]]:
        """Return the queues from which this process takes jobs, and how many jobs at the same time."""
        other = [queue for queue, work in ((jobs.DIGESTS, self._work.build_digest), (jobs.OUTBOX, self._work.deliver)) if work is not None]
        found = [(other, OTHER_JOBS)] if other else []
        if self._work.perform is not None:
            found.append((list(self._capacity.named_queues()), self._capacity.runs()))
        return found

    def _offer(self) -> tuple[object, ...]:
        return self._capacity.named_queues(), self._capacity.runs()

    def wake(self) -> None:
        """Use the current settings. New runs need no call, because their jobs wake the processes of all nodes."""
        if self._offer() != self._offered:
            self._changed.set()

    def stop(self) -> None:
        """Take no more jobs."""
        self._stopping = True
        self._changed.set()

    async def sweep(self) -> None:
        """Defer lost jobs again, and hand out the jobs of processes that were killed. Raises StoreError."""
        app = self._app
        if app is None:
            return
        try:
            await self._sweeper.sweep(app.job_manager, self._capacity.settings())
        except (ProcrastinateException, psycopg.Error) as error:
            logger.warning("the jobs of lost processes could not be handed out again: %s", error.__cause__ or error)

    @property
    def busy(self) -> bool:
        """Whether a run is in progress in this process."""
        return bool(self._performing or self._other_work)

    @property
    def builds_digests(self) -> bool:
        """Whether claimed digests are built by the jobs of any process: yes."""
        return True

    # Jobs

    async def _perform_run(self, context: JobContext, run_id: int) -> None:
        if run_id in self._performing or self._work.perform is None:
            return
        task = self._performing[run_id] = asyncio.create_task(_logged(self._start_and_perform(run_id, self._work.perform), f"the job of run {run_id}"))
        task.add_done_callback(lambda _: self._performing.pop(run_id, None))
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if context.abort_reason() is not AbortReason.USER_REQUEST:
                raise  # the connection was lost or this process stops: the run continues without its job
            self._work.stop_run(run_id)
            await asyncio.wait({task})

    async def _start_and_perform(self, run_id: int, perform: Callable[[Run], Awaitable[None]]) -> None:
        try:
            run = await asyncio.to_thread(self._start, run_id)
        except PipelineError as error:
            logger.error("run %d could not be started, and will be tried again: %s", run_id, error)  # noqa: TRY400
            return
        if run is not None:
            await perform(run)

    def _start(self, run_id: int) -> Run | None:
        """Take the lease of a waiting run and return the run; None if it must not start now.

        If the run must wait until a certain time, its job comes again at this time. If another run of the spider is in progress, its end
        defers the job again.
        """
        here, settings = datetime.now(UTC), self._capacity.settings()
        found = get_run(self._store, run_id)
        if found is None or found.started_at is not None or found.ended_at is not None:
            return None
        with self._store.read() as connection:
            now = leases.shared_time(connection, here)  # the server decides by its clock when a job is due
        at = starts_at(found, held_spiders(self._store, settings, now, [found.spider]), now)
        if at is None and (self._stopping or len(self._performing) > self._capacity.runs()):
            at = now + timedelta(seconds=FULL_S)
        if at is not None:
            with self._store.write(spider=found.spider) as connection:  # never at once: a job that came early would come again and again
                jobs.defer_run(connection, found, at=max(at, now + EARLY))
            return None
        return start_run(self._store, run_id, owner=self._store.owner, now=here, limit=self._capacity.runs(), spider=found.spider)

    async def _follow_run(self, context: JobContext, run_id: int) -> None:
        if self._work.follow_run is not None:
            await self._detached(_logged(self._work.follow_run(run_id), f"the job that follows run {run_id}"))

    async def _build_digest(self, context: JobContext, digest_id: int) -> None:
        if self._work.build_digest is not None:
            await self._detached(_logged(self._work.build_digest(digest_id), f"the job of digest {digest_id}"))

    async def _deliver(self, context: JobContext, message_id: int) -> None:
        if self._work.deliver is not None:
            self._work.deliver()

    async def _detached(self, work: Awaitable[None]) -> None:
        """Await work that continues if its job is cancelled, because the connection was lost or this process stops."""
        task = asyncio.ensure_future(work)
        self._other_work.add(task)
        task.add_done_callback(self._other_work.discard)
        await asyncio.shield(task)


async def _logged(work: Awaitable[None], what: str) -> None:
    """Await the work of a job, and log an unexpected exception."""
    try:
        await work
    except Exception:
        logger.exception("%s failed unexpectedly", what)


def _ignore_lost_connections(former: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], Any] | None, loop: asyncio.AbstractEventLoop,
                             context: dict[str, Any]) -> None:
    """Handle an exception that no one awaits, except that of a job that could not be deleted: the scheduler leader repairs such a job."""
    if isinstance(context.get("exception"), ConnectorException):
        return
    if former is not None:
        former(loop, context)
    else:
        loop.default_exception_handler(context)
