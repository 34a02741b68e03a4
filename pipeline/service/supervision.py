"""Supervise runs: perform waiting runs in child processes, and log how the runs end.

At most `max_runs` runs are in progress at the same time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from pipeline import logs
from pipeline.errors import PipelineError
from pipeline.heartbeat.notify.monitors import MonitorNotifier
from pipeline.model import Outcome, Run
from pipeline.run_summary import ended_line, progress_line
from pipeline.service.state import ServiceState, about, utc_now
from pipeline.settings import quiet_until
from pipeline.store.runs import host_pauses, runs
from pipeline.workers.runner import Runner

logger = logging.getLogger("pipeline.service")


class RunSupervisor:
    """Starts and performs runs.

    after_run: a coroutine function that is called with each run that has ended, unless the service is stopping.
    """

    def __init__(self, state: ServiceState, runner: Runner, monitors: MonitorNotifier, after_run: Callable[[Run], Awaitable[None]]) -> None:
        self._state = state
        self._runner = runner
        self._monitors = monitors
        self._after_run = after_run
        self._logged_progress: dict[int, str] = {}
        self.finishing: set[int] = set()
        """The ids of runs that this service performs, or that have ended and whose `after_run` has not. Alerts about them wait."""

    async def start_runs(self) -> None:
        """Start waiting runs, the oldest first, until the service stops.

        At most `max_runs` runs are in progress at the same time.
        """
        state = self._state
        while not state.stopping.is_set():
            state.runs_changed.clear()
            try:
                run = await asyncio.to_thread(runs.start_run, state.store, None, owner=state.store.owner, now=utc_now(),
                                              limit=state.settings.pipeline.max_runs, held=await self.held())
            except PipelineError as error:
                logger.error("waiting runs could not be started: %s", error)  # noqa: TRY400
                run = None
            if run is not None:
                state.spawn(self._perform(run))
                continue
            await state.runs_changed.wait()

    async def held(self) -> set[str]:
        """Return the spiders whose runs must not start now.

        Their runs must wait because of quiet hours, or because a host is paused.
        Raises StoreError.
        """
        now, settings = utc_now(), self._state.settings
        paused = await asyncio.to_thread(host_pauses.paused_hosts, self._state.store, now=now)
        here = now.astimezone(settings.zone)
        return {name for name, spider in settings.spiders.items()
                if quiet_until(spider.quiet, here) is not None or host_pauses.paused_until(spider, paused) is not None}

    async def log_progress(self) -> None:
        """Log the progress of each run in progress, if the progress has changed since it was last logged."""
        with contextlib.suppress(PipelineError):  # the heartbeat reports an unreadable store
            found = [run for run in await asyncio.to_thread(runs.history, self._state.store, None, limit=20) if run.running]
            logged, self._logged_progress = self._logged_progress, {run.id: progress_line(run) for run in found}
            for run in found:
                if (line := self._logged_progress[run.id]) != logged.get(run.id):
                    logger.info("%s run %d: %s", run.spider, run.id, line, extra=about(run))

    async def _perform(self, run: Run) -> None:
        self.finishing.add(run.id)
        try:
            await self._perform_and_report(run)
        finally:
            self.finishing.discard(run.id)

    async def _perform_and_report(self, run: Run) -> None:
        state = self._state
        with logs.about(run=run.id, spider=run.spider):
            if run.spider not in state.settings.spiders:
                await asyncio.to_thread(runs.end_run, state.store, run, runs.Ending(
                    Outcome.FAILED, "the spider is no longer in the settings", "SpiderError"), None, now=utc_now())
                return
            logger.info("%s run %d has started%s", run.spider, run.id, f" ({run.reason})" if run.reason != "schedule" else "")
            self._monitors.run_started(run)
            run = await self._runner.perform(run)
            self._monitors.run_ended(run)
            succeeded = run.outcome in (Outcome.SUCCEEDED, Outcome.STOPPED)
            logger.log(logging.INFO if succeeded else logging.ERROR, "%s", ended_line(run))
            state.failed = state.failed or not succeeded
            state.runs_changed.set()
            if state.stopping.is_set():
                return  # the digest of this run is built at the next start of the service
            await self._after_run(run)
            state.slots_changed.set()
