"""The roles of a service: scheduler, outbox and worker.

`pipeline serve` has all roles on SQLite; on PostgreSQL it may leave the runs to other processes. `pipeline worker` is only a worker.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.mail.channels.delivery import ChannelDelivery
from pipeline.mail.channels.from_settings import open_channel
from pipeline.mail.outbox import DeliveryAttempt, DeliveryLoop, RetryPolicy
from pipeline.mail.transports import open_transport
from pipeline.model import MessageState, Run
from pipeline.service.due_slots import DueSlots
from pipeline.service.housekeeping import Housekeeping
from pipeline.service.leadership import Leadership
from pipeline.service.scheduling import Scheduling
from pipeline.service.state import ServiceState, shown_path, utc_now
from pipeline.workers.dispatcher import Capacity, Dispatcher, LocalDispatcher, Work, open_dispatcher
from pipeline.workers.dispatcher.aborts import abort_jobs
from pipeline.workers.runner import Runner

SCHEDULER, OUTBOX, WORKER = "scheduler", "outbox", "worker"
ALL_ROLES = (SCHEDULER, OUTBOX, WORKER)
ABORT_S = 5.0
"""How long a stopping service waits for an aborted delivery to end."""
FOLLOW_EVERY_S = 10.0
"""The interval at which a service that is not the leader reads which slots the leader has claimed."""

logger = logging.getLogger("pipeline.service")


@dataclass(frozen=True)
class Duty:
    """Work of the leader that is repeated at an interval. first_s: the delay before the first time; None means `every_s`."""

    every_s: float
    name: str
    work: Callable[[], Awaitable[None]]
    first_s: float | None = None


class SchedulerRole:
    """Claims due slots and performs the duties of the leader, while this service is the leader.

    at_start: what a service does first when it has become the leader.
    """

    def __init__(self, state: ServiceState, leadership: Leadership, due_slots: DueSlots,
                 at_start: Sequence[Callable[[], Awaitable[None]]], duties: Sequence[Duty]) -> None:
        self._state = state
        self._leadership = leadership
        self._due_slots = due_slots
        self._at_start = at_start
        self._duties = duties
        self._has_begun = False

    async def begin(self) -> None:
        """Do what the leader does first, if this service is the leader and has not done it yet."""
        is_leader = self._leadership.is_leader
        began, self._has_begun = self._has_begun, is_leader
        if is_leader and not began:
            for work in self._at_start:
                await work()

    async def run(self) -> None:
        """Claim due slots until the service stops. While another service is the leader, note which slots it has claimed."""
        while not self._state.stopping.is_set():
            if self._leadership.is_leader:
                await self.begin()
                await self._due_slots.claim()
            else:
                self._has_begun = False
                await self._due_slots.follow()
            await self._state.slots_changed.wait()

    def add_jobs(self, scheduling: Scheduling) -> None:
        """Add the duties to the scheduler. They do nothing while this service is not the leader."""
        for duty in self._duties:
            scheduling.every(duty.every_s, duty.name, self._only_as_leader(duty.work), first_s=duty.first_s)
        if self._state.store.shared:
            scheduling.every(FOLLOW_EVERY_S, "slots claimed elsewhere", self._look_again)

    def _only_as_leader(self, work: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        async def checked() -> None:
            if self._leadership.is_leader:
                await work()
        return checked

    async def _look_again(self) -> None:
        self._state.slots_changed.set()


class WorkerRole:
    """Performs what the dispatcher hands out: waiting runs, if the service is a worker, and digests.

    alone: whether to look for waiting runs without the jobs of procrastinate.
    """

    def __init__(self, state: ServiceState, runner: Runner, work: Work, capacity: Capacity, *, alone: bool) -> None:
        self._runner = runner
        self.capacity = capacity
        self._dispatcher: Dispatcher = (LocalDispatcher if alone else open_dispatcher)(state.store, capacity, work)
        self.sweep = self._dispatcher.sweep
        state.on_waiting_run = self._dispatcher.wake
        self._state = state
        self._task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether a run is in progress."""
        return self._dispatcher.busy

    @property
    def builds_digests(self) -> bool:
        """Whether claimed digests are built by the jobs of any process, and not by the process that has claimed them."""
        return self._dispatcher.builds_digests

    @property
    def is_running(self) -> bool:
        """Whether the dispatcher is at work, so that waiting runs start."""
        return self._task is not None and not self._task.done()

    @property
    def running(self) -> int:
        """The number of runs in progress."""
        return len(self._runner.performing)

    def stop_runs(self, stopped: Sequence[Run]) -> None:
        """Stop runs at a checkpoint, in this process or in others, as a person has asked. Any thread may call this method."""
        for run in stopped:
            self._runner.stop_run(run.id)
        abort_jobs(self._state.store, stopped)

    def start(self) -> None:
        self._task = asyncio.create_task(self._state.keep_running(self._dispatcher.run))

    async def stop(self, grace_s: float) -> None:
        """Start no more runs, and wait until the runs in progress have saved their progress."""
        self._dispatcher.stop()
        self._runner.stop()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=grace_s)
            self._task.cancel()


class OutboxRole:
    """Delivers mails and the texts for notification channels.

    on_rebuild: called if a digest must be built again with less, because the mail server refused its message.
    """

    def __init__(self, state: ServiceState, housekeeping: Housekeeping, on_rebuild: Callable[[], None]) -> None:
        self._state = state
        self._on_rebuild = on_rebuild
        settings, store = state.settings, state.store
        policy = RetryPolicy(settings.mail.max_age, settings.mail.max_attempts, settings.mail.per_hour, housekeeping.by_age)
        self._mails = DeliveryLoop(store, open_transport(settings, settings.data_dir), policy=policy, now=utc_now,
                                   on_attempt=self._log_delivery, on_error=_log_error)
        self._channels = ChannelDelivery(store, lambda channel: DeliveryLoop(
            store, open_channel(lambda: state.settings, channel), policy=replace(policy, per_hour=None), now=utc_now,
            on_attempt=self._log_delivery, on_error=_log_error, channel=channel), _log_error)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._state.keep_running(loop)) for loop in (self._mails.run, self._channels.run)]

    def wake(self) -> None:
        """Look for messages now."""
        self._mails.wake()
        self._channels.wake()

    async def stop(self, grace_s: float) -> None:
        """Finish the deliveries in progress. If this takes longer than `grace_s`, abort them; the next service delivers these messages."""
        self._mails.stop()
        self._channels.stop()
        if not self._tasks:
            return
        _, unfinished = await asyncio.wait(self._tasks, timeout=grace_s)
        if unfinished:
            self._mails.abort()
            self._channels.abort()
            await asyncio.wait(unfinished, timeout=ABORT_S)
        for task in self._tasks:
            task.cancel()

    def _log_delivery(self, attempt: DeliveryAttempt) -> None:
        sent = attempt.state is MessageState.SENT
        logger.log(logging.INFO if sent else logging.WARNING, "%s", attempt)
        preview = Path(self._state.settings.data_dir, attempt.message.file_key).with_suffix(".html")
        if sent and preview.exists():
            logger.info("to see the mail, open %s in a browser", shown_path(preview))
        if attempt.rebuild is not None:
            self._on_rebuild()
        if not sent:
            self._state.failed = True


def _log_error(error: PipelineError) -> None:
    logger.error("the outbox cannot be read or written: %s", error)
