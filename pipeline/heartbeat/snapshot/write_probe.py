"""Whether the database takes a write: found out by writing, now and then, not by each who asks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from pipeline.errors import PipelineError

EVERY_S = 10.0


class Probe:
    """write: one small write, blocking. Raises PipelineError. One at a time; it may hang as long as it likes."""

    def __init__(self, write: Callable[[], None], *, every_s: float = EVERY_S) -> None:
        self._write = write
        self._every_s = every_s
        self._began: float | None = None
        self._error = ""
        self._loop_task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._loop_task = asyncio.create_task(self._run(), name="heartbeat-probe")

    async def stop(self) -> None:
        if self._loop_task is not None:
            self._loop_task.cancel()
            await asyncio.wait({self._loop_task})

    def problem(self, monotonic_s: float, *, after_s: float) -> str:
        """Why the database cannot be written, "" when it can."""
        if self._began is not None and monotonic_s - self._began > after_s:
            return f"a write has been waiting for {monotonic_s - self._began:.0f} s"
        return self._error

    async def _run(self) -> None:
        while True:
            self._began = time.monotonic()
            try:
                await asyncio.to_thread(self._write)
            except PipelineError as error:
                self._error = str(error)
            else:
                self._error = ""
            self._began = None
            await asyncio.sleep(self._every_s)
