"""The APScheduler jobs of a service: schedules of spiders and digests, and work repeated at intervals.

The job of a schedule only signals that a slot may be due; the rows in the store decide whether the slot is claimed
(schedule/claims.py). The jobs are kept in memory, because the schedules are in the settings and the claimed slots are in the
database.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.events import EVENT_JOB_MAX_INSTANCES, EVENT_JOB_SUBMITTED, JobSubmissionEvent
from apscheduler.executors.asyncio import AsyncIOExecutor
from apscheduler.executors.base import BaseExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger

from pipeline.schedule.claims import Schedules
from pipeline.schedule.slot_trigger import SlotTrigger

CLOCK_EVERY_S = 1.0
"""The interval at which the wall clock is compared with the monotonic clock."""
CLOCK_SET_S = 2.0
"""If the difference between the two clocks changes by more than this during one interval, the wall clock was set."""
LATE_S = 1.0
"""A job that starts more than this time after its due time is counted as late."""
_SCHEDULES = "schedules"
_AT_ONCE = "at once"
_PUT_OFF = "postponed slots"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class IntervalJob:
    """Work that is repeated at an interval.

    next_at: when the work is due next; None if the work will not be repeated.
    """

    name: str
    every_s: float
    next_at: datetime | None


@dataclass(frozen=True)
class Jobs:
    """The jobs of the scheduler.

    schedules: the number of schedules of spiders and digests, each of which has one job.
    next_schedule_at: when the first of these jobs is due; None if no job is due any more.
    intervals: the work repeated at intervals.
    late: how many jobs were started more than LATE_S seconds late. longest_late_s: the longest of these delays.
    skipped: how many jobs were not started when they were due, because the same job was still running.
    The last three are counted from the start of the service.
    """

    schedules: int
    next_schedule_at: datetime | None
    intervals: tuple[IntervalJob, ...]
    late: int
    longest_late_s: float
    skipped: int


class _CallingExecutor(BaseExecutor):  # type: ignore[misc]  # APScheduler has no types
    """Calls the function of a job directly in the event loop.

    APScheduler's own executor creates a task for each of thousands of jobs. This is unnecessary, because the function only sets an
    event.
    """

    def _do_submit_job(self, job: Any, run_times: list[datetime]) -> None:
        job.func()
        self._run_job_success(job.id, [])


class Scheduling:
    """The scheduler of a service.

    on_due: called when a slot may be due. on_failure: called when a periodic job failed.
    on_clock: called with the number of seconds by which the wall clock was set forward (negative: back).

    APScheduler sleeps on the monotonic clock (loop.call_later), but computes due times from the wall clock. Periodic jobs are
    therefore rescheduled when the wall clock is set.
    """

    def __init__(self, *, on_due: Callable[[], None], on_clock: Callable[[float], None], on_failure: Callable[[], None],
                 now: Callable[[], datetime]) -> None:
        self._on_due = on_due
        self._on_clock = on_clock
        self._on_failure = on_failure
        self._now = now
        self._intervals: dict[str, float] = {}
        self._clock_task: asyncio.Task[None] | None = None
        # At its default level, APScheduler logs every job that it starts or skips.
        # Failures are logged by this module.
        logging.getLogger("apscheduler.scheduler").setLevel(logging.ERROR)
        logging.getLogger("apscheduler.executors").setLevel(logging.CRITICAL)
        self._late = self._skipped = self._planned = 0
        self._longest_late_s = 0.0
        self._schedules = MemoryJobStore()
        self._scheduler = AsyncIOScheduler(
            timezone=UTC, jobstores={"default": MemoryJobStore(), _SCHEDULES: self._schedules},
            executors={"default": AsyncIOExecutor(), _AT_ONCE: _CallingExecutor()},
            job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 1})

        self._scheduler.add_listener(self._note_start, EVENT_JOB_SUBMITTED)
        self._scheduler.add_listener(self._note_skipped, EVENT_JOB_MAX_INSTANCES)

    def start(self) -> None:
        """Start the scheduler in the running event loop."""
        self._scheduler.start()
        self._clock_task = asyncio.create_task(self._watch_clock())

    def every(self, seconds: float, name: str, work: Callable[[], Awaitable[None]], *, first_s: float | None = None) -> None:
        """Call `work` every `seconds` seconds, but never while the previous call is still running.

        name: the name of the job in logs. first_s: the delay before the first call; None means `seconds`. A failed call is logged,
        and the next call follows as usual.
        """
        async def job() -> None:
            try:
                await work()
            except Exception:
                logger.exception("the periodic job “%s” failed unexpectedly; the next start is in %.0f s", name, seconds)
                self._on_failure()

        self._intervals[name] = seconds
        self._scheduler.add_job(job, IntervalTrigger(seconds=seconds, timezone=UTC), id=name,
                                next_run_time=self._now() + timedelta(seconds=seconds if first_s is None else first_s))

    def plan(self, plans: Schedules) -> None:
        """Replace the jobs of all schedules. This method may be called from any thread."""
        self._scheduler.pause()  # otherwise, adding each of thousands of jobs would wake the scheduler
        try:
            self._scheduler.remove_all_jobs(_SCHEDULES)
            for number, entry in enumerate(plans.entries):
                # Pass the first time, which is known, so that the trigger does not compute it again.
                self._scheduler.add_job(self._on_due, SlotTrigger(entry.times, entry.since), id=str(number), name=entry.name,
                                        jobstore=_SCHEDULES, executor=_AT_ONCE, next_run_time=entry.due.at)
            self._planned = len(plans.entries)
        finally:
            self._scheduler.resume()

    def plan_nothing(self) -> None:
        """Remove the jobs of all schedules, because another service claims the slots."""
        self._scheduler.remove_all_jobs(_SCHEDULES)
        self._planned = 0

    def jobs(self) -> Jobs:
        """Return the jobs of the scheduler. This method may be called from any thread."""
        next_at = {job.id: job.next_run_time for job in self._scheduler.get_jobs("default")}
        return Jobs(self._planned, self._schedules.get_next_run_time(),
                    tuple(IntervalJob(name, every_s, next_at.get(name)) for name, every_s in self._intervals.items()),
                    self._late, self._longest_late_s, self._skipped)

    def _note_start(self, event: JobSubmissionEvent) -> None:
        late_s = (self._now() - event.scheduled_run_times[0]).total_seconds()
        if late_s > LATE_S:
            self._late += 1
            self._longest_late_s = max(self._longest_late_s, late_s)

    def _note_skipped(self, event: JobSubmissionEvent) -> None:
        self._skipped += 1

    def look_again(self, at: datetime | None) -> None:
        """Call on_due at the time `at`, instead of at the time given in an earlier call; None changes nothing."""
        if at is not None:
            self._scheduler.add_job(self._on_due, DateTrigger(at, timezone=UTC), id=_PUT_OFF, executor=_AT_ONCE, replace_existing=True)

    def stop(self) -> None:
        if self._clock_task is not None:
            self._clock_task.cancel()
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    async def _watch_clock(self) -> None:
        """Detect that the wall clock was set.

        This is an asyncio task and not an APScheduler job: if the clock is set back, a job would not start before its old due time.
        """
        ahead_s = self._now().timestamp() - time.monotonic()
        while True:
            await asyncio.sleep(CLOCK_EVERY_S)
            before_s, ahead_s = ahead_s, self._now().timestamp() - time.monotonic()
            if abs(ahead_s - before_s) > CLOCK_SET_S:
                self._clock_was_set(ahead_s - before_s)

    def _clock_was_set(self, seconds: float) -> None:
        logger.warning("the system clock was set %s by %.0f s: all schedules are being recalculated", "forward" if seconds > 0 else "back", abs(seconds))
        now = self._now()
        for name, interval_s in self._intervals.items():
            try:
                self._scheduler.modify_job(name, next_run_time=now + timedelta(seconds=interval_s))
            except JobLookupError:  # the job has ended
                continue
        self._on_clock(seconds)
        self._scheduler.wakeup()
