"""`pipeline serve`: schedules, runs, digests, outbox, heartbeat and demo site in one event loop.

This module combines the other modules of the package. Nothing blocks the event loop or computes for long: threads read the
store, and child processes crawl and render digests.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pipeline
from pipeline.demo import DemoSite
from pipeline.errors import PipelineError
from pipeline.heartbeat.connections.open_files import OPEN_FILES_FIX, open_files_for, raise_open_files
from pipeline.heartbeat.from_settings import log_addresses, server_from_settings
from pipeline.heartbeat.http.actions import AdminActions
from pipeline.heartbeat.notify.monitors import MonitorNotifier
from pipeline.heartbeat.token import load_or_create_token
from pipeline.mail.channels.delivery import ChannelDelivery
from pipeline.mail.channels.from_settings import open_channel
from pipeline.mail.outbox import DeliveryAttempt, DeliveryLoop, RetryPolicy
from pipeline.mail.transports import open_transport
from pipeline.model import MessageState, Run
from pipeline.service.alerts import AlertSender
from pipeline.service.digests import RETRY_S as DIGEST_RETRY_S
from pipeline.service.digests import DigestBuilder
from pipeline.service.due_slots import DueSlots
from pipeline.service.housekeeping import Housekeeping
from pipeline.service.mending import RuleMender
from pipeline.service.recovery import Recovery, check_store
from pipeline.service.reload import Reloader
from pipeline.service.scheduling import Scheduling
from pipeline.service.state import ServiceState, shown_path, utc_now
from pipeline.service.status import StatusSource
from pipeline.service.supervision import RunSupervisor
from pipeline.settings import Settings
from pipeline.store import Store, open_store_of
from pipeline.store.from_settings import queues_of
from pipeline.store.mail import outbox
from pipeline.store.maintenance.instance_lock import hold_instance_lock
from pipeline.store.runs import runs
from pipeline.workers.dispatcher import Capacity, LocalDispatcher, Work, open_dispatcher
from pipeline.workers.forkserver import warm_up
from pipeline.workers.runner import Runner

RECOVER_EVERY_S = 5.0
SWEEP_EVERY_S = 5.0
PROGRESS_EVERY_S = 2.0
ALERTS_EVERY_S = 30.0
MEND_EVERY_S = 30.0
TIDY_EVERY_S = 600.0
PRUNE_AFTER_S = 60.0
PRUNE_EVERY_S = 3600.0
CHECK_SETTINGS_S = 60.0
ABORT_S = 5.0
"""How long a stopping service waits for an aborted delivery to end."""
LAST_BEATS_S = 5.0
"""How long a stopping service waits for its last notifications to monitoring services (dead man's switches)."""
SWITCH_S = 0.001
"""The thread switch interval of the Python interpreter.

After this time, a thread that reads the store yields to the event loop. The interval is a fifth of Python's default, which
halves the response time of the heartbeat while such threads run.
"""

logger = logging.getLogger("pipeline.service")


async def serve(settings: Settings, *, once: bool = False, show_progress: bool = False,
                configure_logs: Callable[[Settings], None] = lambda settings: None) -> int:
    """Run the service until SIGTERM or SIGINT, and return the exit code.

    once: whether to perform only the work that is due now, deliver the resulting messages, and return.
    show_progress: whether to log the progress of runs, for a terminal.
    configure_logs: called with the new settings after a reload.
    """
    sys.setswitchinterval(SWITCH_S)
    connections = settings.heartbeat.max_connections
    if short_of_files := raise_open_files(connections):
        logger.warning("%s; %s", short_of_files, OPEN_FILES_FIX.format(open_files_for(connections)))
    store = await asyncio.to_thread(open_store_of, settings)
    # Several services may share a database; rows in the store then decide which service does what.
    with contextlib.nullcontext() if store.shared else hold_instance_lock(settings.data_dir) as unclean:
        service = Service(store, settings, once=once, show_progress=show_progress, configure_logs=configure_logs)
        await service.run(unclean=bool(unclean))
    store.close()
    logger.info("the service has stopped")
    return 1 if service.failed and once else 0


def _log_outbox_error(error: PipelineError) -> None:
    logger.error("the outbox cannot be read or written: %s", error)


class Service:
    """A running service.

    Creates and connects the parts of the service, and starts and stops them in the right order.
    """

    def __init__(self, store: Store, settings: Settings, *, once: bool, show_progress: bool,
                 configure_logs: Callable[[Settings], None]) -> None:
        self._once = once
        self._show_progress = show_progress
        self._configure_logs = configure_logs
        self._state = state = ServiceState(store, settings)
        self._runner = Runner(store, settings)
        self._reloader = Reloader(state, self._use_settings)
        self._housekeeping = Housekeeping(state)
        policy = RetryPolicy(settings.mail.max_age, settings.mail.max_attempts, settings.mail.per_hour, self._housekeeping.by_age)
        self._outbox = DeliveryLoop(store, open_transport(settings, settings.data_dir), policy=policy, now=utc_now,
                                    on_attempt=self._log_delivery, on_error=_log_outbox_error)
        self._channels = ChannelDelivery(store, lambda channel: DeliveryLoop(
            store, open_channel(lambda: state.settings, channel), policy=replace(policy, per_hour=None), now=utc_now,
            on_attempt=self._log_delivery, on_error=_log_outbox_error, channel=channel), _log_outbox_error)
        self._actions = AdminActions(store, lambda: state.settings, utc_now, on_run=state.wake_dispatcher, on_plan=state.slots_changed.set,
                          on_mail=self._wake_outbox)
        self._digests = DigestBuilder(state, self._runner, self._wake_outbox, lambda: self._dispatcher.builds_digests)
        self._scheduling = Scheduling(on_due=state.slots_changed.set, on_clock=self._clock_was_set,
                                      on_failure=state.note_failure, now=utc_now)
        self._due_slots = DueSlots(state, self._scheduling, self._digests)
        self._status = StatusSource(state, upcoming=self._due_slots.upcoming, jobs=self._scheduling.jobs, mask=lambda: self._actions.mask,
                                    data_id=load_or_create_token(settings.data_dir).data_id)
        self._alerts = AlertSender(state, self._status, self._wake_outbox, lambda: self._supervisor.finishing)
        self._heartbeat = server_from_settings(settings, store, self._status, self._actions, version=pipeline.__version__)
        self._monitors = MonitorNotifier(lambda: state.settings, lambda: self._actions.mask, self._heartbeat.status)
        self._supervisor = RunSupervisor(state, self._runner, self._monitors, self._after_run)
        open_it = LocalDispatcher if once else open_dispatcher  # `serve --once` itself performs what is due now
        self._capacity = Capacity(lambda: state.settings)
        self._dispatcher = open_it(store, self._capacity, Work(
            self._supervisor.perform, self._runner.stop_run, build_digest=self._digests.build_claimed, deliver=self._wake_outbox))
        state.on_waiting_run = self._dispatcher.wake
        self._mender = RuleMender(state, self._reloader.reload, self._supervisor.held)
        self._recovery = Recovery(state, lambda: self._runner.performing)

    @property
    def failed(self) -> bool:
        """Whether a run, a digest, a delivery or a part of the service failed."""
        return self._state.failed

    async def run(self, *, unclean: bool) -> None:
        """Start all parts, work until a stop is requested, and stop all parts.

        unclean: whether the previous service did not stop cleanly.
        """
        store = self._state.store
        self._handle_signals()
        async with contextlib.AsyncExitStack() as stack:
            await self._start_servers(stack)
            warm_up("pipeline.session.cookies.suffixes", *(["pipeline.mail.digests.build"] if self._state.settings.digests else []))
            if unclean or store.shared:
                await asyncio.to_thread(check_store, store, unclean=unclean)
            await self._recovery.at_start()
            await self._mender.at_start()
            self._monitors.service_ready()
            await self._work()
            await self._monitors.drain(LAST_BEATS_S)

    async def _start_servers(self, stack: contextlib.AsyncExitStack) -> None:
        settings = self._state.settings
        await self._heartbeat.start()
        stack.push_async_callback(self._heartbeat.stop)
        log_addresses(settings, self._heartbeat, on_terminal=self._show_progress)
        if settings.demo is not None:
            password_file = settings.data_dir / "demo-password"
            site = DemoSite(host=settings.demo.host, port=settings.demo.port, password_file=password_file)
            await site.start()
            stack.push_async_callback(site.stop)
            logger.info("the demo site runs on %s (user name: demo; password: in the file %s)", site.url, shown_path(password_file))

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop_for, number)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._state.spawn(self._reloader.reload()))

    def _stop_for(self, number: int) -> None:
        logger.info("the service received %s and stops; running crawls save their progress first", signal.Signals(number).name)
        self._state.stop()

    async def _work(self) -> None:
        """Run the loops and the timed jobs until a stop is requested, and then stop them.

        The runs are stopped first, then the outbox, and then the jobs.
        """
        state = self._state
        deliveries = [asyncio.create_task(state.keep_running(loop)) for loop in (self._outbox.run, self._channels.run)]
        slots = self._claim_once if self._once else self._due_slots.run
        tasks = [*deliveries, *(asyncio.create_task(state.keep_running(loop)) for loop in (
            slots, self._monitors.run))]
        dispatching = asyncio.create_task(state.keep_running(self._dispatcher.run))
        self._add_jobs()
        await state.stopping.wait()
        self._monitors.service_stopping()
        self._dispatcher.stop()
        self._runner.stop()
        grace_s = state.settings.pipeline.shutdown_grace
        await asyncio.gather(asyncio.wait({dispatching}, timeout=grace_s + 10), state.join(grace_s + 10))
        self._outbox.stop()
        self._channels.stop()
        _, unfinished = await asyncio.wait(deliveries, timeout=grace_s)
        if unfinished:
            self._outbox.abort()  # the next start of the service delivers the aborted messages
            self._channels.abort()
            await asyncio.wait(deliveries, timeout=ABORT_S)
        self._scheduling.stop()
        for task in (*tasks, dispatching):
            task.cancel()
        await asyncio.gather(*tasks, dispatching, return_exceptions=True)

    def _add_jobs(self) -> None:
        """Add the periodic jobs, such as recovery and retention, to the scheduler.

        The jobs for the schedules of spiders and digests are added by DueSlots.
        """
        every = self._scheduling.every
        self._scheduling.start()
        every(RECOVER_EVERY_S, "recovery", self._recovery.again)
        every(SWEEP_EVERY_S, "lost jobs", self._dispatcher.sweep)
        every(DIGEST_RETRY_S, "unreported runs", self._digests.build_unreported, first_s=0.0)
        every(ALERTS_EVERY_S, "alerts", self._alerts.send)
        every(MEND_EVERY_S, "searches for new rules", self._mender.again, first_s=0.0)
        every(TIDY_EVERY_S, "tidying downloads", self._housekeeping.tidy_downloads, first_s=0.0)
        every(PRUNE_EVERY_S, "retention", self._housekeeping.prune, first_s=PRUNE_AFTER_S)
        every(CHECK_SETTINGS_S, "settings file", self._reloader.check)
        if self._show_progress:
            every(PROGRESS_EVERY_S, "progress", self._supervisor.log_progress)

    async def _claim_once(self) -> None:
        """For `serve --once`: claim what is due now, and stop the service when its work is done.

        The work is done when no run waits or is in progress, no digest is being built, and no message is due within seconds.
        """
        state = self._state
        await self._due_slots.claim()
        while not state.stopping.is_set():
            held = await self._supervisor.held()
            queues = self._capacity.accepted_queues()
            waiting = [run for run in await state.ask(runs.waiting_runs) if run.spider not in held and (not queues or run.queue in queues)]
            next_delivery = await state.ask(outbox.next_due)
            if not (waiting or self._dispatcher.busy or state.busy or self._digests.busy) and (
                    next_delivery is None or next_delivery > utc_now() + timedelta(seconds=5)):
                state.stop()
                return
            await asyncio.sleep(0.1)

    async def _after_run(self, run: Run) -> None:
        await asyncio.gather(self._digests.build_after(run), self._mender.after_run(run))
        self._supervisor.finishing.discard(run.id)
        await self._alerts.send()

    def _use_settings(self, settings: Settings) -> None:
        self._configure_logs(settings)
        self._runner.settings = settings
        self._state.store.use_queues(queues_of(settings))

    def _wake_outbox(self) -> None:
        self._outbox.wake()
        self._channels.wake()

    def _clock_was_set(self, seconds: float) -> None:
        self._due_slots.clock_was_set(seconds)

    def _log_delivery(self, attempt: DeliveryAttempt) -> None:
        sent = attempt.state is MessageState.SENT
        logger.log(logging.INFO if sent else logging.WARNING, "%s", attempt)
        preview = Path(self._state.settings.data_dir, attempt.message.file_key).with_suffix(".html")
        if sent and preview.exists():
            logger.info("to see the mail, open %s in a browser", shown_path(preview))
        if attempt.rebuild is not None:
            self._state.spawn(self._digests.build_unreported())
        if not sent:
            self._state.failed = True
