"""Repair the jobs of procrastinate after the rows of the store, which are the truth."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from procrastinate.exceptions import ConnectorException, UniqueViolation
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager
from sqlalchemy import select, update

from pipeline.model import Run
from pipeline.settings import Settings
from pipeline.store import Store
from pipeline.store.database.schema import digests as digests_table
from pipeline.store.database.schema import runs
from pipeline.store.from_settings import queues_of
from pipeline.store.mail import digests
from pipeline.store.runs import jobs, leases
from pipeline.store.runs.runs import waiting_runs
from pipeline.store.runs.slots import run_of
from pipeline.workers.dispatcher.held import held_spiders, starts_at

MOST = 500
"""The maximum number of runs, and of digests, for which one sweep defers jobs in one transaction."""
TOLERANCE = timedelta(seconds=1)
PAUSE = 20.0
"""For so many times the duration of the last search for lost jobs, there is no other one, because very many runs may wait."""


class Sweeper:
    """Repairs jobs. stalled_s: a process whose heartbeat is older than this counts as killed."""

    def __init__(self, store: Store, *, stalled_s: float) -> None:
        self._store = store
        self._stalled_s = stalled_s
        self._next = 0.0
        self._finished: set[int] = set()
        """The jobs that the last sweep found in progress although the work of their rows was done."""

    async def sweep(self, manager: JobManager, settings: Settings) -> None:
        """Hand out the jobs of killed processes again, and defer a job for each waiting row that has none or has it at a wrong time."""
        began = time.monotonic()
        stalled = list(await manager.get_stalled_jobs(seconds_since_heartbeat=self._stalled_s))
        doing = list(await manager.list_jobs_async(status=Status.DOING.value))
        for job in (*stalled, *await self._never_finished(doing)):
            await _hand_out_again(manager, job, await asyncio.to_thread(self._now))
        if began >= self._next:
            await self._defer_missing(manager, settings, [*doing, *await manager.list_jobs_async(status=Status.TODO.value)])
            self._next = began + PAUSE * (time.monotonic() - began)

    def _now(self) -> datetime:
        """Return the time by the clock of the database server, which decides when a job is due."""
        with self._store.read() as connection:
            return leases.shared_time(connection, datetime.now(UTC))

    async def _never_finished(self, doing: Iterable[Job]) -> list[Job]:
        """Return the jobs in progress whose work was done at the last sweep already.

        The process of such a job could not delete it, because the database did not answer. The lock of the job would block other jobs.
        """
        done = await asyncio.to_thread(self._whose_work_is_done, list(doing))
        found = [job for job in done if job.id in self._finished]
        self._finished = {job.id for job in done if job.id is not None}
        return found

    def _whose_work_is_done(self, doing: Sequence[Job]) -> list[Job]:
        run_ids, digest_ids = ([job.task_kwargs[key] for job in doing if key in job.task_kwargs] for key in ("run_id", "digest_id"))
        with self._store.read() as connection:
            ended = set(connection.execute(select(runs.c.id).where(runs.c.id.in_(run_ids), runs.c.ended_at.is_not(None))).scalars())
            closed = set(connection.execute(select(digests_table.c.id).where(
                digests_table.c.id.in_(digest_ids), digests_table.c.closed_at.is_not(None))).scalars())
        return [job for job in doing if job.task_kwargs.get("run_id") in ended or job.task_kwargs.get("digest_id") in closed
                or job.task_name == jobs.DELIVER]

    async def _defer_missing(self, manager: JobManager, settings: Settings, found: Iterable[Job]) -> None:
        now, store = await asyncio.to_thread(self._now), self._store
        live: dict[str | None, list[Job]] = {}
        for job in found:
            live.setdefault(job.queueing_lock, []).append(job)
        waiting = await asyncio.to_thread(waiting_runs, store)
        claims = await asyncio.to_thread(digests.waiting_claims, store, now=now)
        held = await asyncio.to_thread(held_spiders, store, settings, now, {run.spider for run in waiting})
        queues = queues_of(settings)
        wrong = [run for run in waiting if _is_wrong(live.get(jobs.run_lock(run.id), ()), run, queues.get(run.spider, jobs.DEFAULT_QUEUE),
                                                     starts_at(run, held, now), now)][:MOST]
        for run in wrong:
            for job in live.get(jobs.run_lock(run.id), ()):
                assert job.id is not None
                await manager.cancel_job_by_id_async(job.id, delete_job=True)
        lost = [claim for claim in claims if jobs.digest_lock(claim.id) not in live][:MOST]
        if wrong or lost:
            await asyncio.to_thread(_defer, store, wrong, {run.id: starts_at(run, held, now) for run in wrong}, queues, lost)


async def _hand_out_again(manager: JobManager, job: Job, now: datetime) -> None:
    assert job.id is not None
    try:
        await manager.retry_job_by_id_async(job.id, retry_at=now)
    except UniqueViolation:  # its row has another job
        await manager.finish_job_by_id_async(job.id, Status.FAILED, delete_job=True)
    except ConnectorException:  # the job has ended in the meantime
        return


def _is_wrong(live: Iterable[Job], run: Run, queue: str, at: datetime | None, now: datetime) -> bool:
    """Return whether a waiting run needs a new job: it has none, or only one that is too late or in another queue."""
    for job in live:
        if job.status == Status.DOING.value:
            return False
        too_late = job.scheduled_at is not None and job.scheduled_at > (at or now) + TOLERANCE
        return too_late or job.queue != queue or run.queue != queue
    return True


def _defer(store: Store, waiting: Iterable[Run], at: dict[int, datetime | None], queues: dict[str, str],
           lost: Iterable[digests.WaitingClaim]) -> None:
    with store.write() as connection:
        for run in waiting:
            row = connection.execute(update(runs).where(
                runs.c.id == run.id, runs.c.started_at.is_(None), runs.c.ended_at.is_(None)).values(
                    queue=queues.get(run.spider, jobs.DEFAULT_QUEUE)).returning(runs)).first()
            if row is not None:
                jobs.defer_run(connection, run_of(row), at=at[run.id])
        for claim in lost:
            jobs.defer_digest(connection, claim.id, claim.name, at=claim.at)
