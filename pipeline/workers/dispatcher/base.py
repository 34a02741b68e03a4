"""The interface of dispatchers, which hand waiting runs to a process that performs them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from pipeline.model import Run
from pipeline.settings import Settings


@dataclass(frozen=True)
class Work:
    """What a dispatcher calls in its process.

    perform: performs a run that this process has leased, and returns when the run has ended. It raises nothing.
    """

    perform: Callable[[Run], Awaitable[None]]


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


class Dispatcher(Protocol):
    """Starts waiting runs in this process. The rows of the store decide which run starts, whatever a dispatcher knows."""

    async def run(self) -> None:
        """Perform waiting runs until stop() is called, and return when the runs in progress have ended."""

    def wake(self) -> None:
        """Look for waiting runs now. Must be called in the event loop, after a run was created or the settings were replaced."""

    def stop(self) -> None:
        """Start no more runs. Must be called in the event loop. The runs in progress must be stopped by other means."""

    @property
    def busy(self) -> bool:
        """Whether a run is in progress."""
