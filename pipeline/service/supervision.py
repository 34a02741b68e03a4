"""Supervise runs: perform those that the dispatcher starts, log how they end, do what follows."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

from pipeline import logs
from pipeline.errors import PipelineError
from pipeline.heartbeat.notify.monitors import MonitorNotifier
from pipeline.model import Outcome, Run
from pipeline.run_summary import ended_line, progress_line
from pipeline.service.state import ServiceState, about, utc_now
from pipeline.store.runs import runs
from pipeline.workers.dispatcher.held import held_spiders
from pipeline.workers.runner import Runner

LEFT_FOR = timedelta(seconds=10)
"""How long no process starts a run that this process could not perform."""

logger = logging.getLogger("pipeline.service")


class RunSupervisor:
    """Performs runs.

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

    async def held(self) -> set[str]:
        """Return the spiders whose runs must not start now.

        Their runs must wait because of quiet hours, or because a host is paused.
        Raises StoreError.
        """
        return set(await asyncio.to_thread(held_spiders, self._state.store, self._state.settings, utc_now()))

    async def log_progress(self) -> None:
        """Log the progress of each run in progress, if the progress has changed since it was last logged."""
        with contextlib.suppress(PipelineError):  # the heartbeat reports an unreadable store
            found = [run for run in await asyncio.to_thread(runs.history, self._state.store, None, limit=20) if run.running]
            logged, self._logged_progress = self._logged_progress, {run.id: progress_line(run) for run in found}
            for run in found:
                if (line := self._logged_progress[run.id]) != logged.get(run.id):
                    logger.info("%s run %d: %s", run.spider, run.id, line, extra=about(run))

    async def perform(self, run: Run) -> None:
        """Perform a leased run, and return when it has ended. What follows the run continues in the background."""
        self.finishing.add(run.id)
        try:
            with logs.about(run=run.id, spider=run.spider):
                ended = await self._perform(run)
        except Exception as error:
            logger.error("%s run %d could not be performed: %s", run.spider, run.id, error,  # noqa: TRY400  a traceback only if the error is unexpected
                         exc_info=None if isinstance(error, PipelineError) else error, extra=about(run))
            self._state.failed = True
            ended = None
        if ended is None or self._state.stopping.is_set():  # the digest of this run is built at the next start of the service
            self.finishing.discard(run.id)
        else:
            self._state.spawn(self._follow_up(ended))
        self._state.wake_dispatcher()

    async def _perform(self, run: Run) -> Run | None:
        """Perform a run, and return the ended run; None if its spider does not exist any more."""
        state = self._state
        if run.spider not in state.settings.spiders:
            await self._refuse_unknown(run)
            return None
        logger.info("%s run %d has started%s", run.spider, run.id, f" ({run.reason})" if run.reason != "schedule" else "")
        self._monitors.run_started(run)
        run = await self._runner.perform(run)
        self._monitors.run_ended(run)
        succeeded = run.outcome in (Outcome.SUCCEEDED, Outcome.STOPPED)
        logger.log(logging.INFO if succeeded else logging.ERROR, "%s", ended_line(run))
        state.failed = state.failed or not succeeded
        if state.stopping.is_set() and state.store.shared:
            await asyncio.to_thread(runs.resume_run, state.store, run, now=utc_now())  # another node goes on with the pass
        return run

    async def _refuse_unknown(self, run: Run) -> None:
        """End a run whose spider is not in the settings; on a shared store, leave it to a node whose settings may have the spider."""
        state = self._state
        if not state.store.shared:
            await asyncio.to_thread(runs.end_run, state.store, run, runs.Ending(Outcome.FAILED, runs.UNKNOWN_SPIDER, "SpiderError"), None, now=utc_now())
            return
        await asyncio.to_thread(runs.give_back, state.store, run, now=utc_now(), wait=LEFT_FOR)
        logger.warning("%s run %d was left to another node, because the settings of this one have no spider %s; reload the settings here (`pipeline reload`)",
                       run.spider, run.id, run.spider)

    async def _follow_up(self, run: Run) -> None:
        try:
            with logs.about(run=run.id, spider=run.spider):
                await self._after_run(run)
        finally:
            self.finishing.discard(run.id)
        self._state.slots_changed.set()
