"""The state that the parts of a service share: store, settings, wake-up events, background tasks."""

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


def _do_nothing() -> None:
    pass


def utc_now() -> datetime:
    return datetime.now(UTC)


class ServiceState:
    """The state that the parts of one service share. It must be used only in the service's event loop.

    settings: the current settings. A reload replaces them, so read this attribute each time instead of keeping its value.
    settings_error: why the changed settings file could not be loaded; "" if there is no error.
    waiting_for_restart: the keys whose new values need a restart of the service.
    stopping: set once, by a signal or at the end of `serve --once`.
    slots_changed: the event that wakes the loop that claims slots.
    on_waiting_run: called by wake_dispatcher().
    failed: whether a run, a delivery or a part of the service failed.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self.store = store
        self.settings = settings
        self.settings_error = ""
        self.waiting_for_restart: list[str] = []
        self.started_at = utc_now()
        self.stopping = asyncio.Event()
        self.slots_changed = asyncio.Event()
        self.on_waiting_run: Callable[[], None] = _do_nothing
        self.failed = False
        self._tasks: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        self.stopping.set()
        self.wake()

    def wake(self) -> None:
        """Wake the loop that claims slots, and the dispatcher."""
        self.slots_changed.set()
        self.wake_dispatcher()

    def wake_dispatcher(self) -> None:
        """Make the dispatcher look for waiting runs, because a run was created or may start now."""
        self.on_waiting_run()

    def note_failure(self) -> None:
        self.failed = True

    async def ask(self, question: Callable[..., _T], *arguments: Any) -> _T:
        """Call `question(store, *arguments)` in a thread, and return the result."""
        return await asyncio.to_thread(question, self.store, *arguments)

    # Tasks

    @property
    def busy(self) -> bool:
        """Whether a task started by `spawn` is still running."""
        return bool(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run the coroutine as a task in the background. An exception in the task is logged."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def join(self, timeout_s: float) -> None:
        """Wait until the tasks started by `spawn` end, at most `timeout_s` seconds."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)

    async def keep_running(self, loop: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a background task until the task returns, and restart the task after an exception.

        loop: the coroutine function to run. An exception in one background task does not affect the others.
        """
        while True:
            try:
                await loop()
            except Exception:
                logger.exception("the background task %s failed unexpectedly and will be restarted in %.0f s", loop.__qualname__, RESTART_S)
                self.failed = True
                await asyncio.sleep(RESTART_S)
            else:
                return

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a background task failed: %s", error, exc_info=None if isinstance(error, PipelineError) else error)
            self.failed = True


def about(run: Run) -> dict[str, dict[str, str | int]]:
    """Return the `extra` argument for a log message about a run.

    Only messages outside a `logs.about` block need this argument.
    """
    return {"about": {"run": run.id, "spider": run.spider}}


def shown_path(path: Path) -> str:
    """Return the path for display: relative if the file is inside the current folder, otherwise absolute.

    If the current folder is the root folder, the path is absolute.
    """
    here = Path.cwd()
    return str(path.relative_to(here) if here != Path(here.anchor) and path.is_relative_to(here) else path)
