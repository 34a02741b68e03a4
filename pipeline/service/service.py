"""A service: `pipeline serve`, or `pipeline worker` with runs and a heartbeat only.

`serve` has schedules, runs, digests, outbox, heartbeat and the demo site.

This module combines the other modules of the package in one event loop. Nothing blocks the event loop or computes for long: threads read the
store, and child processes crawl and render digests.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import pipeline
from pipeline.errors import UsageError
from pipeline.heartbeat.connections.open_files import OPEN_FILES_FIX, open_files_for, raise_open_files
from pipeline.heartbeat.from_settings import log_addresses, server_from_settings
from pipeline.heartbeat.http.operations.context import OperationsContext
from pipeline.heartbeat.notify.monitors import MonitorNotifier
from pipeline.heartbeat.token import load_or_create_token
from pipeline.model import Run
from pipeline.service.alerts import AlertSender
from pipeline.service.archive_housekeeping import EVERY_S as ARCHIVE_EVERY_S
from pipeline.service.archive_housekeeping import FIRST_S as ARCHIVE_FIRST_S
from pipeline.service.archive_housekeeping import ArchiveHousekeeping
from pipeline.service.digests import RETRY_S as DIGEST_RETRY_S
from pipeline.service.digests import DigestBuilder
from pipeline.service.due_slots import DueSlots
from pipeline.service.housekeeping import Housekeeping
from pipeline.service.item_indexing import EVERY_S as INDEX_EVERY_S
from pipeline.service.item_indexing import ItemIndexing
from pipeline.service.leadership import Leadership
from pipeline.service.mending import RuleMender
from pipeline.service.node import NodeReporter, load_of_machine
from pipeline.service.on_request import RequestedActions
from pipeline.service.recovery import Recovery, check_store
from pipeline.service.reload import Reloader
from pipeline.service.roles import ALL_ROLES, OUTBOX, SCHEDULER, WORKER, Duty, OutboxRole, SchedulerRole, WorkerRole
from pipeline.service.scheduling import Scheduling
from pipeline.service.schema_watch import WATCH_EVERY_S, SchemaWatch
from pipeline.service.settings_source import SettingsSource
from pipeline.service.state import ServiceState, shown_path, utc_now
from pipeline.service.status import StatusSource
from pipeline.service.supervision import RunSupervisor
from pipeline.settings import Settings
from pipeline.settings.fingerprint import fingerprint
from pipeline.store import Store, open_store_of
from pipeline.store.database import migrate
from pipeline.store.database.leader_lock import LeaderLock
from pipeline.store.from_settings import queues_of
from pipeline.store.health.nodes import REPORT_EVERY_S, NodeReport
from pipeline.store.mail import outbox
from pipeline.store.maintenance.instance_lock import hold_instance_lock
from pipeline.store.runs import runs
from pipeline.workers.dispatcher import Capacity, Work
from pipeline.workers.forkserver import USED_WITH_POSTGRESQL, warm_up
from pipeline.workers.runner import Runner

RECOVER_EVERY_S = 5.0
RECOVER_SHARED_EVERY_S = 2.0
"""Runs of other machines are found by their leases only, which have expired 15 s after a kill."""
SWEEP_EVERY_S = 5.0
PROGRESS_EVERY_S = 2.0
ALERTS_EVERY_S = 30.0
MEND_EVERY_S = 30.0
TIDY_EVERY_S = 600.0
PRUNE_AFTER_S = 60.0
PRUNE_EVERY_S = 3600.0
CHECK_SETTINGS_S = 60.0
LAST_BEATS_S = 5.0
"""How long a stopping service waits for its last notifications to monitoring services (dead man's switches)."""
SWITCH_S = 0.001
"""The thread switch interval of the Python interpreter.

After this time, a thread that reads the store yields to the event loop. The interval is a fifth of Python's default, which
halves the response time of the heartbeat while such threads run.
"""

logger = logging.getLogger("pipeline.service")


@dataclass(frozen=True)
class ServiceOptions:
    """What a service does, apart from the settings.

    roles: None means those of `pipeline serve` with these settings. once: whether to perform only the work that is due now, deliver the
    resulting messages, and return. show_progress: whether to log the progress of runs, for a terminal. configure_logs: called with the
    new settings after a reload. concurrency, queues, node: used instead of the settings max_runs, cluster.queues and cluster.node.
    source: where reloaded settings come from; None means the file of the settings.
    """

    roles: tuple[str, ...] | None = None
    once: bool = False
    show_progress: bool = False
    configure_logs: Callable[[Settings], None] = lambda settings: None
    concurrency: int | None = None
    queues: tuple[str, ...] | None = None
    node: str = ""
    source: SettingsSource | None = None


async def serve(settings: Settings, options: ServiceOptions = ServiceOptions()) -> int:
    """Run a service until SIGTERM or SIGINT, and return the exit code."""
    sys.setswitchinterval(SWITCH_S)
    connections = settings.heartbeat.max_connections
    if short_of_files := raise_open_files(connections):
        logger.warning("%s; %s", short_of_files, OPEN_FILES_FIX.format(open_files_for(connections)))
    _refuse_to_share_sqlite(settings, options)
    store = await asyncio.to_thread(open_store_of, settings)
    # Several services may share a database; rows in the store then decide which service does what.
    with contextlib.nullcontext() if store.shared else hold_instance_lock(settings.data_dir) as unclean:
        service = Service(store, settings, options)
        await service.run(unclean=bool(unclean))
    store.close()
    logger.info("the service has stopped")
    return 1 if service.failed and options.once else 0


def _refuse_to_share_sqlite(settings: Settings, options: ServiceOptions) -> None:
    """Raise UsageError if a service is to leave some roles to others, although the database is SQLite."""
    url = settings.database_url
    if options.roles is not None and (url is None or url.startswith("sqlite")):
        raise UsageError("only a PostgreSQL database can be shared by several processes, and this database is SQLite", where="pipeline.database",
                         fix='set [pipeline] database to a URL "postgresql://…", or run only `pipeline serve`, which then performs all runs itself')


def _roles_of(store: Store, settings: Settings, options: ServiceOptions) -> tuple[str, ...]:
    if options.roles is not None:
        return options.roles
    return ALL_ROLES if settings.cluster.worker or options.once or not store.shared else (SCHEDULER, OUTBOX)


class Service:
    """A running service.

    Creates and connects the parts of the service, and starts and stops them in the right order.
    """

    def __init__(self, store: Store, settings: Settings, options: ServiceOptions) -> None:
        self._options = options
        self._roles = roles = _roles_of(store, settings, options)
        self._state = state = ServiceState(store, settings)
        self._fingerprint = fingerprint(settings) if store.shared else ""
        self._runner = Runner(store, settings)
        self._reloader = Reloader(state, self._use_settings, options.source)
        alone = SCHEDULER in roles and (options.once or not store.shared)
        self._leadership = Leadership(LeaderLock(store) if SCHEDULER in roles and not alone else None, self._leader_changed, alone=alone)
        self._housekeeping = Housekeeping(state, self._is_leader)
        self._archive_housekeeping = ArchiveHousekeeping(state, self._is_leader, self._housekeeping.by_age)
        self._item_indexing = ItemIndexing(state, lambda: bool(self._runner.performing))
        self._digests = DigestBuilder(state, self._runner, self._wake_outbox, lambda: self._worker.builds_digests)
        self._outbox = OutboxRole(state, self._housekeeping, self._rebuild_digests) if OUTBOX in roles else None
        self._actions = OperationsContext(store, lambda: state.settings, utc_now, on_run=state.wake_dispatcher, on_plan=state.slots_changed.set,
                          on_mail=self._wake_outbox, on_stop=self._stop_runs)
        self._scheduling = Scheduling(on_due=state.slots_changed.set, on_clock=self._clock_was_set,
                                      on_failure=state.note_failure, now=utc_now)
        self._actions.service = RequestedActions(state, self._reloader, self._digests, lambda: self._actions.mask)
        self._due_slots = DueSlots(state, self._scheduling, self._digests)
        self._status = StatusSource(state, upcoming=self._due_slots.upcoming, jobs=self._scheduling.jobs, mask=lambda: self._actions.mask,
                                    data_id=load_or_create_token(settings.data_dir).data_id)
        self._alerts = AlertSender(state, self._status, self._wake_outbox, lambda: self._supervisor.finishing)
        self._heartbeat = server_from_settings(settings, store, self._status, self._actions, version=pipeline.__version__, not_ready=self._not_ready)
        self._monitors = MonitorNotifier(lambda: state.settings, lambda: self._actions.mask, self._heartbeat.status,
                                         beats_for_service=SCHEDULER in roles)
        self._supervisor = RunSupervisor(state, self._runner, self._monitors, self._after_run)
        self._worker = WorkerRole(state, self._runner, self._taken_work(), Capacity(lambda: state.settings, options.concurrency, options.queues),
                                  alone=options.once)  # `serve --once` itself performs what is due now
        self._mender = RuleMender(state, self._reloader.reload, self._supervisor.held, self._is_leader)
        self._recovery = Recovery(state, lambda: self._runner.performing)
        self._schema = SchemaWatch(state)
        self._scheduler = SchedulerRole(state, self._leadership, self._due_slots, (self._recovery.at_start, self._mender.at_start), self._duties())
        self._node = NodeReporter(state, self._describe) if store.shared and not options.once else None

    def _taken_work(self) -> Work:
        """Return the work that this service takes from the dispatcher."""
        performs = WORKER in self._roles
        return Work(self._supervisor.perform if performs else None, self._runner.stop_run,
                    follow_run=self._runner.members.follow if performs else None,
                    build_digest=self._digests.build_claimed, deliver=self._wake_outbox if OUTBOX in self._roles else None)

    def _duties(self) -> list[Duty]:
        """Return the work that the leader repeats, apart from claiming the slots of spiders and digests."""
        return [
            Duty(RECOVER_SHARED_EVERY_S if self._state.store.shared else RECOVER_EVERY_S, "recovery", self._recovery.again),
            *([Duty(SWEEP_EVERY_S, "lost jobs", self._worker.sweep)] if self._state.store.shared else []),
            Duty(DIGEST_RETRY_S, "unreported runs", self._digests.build_unreported, first_s=0.0),
            Duty(ALERTS_EVERY_S, "alerts", self._alerts.send),
            Duty(MEND_EVERY_S, "searches for new rules", self._mender.again, first_s=0.0),
            Duty(TIDY_EVERY_S, "tidying downloads", self._housekeeping.tidy_downloads, first_s=0.0),
            Duty(PRUNE_EVERY_S, "retention", self._housekeeping.prune, first_s=PRUNE_AFTER_S),
            *([Duty(INDEX_EVERY_S, "search index of items", self._item_indexing.update)] if not self._state.store.shared else []),
        ]

    @property
    def failed(self) -> bool:
        """Whether a run, a digest, a delivery or a part of the service failed."""
        return self._state.failed

    def _is_leader(self) -> bool:
        return self._leadership.is_leader

    def _leader_changed(self) -> None:
        self._state.slots_changed.set()
        if self._node is not None:
            self._state.spawn(self._node.report())

    async def run(self, *, unclean: bool) -> None:
        """Start all parts, work until a stop is requested, and stop all parts.

        unclean: whether the previous service did not stop cleanly.
        """
        store = self._state.store
        self._handle_signals()
        async with contextlib.AsyncExitStack() as stack:
            await self._start_servers(stack)
            digests = ["pipeline.mail.digests.build", *(["pipeline.ai.client"] if self._state.settings.ai is not None else [])]
            warm_up("pipeline.session.cookies.suffixes", *(digests if self._state.settings.digests else []),
                    *(USED_WITH_POSTGRESQL if store.shared else []))  # a module that is not installed is left out
            if unclean or store.shared:
                await asyncio.to_thread(check_store, store, unclean=unclean)
            await self._leadership.start()
            await self._scheduler.begin()
            self._monitors.service_ready()
            await self._work()
            await self._monitors.drain(LAST_BEATS_S)
            self._schema.raise_problem()

    async def _start_servers(self, stack: contextlib.AsyncExitStack) -> None:
        settings = self._state.settings
        await self._heartbeat.start()
        stack.push_async_callback(self._heartbeat.stop)
        log_addresses(settings, self._heartbeat, on_terminal=self._options.show_progress)
        if settings.demo is not None and SCHEDULER in self._roles:
            from pipeline.demo import DemoSite  # noqa: PLC0415  most settings have no demo site
            password_file = settings.data_dir / "demo-password"
            site = DemoSite(host=settings.demo.host, port=settings.demo.port, password_file=password_file)
            await site.start()
            stack.push_async_callback(site.stop)
            logger.info("the demo site runs on %s (user name: demo; password: in the file %s)", site.url, shown_path(password_file))

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop_for, number)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._state.spawn(self._reload()))

    async def _reload(self) -> None:
        await self._reloader.reload()

    def _stop_for(self, number: int) -> None:
        logger.info("the service received %s and stops; running crawls save their progress first", signal.Signals(number).name)
        self._state.stop()

    async def _work(self) -> None:
        """Run the loops and the timed jobs until a stop is requested, and then stop them.

        The leadership is given up first. Then the runs are stopped, then the outbox, and then the jobs.
        """
        state = self._state
        slots = self._claim_once if self._options.once else self._scheduler.run
        tasks = [asyncio.create_task(state.keep_running(loop)) for loop in (slots, self._monitors.run)]
        leading = asyncio.create_task(state.keep_running(self._leadership.run))
        if self._outbox is not None:
            self._outbox.start()
        self._worker.start()
        self._add_jobs()
        await state.stopping.wait()
        self._monitors.service_stopping()
        leading.cancel()
        await asyncio.wait({leading})
        await self._leadership.stop()  # another service plans from now on, and does not wait for the runs of this one
        grace_s = state.settings.pipeline.shutdown_grace
        if self._node is not None:
            state.spawn(self._node.report())
        await asyncio.gather(self._worker.stop(grace_s + 10), state.join(grace_s + 10))
        if self._outbox is not None:
            await self._outbox.stop(grace_s)
        self._scheduling.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._node is not None:
            await self._node.leave()

    def _add_jobs(self) -> None:
        """Add the periodic jobs, such as recovery and retention, to the scheduler.

        The jobs for the schedules of spiders and digests are added by DueSlots.
        """
        every = self._scheduling.every
        self._scheduling.start()
        self._scheduler.add_jobs(self._scheduling)
        every(CHECK_SETTINGS_S, "settings file", self._reloader.check)
        every(WATCH_EVERY_S, "version of the database", self._schema.look)
        every(ARCHIVE_EVERY_S, "archive of pages", self._archive_housekeeping.run, first_s=ARCHIVE_FIRST_S)  # on each node: it has files of its own
        if self._options.show_progress:
            every(PROGRESS_EVERY_S, "progress", self._supervisor.log_progress)
        if self._node is not None:
            every(REPORT_EVERY_S, "node", self._node.report, first_s=0.0)
            every(RECOVER_EVERY_S, "waiting work", self._look_for_work)

    def _not_ready(self) -> str:
        """Return why this process does not do its work, for /readyz; "" if it does."""
        if self._roles == (WORKER,) and not self._worker.is_running:
            return "the worker has not started yet, or is stopping"
        return ""

    def _describe(self) -> NodeReport:
        """Return what this process is and does now, for the other nodes."""
        capacity, settings, works = self._worker.capacity, self._state.settings, WORKER in self._roles
        return NodeReport(
            name=self._options.node or settings.cluster.node or socket.gethostname(), version=pipeline.__version__, schema=migrate.HEAD,
            roles=self._roles, queues=capacity.accepted_queues() if works else (),
            concurrency=capacity.runs() if works else 0, running=self._worker.running,
            load=load_of_machine(), leader=self._is_leader(), stopping=self._state.stopping.is_set(), settings=self._fingerprint)

    async def _look_for_work(self) -> None:
        """Look for runs and messages of other nodes, which wake this process only through the jobs of procrastinate."""
        self._state.wake_dispatcher()
        if not self._worker.builds_digests:
            self._wake_outbox()

    async def _claim_once(self) -> None:
        """For `serve --once`: claim what is due now, and stop the service when its work is done.

        The work is done when no run waits or is in progress, no digest is being built, and no message is due within seconds.
        """
        state = self._state
        await self._due_slots.claim()
        while not state.stopping.is_set():
            was_busy = self._is_busy()  # work that ends during the queries below may have put a message into the outbox after its query
            held = await self._supervisor.held()
            queues = self._worker.capacity.accepted_queues()
            waiting = [run for run in await state.ask(runs.waiting_runs) if run.spider not in held and (not queues or run.queue in queues)]
            next_delivery = await state.ask(outbox.next_due)
            if not (waiting or was_busy or self._is_busy()) and (
                    next_delivery is None or next_delivery > utc_now() + timedelta(seconds=5)):
                state.stop()
                return
            await asyncio.sleep(0.1)

    def _is_busy(self) -> bool:
        """Return whether a run, what follows a run, or the building of a digest is in progress."""
        return self._worker.busy or self._state.busy or self._digests.busy

    async def _after_run(self, run: Run) -> None:
        await asyncio.gather(self._digests.build_after(run), self._mender.after_run(run))
        self._supervisor.finishing.discard(run.id)
        if self._is_leader():
            await self._alerts.send()

    def _use_settings(self, settings: Settings) -> None:
        self._fingerprint = fingerprint(settings) if self._state.store.shared else ""
        self._options.configure_logs(settings)
        self._runner.settings = settings
        self._state.store.use_queues(queues_of(settings))
        self._state.store.mask.use(settings)

    def _wake_outbox(self) -> None:
        if self._outbox is not None:
            self._outbox.wake()

    def _rebuild_digests(self) -> None:
        self._state.spawn(self._digests.build_unreported())

    def _stop_runs(self, stopped: Sequence[Run]) -> None:
        self._worker.stop_runs(stopped)

    def _clock_was_set(self, seconds: float) -> None:
        self._due_slots.clock_was_set(seconds)
