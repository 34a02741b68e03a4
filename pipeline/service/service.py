"""The service: schedules, children, outbox, heartbeat and the demo site on one asyncio loop.

Nothing here blocks or computes for long: the store is asked in threads, crawls and digests are children.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pipeline
from pipeline import logs
from pipeline.demo import DemoSite
from pipeline.download.storage.retention import Tidied, tidy
from pipeline.errors import PipelineError, SettingsError, StoreError
from pipeline.heartbeat import Desk, Outward, Past, Snapshot, announce, heartbeat_of
from pipeline.heartbeat.connections.limits import OPEN_FILES_FIX, open_files_for, raise_open_files
from pipeline.heartbeat.snapshot.build import due_for_success, snapshot
from pipeline.mail import alerts
from pipeline.mail.outbox import Attempt, Outbox
from pipeline.mail.transports import open_transport
from pipeline.model import DigestClaim, MessageState, Outcome, Run
from pipeline.run_log import remove_page_files
from pipeline.run_summary import ended_line, progress_line
from pipeline.schedule.claims import Plans, claim_due, open_plans
from pipeline.schedule.plan import Plan, Planned
from pipeline.schedule.timetable import Timetable
from pipeline.service.scheduling import Scheduling
from pipeline.settings import Settings, load, quiet_until
from pipeline.settings.restart import refuse_what_takes_a_restart
from pipeline.store import open_store
from pipeline.store.mail import digests, outbox
from pipeline.store.mail.alerts import AlertKind, Trouble, failures_and_success
from pipeline.store.mail.alerts import told as told_alerts
from pipeline.store.maintenance import retention
from pipeline.store.maintenance.clock_trust import ClockTrust
from pipeline.store.maintenance.instance_lock import sole_service
from pipeline.store.runs import host_pauses, runs, slots
from pipeline.store.runs.follow_ups import is_tried_again
from pipeline.text import size_for_people
from pipeline.workers.forkserver import warm_up
from pipeline.workers.runner import Runner

RECOVER_EVERY_S = 5.0
PROGRESS_EVERY_S = 2.0
DIGEST_RETRY_S = 60.0
DIGESTS_AT_ONCE = 2
"""One that takes long does not hold the others back."""
RESTART_S = 5.0
ALERTS_EVERY_S = 30.0
TIDY_EVERY_S = 600.0
PRUNE_AFTER_S = 60.0
PRUNE_EVERY_S = 3600.0
PRUNE_PAUSE_S = 0.02
CATCH_UP = timedelta(minutes=10)
"""So long after a start nobody is told that a spider is late: its missed slot is on its way."""
ABORT_S = 5.0
"""How long a delivery that is cut off may take to notice."""
OUTWARD_GRACE_S = 5.0
"""How long a stop waits for the last beats to a dead-man's switch."""
STORE_RETRY_S = 1.0

SWITCH_S = 0.001
"""How long a thread that reads the store may keep Python from the loop: a fifth of what is usual, so that who asks
the heartbeat meanwhile waits half as long."""

logger = logging.getLogger("pipeline.service")
_T = TypeVar("_T")


def utc_now() -> datetime:
    return datetime.now(UTC)


class Service:
    """The composition root of `serve`. once: perform what is due, deliver what came of it, and end.

    show_progress: log the figures of runs while they run, for a terminal. configure_logs: told of reloaded settings.
    """

    def __init__(self, settings: Settings, *, once: bool = False, show_progress: bool = False,
                 configure_logs: Callable[[Settings], None] = lambda settings: None) -> None:
        self.settings = settings
        self._configure_logs = configure_logs
        self._once = once
        self._show_progress = show_progress
        self._started_at = utc_now()
        self._past = Past()
        self._stop = asyncio.Event()
        self._plan_changed = asyncio.Event()
        self._runs_changed = asyncio.Event()
        self._plans: Plans | None = None
        self._at_work: set[asyncio.Task[None]] = set()
        self._digest_locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._digest_places = asyncio.Semaphore(DIGESTS_AT_ONCE)
        self._reload_lock = asyncio.Lock()
        self._failed = False
        self._doubt = ""
        self._progress_told: dict[int, str] = {}
        self._over_quota_bytes = 0
        self._scheduling = Scheduling(on_due=self._plan_changed.set, on_clock=self._clock_was_set,
                                      on_failure=self._note_failure, now=utc_now)

    async def run(self) -> int:
        """Serve until SIGTERM or SIGINT (or, once, until all is done). Returns the exit code."""
        sys.setswitchinterval(SWITCH_S)
        settings = self.settings
        short_of_files = raise_open_files(settings.heartbeat.max_connections)
        if short_of_files:
            logger.warning("%s; %s", short_of_files, OPEN_FILES_FIX.format(open_files_for(settings.heartbeat.max_connections)))
        self._store = await asyncio.to_thread(open_store, settings.data_dir, settings.database_url)
        # Where several services may share the work, the rows of the store say who does what.
        with contextlib.nullcontext() if self._store.shared else sole_service(settings.data_dir) as unclean:
            self._handle_signals()
            self._runner = Runner(self._store, settings)
            self._clock_trust = ClockTrust(self._store)
            self._transport = open_transport(settings, settings.data_dir)
            self._outbox = Outbox(self._store, self._transport, max_age_s=settings.mail.max_age, max_attempts=settings.mail.max_attempts,
                                  per_hour=settings.mail.per_hour, now=utc_now, by_age=self._by_age,
                                  on_event=self._delivered, on_error=lambda error: logger.error("%s", error))
            self._desk = Desk(self._store, lambda: self.settings, utc_now, on_run=self._runs_changed.set,
                              on_plan=self._plan_changed.set, on_mail=self._outbox.wake)
            async with contextlib.AsyncExitStack() as stack:
                await self._open_doors(stack)
                warm_up("pipeline.mail.digest", "pipeline.session.cookies.suffixes")
                if unclean or self._store.shared:
                    await asyncio.to_thread(self._look_for_damage, unclean=bool(unclean))
                await self._recovered()
                self._outward.ready()
                await self._work()
                await self._outward.drained(OUTWARD_GRACE_S)
        self._store.close()
        logger.info("stopped")
        return 1 if self._failed and self._once else 0

    async def _open_doors(self, stack: contextlib.AsyncExitStack) -> None:
        settings = self.settings
        heartbeat = heartbeat_of(settings, self._store, self, self._desk, version=pipeline.__version__)
        await heartbeat.start()
        stack.push_async_callback(heartbeat.stop)
        self._outward = Outward(lambda: self.settings, lambda: self._desk.mask, heartbeat.status)
        announce(settings, heartbeat, on_terminal=self._show_progress)
        if settings.demo is not None:
            site = DemoSite(host=settings.demo.host, port=settings.demo.port,
                            password_file=settings.data_dir / "demo-password")
            await site.start()
            stack.push_async_callback(site.stop)
            logger.info("demo site on %s (user demo, password in %s)", site.url,
                        _shown(settings.data_dir / "demo-password"))

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_stop, number)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._spawn(self._reload()))

    def _asked_to_stop(self, number: int) -> None:
        logger.info("%s: stopping; what is under way is checkpointed", signal.Signals(number).name)
        self._stop.set()
        self._runs_changed.set()
        self._plan_changed.set()

    async def _reload(self) -> None:
        """All or nothing: a file with a problem changes nothing, nor does one whose changes take a restart."""
        async with self._reload_lock:
            try:
                fresh = await asyncio.to_thread(load, self.settings.file)
                refuse_what_takes_a_restart(self.settings, fresh)
            except SettingsError as error:
                logger.error("settings not reloaded:\n%s", error)  # noqa: TRY400
                return
            self._configure_logs(fresh)
            self.settings = self._runner.settings = fresh
        logger.info("settings reloaded from %s", fresh.file)
        self._plan_changed.set()
        self._runs_changed.set()

    def _look_for_damage(self, *, unclean: bool) -> None:
        """After a kill or a power cut: is the database whole? And what was being written then is swept away.

        A shared database is asked at each start: how the last service ended nobody knows, and it costs milliseconds.
        """
        began = utc_now()
        faults = self._store.check()
        if faults:
            raise StoreError(f"the database is damaged: {faults[0]}", where=self._store.where,
                             fix="restore a backup (`pipeline restore FILE --replace`)")
        if not unclean:
            return
        swept = self._store.files.sweep() + remove_page_files(self._store.data_dir)
        logger.info("the last stop was no clean one: the database is whole (looked through in %.1f s)%s",
                    (utc_now() - began).total_seconds(), f"; {swept} files left half written are gone" if swept else "")

    async def _recovered(self) -> None:
        """Take up what was cut short. Where there is no room to write that down, the heartbeat says so until there is."""
        while not self._stop.is_set():
            try:
                await asyncio.to_thread(self._take_up, quiet_only=False)
            except PipelineError as error:
                if not error.retry:
                    raise
                logger.error("recovery: %s", error)  # noqa: TRY400
            else:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), STORE_RETRY_S)

    async def _work(self) -> None:
        outbox_task = asyncio.create_task(self._kept(self._outbox.run))
        tasks = [outbox_task, *(asyncio.create_task(self._kept(loop)) for loop in (
            self._schedule, self._start_runs, self._outward.run))]
        self._time_jobs()
        await self._stop.wait()
        self._outward.stopping()
        self._runner.stop()
        if self._at_work:
            await asyncio.wait(self._at_work, timeout=self.settings.pipeline.shutdown_grace + 10)
        self._outbox.stop()
        done_in_time, _ = await asyncio.wait([outbox_task], timeout=self.settings.pipeline.shutdown_grace)
        if not done_in_time:
            self._outbox.abort()  # a message that is cut off waits for the next start
            await asyncio.wait([outbox_task], timeout=ABORT_S)
        self._scheduling.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _time_jobs(self) -> None:
        """What is done at intervals; schedules are added when they are planned."""
        every = self._scheduling.every
        self._scheduling.start()
        every(RECOVER_EVERY_S, "recovery", self._recover)
        every(DIGEST_RETRY_S, "untold digests", self._untold_digests, first_s=0.0)
        every(ALERTS_EVERY_S, "alerts", self._tell_alerts)
        every(TIDY_EVERY_S, "tidying downloads", self._tidy_downloads, first_s=0.0)
        every(PRUNE_EVERY_S, "retention", self._forget_the_past, first_s=PRUNE_AFTER_S)
        if self._show_progress:
            every(PROGRESS_EVERY_S, "progress", self._report_progress)

    def _clock_was_set(self, seconds: float) -> None:
        if seconds < 0:
            self._plans = None  # slots after now that were dealt with are due again
        self._plan_changed.set()
        self._runs_changed.set()

    def _note_failure(self) -> None:
        self._failed = True

    async def _kept(self, loop: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a loop until it ends; one that fails goes on after a while. A fault in one must not end the others."""
        while True:
            try:
                await loop()
            except Exception:
                logger.exception("%s failed; it goes on in %.0f s", loop.__qualname__, RESTART_S)
                self._failed = True
                await asyncio.sleep(RESTART_S)
            else:
                return

    # Schedules

    async def _schedule(self) -> None:
        """Claim slots when they are due; what was missed while we were down is claimed once, for its newest time."""
        while not self._stop.is_set():
            self._plan_changed.clear()
            now = utc_now()
            try:
                plans = self._plans
                if plans is None or plans.settings is not self.settings:
                    plans = self._plans = await asyncio.to_thread(open_plans, self._store, self.settings, now=now)
                    await asyncio.to_thread(self._scheduling.plan, plans)
                    gc.freeze()  # thousands of schedules stay, too
                await self._claim_due(plans, now)
                self._scheduling.look_again(plans.put_off_until(now))
            except PipelineError as error:
                logger.error("schedule: %s", error)  # noqa: TRY400
                self._scheduling.look_again(utc_now() + timedelta(seconds=STORE_RETRY_S))
            if self._once:
                await self._finish_when_idle()
            await self._plan_changed.wait()

    async def _claim_due(self, plans: Plans, now: datetime) -> None:
        for run in await asyncio.to_thread(claim_due, self._store, plans, now=now):
            if run.outcome is Outcome.SKIPPED:
                logger.info("%s: skipped: %s", run.spider, run.error, extra=_of(run))
            self._runs_changed.set()
        for entry in plans.digests.due(now):
            held = plans.settings.digests[entry.name].quiet_until(now, plans.settings.zone)
            if held is not None:
                plans.digests.wait(entry, held)
            else:
                self._spawn(self._tell_due(plans.digests, entry))

    async def _tell_due(self, plan: Plan, entry: Planned) -> None:
        """A digest's slot: dealt with once its runs are claimed, and looked at again when they could not be."""
        if entry.name not in self.settings.digests:
            return
        if await self._tell(entry.name, entry.due.key, scheduled=True):
            await asyncio.to_thread(slots.move_cursor, self._store, "digest", entry.name, entry.schedule, entry.due.planned)
            plan.advance(entry, utc_now())
        else:
            plan.wait(entry, utc_now() + timedelta(seconds=DIGEST_RETRY_S))
        self._plan_changed.set()

    # Runs

    async def _start_runs(self) -> None:
        """Start waiting runs, the oldest first, while there is room."""
        while not self._stop.is_set():
            self._runs_changed.clear()
            try:
                run = await asyncio.to_thread(runs.start_run, self._store, None, owner=self._store.owner,
                                              now=utc_now(), limit=self.settings.pipeline.max_runs, held=await self._held())
            except PipelineError as error:
                logger.error("runs: %s", error)  # noqa: TRY400
                run = None
            if run is not None:
                self._spawn(self._perform(run))
                continue
            await self._runs_changed.wait()

    async def _held(self) -> set[str]:
        """Spiders in their quiet hours, and those whose hosts asked to be left alone: what is due waits for the end of it.

        Raises StoreError.
        """
        now = utc_now()
        paused = await asyncio.to_thread(host_pauses.paused_hosts, self._store, now=now)
        here = now.astimezone(self.settings.zone)
        return {name for name, spider in self.settings.spiders.items()
                if quiet_until(spider.quiet, here) is not None or host_pauses.left_alone_until(spider, paused) is not None}

    async def _perform(self, run: Run) -> None:
        with logs.about(run=run.id, spider=run.spider):
            await self._see_to(run)

    async def _see_to(self, run: Run) -> None:
        if run.spider not in self.settings.spiders:
            await asyncio.to_thread(runs.end_run, self._store, run, runs.Ending(
                Outcome.FAILED, "its spider is no longer in the settings", "SpiderError"), None, now=utc_now())
            return
        logger.info("%s run %d: started%s", run.spider, run.id, f" ({run.reason})" if run.reason != "schedule" else "")
        self._outward.started(run)
        run = await self._runner.perform(run)
        self._outward.ended(run)
        well = run.outcome in (Outcome.SUCCEEDED, Outcome.STOPPED)
        logger.log(logging.INFO if well else logging.ERROR, "%s", ended_line(run))
        self._failed = self._failed or not well
        self._runs_changed.set()
        if self._stop.is_set():
            return  # its digest is made at the next start
        if not await self._ask(is_tried_again, run):
            for name, digest in self.settings.digests.items():
                if not digest.schedule and run.spider in digest.spiders:
                    await self._tell(name, f"after run {run.id}")
        await self._tell_alerts()
        self._plan_changed.set()

    async def _recover(self) -> None:
        """Take up what others left; and look whether a run that waited for its time may begin."""
        try:
            await asyncio.to_thread(self._take_up, quiet_only=True)
        except PipelineError as error:
            logger.error("recovery: %s", error)  # noqa: TRY400
        self._runs_changed.set()

    def _take_up(self, *, quiet_only: bool) -> bool:
        """Runs of processes that are gone, and those that a stop (or quiet hours only) cut short. Were there any?"""
        now = utc_now()
        abandoned = runs.abandon_expired(self._store, now=now, performing=frozenset(self._runner.performing))
        for run in abandoned:
            logger.warning("%s run %d was abandoned: its process was gone", run.spider, run.id, extra=_of(run))
        going_on = runs.take_up_stopped(self._store, now=now, quiet_only=quiet_only)
        how = "when it may" if quiet_only else "where the last one stopped"
        for run in going_on:
            logger.info("%s run %d goes on %s", run.spider, run.id, how, extra=_of(run))
        return bool(abandoned or going_on)

    async def _report_progress(self) -> None:
        with contextlib.suppress(PipelineError):  # told by the heartbeat
            found = [run for run in await asyncio.to_thread(runs.history, self._store, None, limit=20) if run.running]
            told, self._progress_told = self._progress_told, {run.id: progress_line(run) for run in found}
            for run in found:
                if (line := self._progress_told[run.id]) != told.get(run.id):
                    logger.info("%s run %d: %s", run.spider, run.id, line, extra=_of(run))

    # Digests and mail

    async def _untold_digests(self) -> None:
        """Runs that ended untold (a kill, a failed rendering) are told at the next look."""
        try:
            unfinished = await self._ask(digests.unfinished)
        except PipelineError as error:
            logger.error("digests: %s", error)  # noqa: TRY400
            unfinished = []
        for name, digest in self.settings.digests.items():
            if name in unfinished or not digest.schedule:
                await self._tell(name, "untold runs")

    async def _tell(self, name: str, slot_key: str, *, scheduled: bool = False) -> bool:
        """Build one digest of what it has not told yet. In its quiet hours it waits.

        False: its runs could not be claimed. A claim that could not be rendered is taken up again.
        """
        digest = self.settings.digests[name]
        if digest.quiet_until(utc_now(), self.settings.zone) is not None:
            return False
        claimed = False
        owner = f"{self._store.owner}:digest"
        async with self._digest_locks[name], self._digest_places:
            claim = None
            try:
                claim = await asyncio.to_thread(digests.claim, self._store, name, digest.spiders, slot_key, owner=owner,
                                                now=utc_now(), scheduled=scheduled,
                                                even_empty=scheduled and digest.empty == "send", repeats=bool(digest.schedule))
                if claim is None:
                    return True
                claimed = claim.slot_key == slot_key  # else one that was left unfinished comes first
                await self._runner.build_digest(claim, owner)
            except PipelineError as error:
                logger.error("digest %s: %s", name, error)  # noqa: TRY400
                self._failed = True
                if claim is not None:
                    await self._put_off(claim, error, owner)
            else:
                self._outbox.wake()
        return claimed

    async def _put_off(self, claim: DigestClaim, error: PipelineError, owner: str) -> None:
        """Leave a digest that could not be rendered alone for a while, unless trying again is likely to help."""
        if error.retry:  # a killed process, a full disk: it comes first at the next look, so that changes are told in their order
            return
        try:
            await asyncio.to_thread(digests.put_off, self._store, claim, str(error), owner=owner, now=utc_now())
        except PipelineError as failed:
            logger.error("digest %s: %s", claim.name, failed)  # noqa: TRY400  it is ours until its lease runs out

    async def _tell_alerts(self) -> None:
        """One mail for what started and what is over, if that is news and not too soon.

        Lateness begins, and a mail that waited for `alerts.every` is due, without a run to tell it.
        """
        if not self.settings.alerts.to:
            return
        try:
            late = await self._late()
            told = await asyncio.to_thread(
                alerts.check, self._store, self.settings, late=late, now=utc_now(),
                log_of=functools.partial(self._runner.log_file, "runs")) if late is not None else None
        except (PipelineError, OSError) as error:
            logger.error("alerts: %s", error)  # noqa: TRY400
            return
        if told is not None:
            logger.warning("alert: message %d is on its way to %s", told, ", ".join(self.settings.alerts.to))
            self._outbox.wake()

    def _by_age(self, now: datetime) -> bool:
        """Whether something may be deleted or given up for its age: the clock is to be believed."""
        doubt = self._clock_trust.doubt(now)
        if doubt and not self._doubt:
            logger.warning("%s", doubt)
        elif self._doubt and not doubt:
            logger.info("the clock is believed again: it has gone steadily")
        self._doubt = doubt
        return not doubt

    def _tidied(self) -> Tidied:
        now = utc_now()
        return tidy(self._store, self.settings, now=now, by_age=self._by_age(now))

    def _pruned(self, go_on: Callable[[], bool]) -> retention.Pruned:
        now = utc_now()
        return retention.prune(self._store, retention.Rules.of(self.settings), now=now, by_age=self._by_age(now), go_on=go_on)

    async def _tidy_downloads(self) -> None:
        """Keep downloaded files within the limits of the settings."""
        try:
            tidied = await asyncio.to_thread(self._tidied)
        except PipelineError as error:
            logger.error("downloads: %s", error)  # noqa: TRY400
            return
        if tidied.over_bytes and not self._over_quota_bytes:
            logger.warning("downloads: %s above the quota; digests have yet to send those files", size_for_people(tidied.over_bytes))
        self._over_quota_bytes = tidied.over_bytes

    async def _forget_the_past(self) -> None:
        """Delete what the settings no longer keep, in small transactions with room between them for others."""
        def go_on() -> bool:
            time.sleep(PRUNE_PAUSE_S)
            return not self._stop.is_set()

        try:
            pruned = await asyncio.to_thread(self._pruned, go_on)
        except (PipelineError, OSError) as error:
            logger.error("retention: %s", error)  # noqa: TRY400
        else:
            if pruned:
                logger.info("retention: deleted %s", pruned)

    async def _late(self) -> list[Trouble] | None:
        """Spiders that are late as the heartbeat has it, and of which no run has failed: that is told otherwise.

        None when the store could not be asked. Right after a start what was missed is being caught up.
        """
        found = await self.status()
        if not found["store"]["readable"]:
            return None
        known = {alert.spider for alert in (await self._ask(told_alerts)).open if alert.kind is AlertKind.LATE}
        catching_up = utc_now() - self._started_at < CATCH_UP
        troubles = []
        for name, spider in found["spiders"].items():
            if spider["late"] and not spider["failures_in_a_row"] and (name in known or not catching_up):
                _, success = await self._ask(failures_and_success, name)
                due = due_for_success(name, success, self._started_at, None, self._due_after)
                troubles.append(Trouble(name, AlertKind.LATE, due or utc_now(), last_success=success))
        return troubles

    def _delivered(self, attempt: Attempt) -> None:
        sent = attempt.state is MessageState.SENT
        logger.log(logging.INFO if sent else logging.WARNING, "%s", attempt)
        preview = Path(self.settings.data_dir, attempt.message.file_key).with_suffix(".html")
        if sent and preview.exists():
            logger.info("look at it: %s", _shown(preview))
        if not sent:
            self._failed = True

    async def _finish_when_idle(self) -> None:
        """For `once`: end when no run waits or runs, every digest is told and the outbox has nothing due."""
        while not self._stop.is_set():
            held = await self._held()
            left = [run for run in await asyncio.to_thread(runs.waiting_runs, self._store) if run.spider not in held]
            due = await asyncio.to_thread(outbox.next_due, self._store)
            if not left and not self._at_work and not any(lock.locked() for lock in self._digest_locks.values()) and (
                    due is None or due > utc_now() + timedelta(seconds=5)):
                self._stop.set()
                return
            await asyncio.sleep(0.1)

    # The heartbeat asks

    async def status(self) -> Snapshot:
        """The truth, read from the store in a thread."""
        upcoming: dict[str, datetime | None] = {**self._plans.spiders.upcoming()} if self._plans is not None else {}
        return await asyncio.to_thread(
            snapshot, self._store, self.settings, next_slots=upcoming, started_at=self._started_at, now=utc_now(),
            version=pipeline.__version__, due_after=self._due_after, mask=self._desk.mask, past=self._past)

    def _due_after(self, name: str, after: datetime) -> datetime | None:
        tables = (Timetable.of(name, table, self.settings, self.settings.zone)
                  for table in self.settings.spiders[name].schedule)
        return min((due.at for table in tables if (due := table.after(after, after)) is not None), default=None)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._at_work.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._at_work.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("%s", error, exc_info=None if isinstance(error, PipelineError) else error)
            self._failed = True

    async def _ask(self, question: Callable[..., _T], *arguments: Any) -> _T:
        return await asyncio.to_thread(question, self._store, *arguments)


def _of(run: Run) -> dict[str, dict[str, str | int]]:
    """`extra` for a line about a run that is written outside of it."""
    return {"about": {"run": run.id, "spider": run.spider}}


def _shown(path: Path) -> str:
    """A path as a person wants to read it: relative to where they are, when it is below; all is below the root."""
    here = Path.cwd()
    return str(path.relative_to(here) if here != Path(here.anchor) and path.is_relative_to(here) else path)
