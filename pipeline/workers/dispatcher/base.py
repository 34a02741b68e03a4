"""The interface of dispatchers, which hand waiting runs to a process that performs them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from pipeline.model import Run
from pipeline.settings import Settings
from pipeline.store.runs.jobs import DEFAULT_QUEUE


@dataclass(frozen=True)
class Work:
    """What a dispatcher calls in its process. None means that the process does not do this work.

    perform: performs a run that this process has leased, and returns when the run has ended. It raises nothing.
    stop_run: asks for a stop of a run that this process performs; its argument is the id of the run.
    follow_run: fetches pages of a run in progress, whose id is the argument. build_digest: builds a claimed digest and those that were
    claimed before it; the argument is the id of the claim. deliver: makes the outbox of this process look for due messages.
    """

    perform: Callable[[Run], Awaitable[None]] | None = None
    stop_run: Callable[[int], None] = lambda run_id: None
    follow_run: Callable[[int], Awaitable[None]] | None = None
    build_digest: Callable[[int], Awaitable[None]] | None = None
    deliver: Callable[[], None] | None = None


@dataclass(frozen=True)
class Capacity:
    """How much work a process does.

    settings: returns the current settings, which a reload replaces. concurrency: the maximum number of runs that are in progress at
    the same time; None means `max_runs` of [pipeline].
    queues: the queues whose runs the process performs; empty means all queues. None means `queues` of [cluster].
    """

    settings: Callable[[], Settings]
    concurrency: int | None = None
    queues: tuple[str, ...] | None = None

    def runs(self) -> int:
        """Return the maximum number of runs in progress."""
        return self.concurrency or self.settings().pipeline.max_runs

    def accepted_queues(self) -> tuple[str, ...]:
        """Return the queues whose runs the process performs; empty means all queues."""
        return self.settings().cluster.queues if self.queues is None else self.queues

    def named_queues(self) -> tuple[str, ...]:
        """Return the queues whose runs the process performs, by name, even if it performs those of all queues."""
        spiders = self.settings().spiders.values()
        return self.accepted_queues() or tuple(sorted({DEFAULT_QUEUE, *(spider.queue for spider in spiders)}))


class Dispatcher(Protocol):
    """Starts waiting runs in this process. The rows of the store decide which run starts, whatever a dispatcher knows."""

    async def run(self) -> None:
        """Perform waiting runs until stop() is called, and return when the runs in progress have ended."""

    def wake(self) -> None:
        """Look for waiting runs now. Must be called in the event loop, after a run was created or the settings were replaced."""

    def stop(self) -> None:
        """Start no more runs. Must be called in the event loop. The runs in progress must be stopped by other means."""

    async def sweep(self) -> None:
        """Repair what other processes have left: jobs that were lost, and those of processes that were killed. Raises StoreError.

        The scheduler leader calls this method every few seconds, if several services share the store.
        """

    @property
    def busy(self) -> bool:
        """Whether a run is in progress."""

    @property
    def builds_digests(self) -> bool:
        """Whether claimed digests are built by the jobs of any process, and not by the process that has claimed them."""
