"""State shared by the parts of a service: store, settings, wake-up events, background tasks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from pipeline.errors import PipelineError
from pipeline.model import Run
from pipeline.settings import Settings
from pipeline.store import Store

RESTART_S = 5.0

logger = logging.getLogger("pipeline.service")
_T = TypeVar("_T")


def utc_now() -> datetime:
    return datetime.now(UTC)


class ServiceState:
    """Shared by the parts of one service; used in its loop only.

    settings: a reload replaces them, so each part reads them here every time. stopping: set once, by a signal or at
    the end of `serve --once`. slots_changed and runs_changed wake the loops that claim slots and start runs. failed:
    whether a run, a delivery or a part of the service failed.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self.store = store
        self.settings = settings
        self.started_at = utc_now()
        self.stopping = asyncio.Event()
        self.slots_changed = asyncio.Event()
        self.runs_changed = asyncio.Event()
        self.failed = False
        self._tasks: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        self.stopping.set()
        self.wake()

    def wake(self) -> None:
        """Wake the loops that claim slots and start runs."""
        self.slots_changed.set()
        self.runs_changed.set()

    def note_failure(self) -> None:
        self.failed = True

    async def ask(self, question: Callable[..., _T], *arguments: Any) -> _T:
        """Call a function of the store in a thread, with the store as its first argument."""
        return await asyncio.to_thread(question, self.store, *arguments)

    # Tasks

    @property
    def busy(self) -> bool:
        """Whether a spawned task is still running."""
        return bool(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run the coroutine as a task. Its errors are logged."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def join(self, timeout_s: float) -> None:
        """Wait for the spawned tasks, at most for the given time."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)

    async def keep_running(self, loop: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a loop until it returns; restart it after an error. An error in one loop must not end the others."""
        while True:
            try:
                await loop()
            except Exception:
                logger.exception("%s failed; it restarts in %.0f s", loop.__qualname__, RESTART_S)
                self.failed = True
                await asyncio.sleep(RESTART_S)
            else:
                return

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("%s", error, exc_info=None if isinstance(error, PipelineError) else error)
            self.failed = True


def about(run: Run) -> dict[str, dict[str, str | int]]:
    """`extra` for a log line about a run that is written outside of `logs.about`."""
    return {"about": {"run": run.id, "spider": run.spider}}


def shown_path(path: Path) -> str:
    """A path for messages: relative to the current folder if it is inside it, unless that is the root."""
    here = Path.cwd()
    return str(path.relative_to(here) if here != Path(here.anchor) and path.is_relative_to(here) else path)
