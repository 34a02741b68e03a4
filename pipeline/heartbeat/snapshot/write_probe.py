"""Tests at intervals whether the database can be written, and whether the object store answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from pipeline.errors import PipelineError

EVERY_S = 10.0


class WriteProbe:
    """Writes to the database every ten seconds and remembers whether the last write succeeded.

    write: blocking function that performs one small write, and raises PipelineError if the write fails. No write is started
    while another write is in progress. what: names the test in the text about a test that does not end.
    """

    def __init__(self, write: Callable[[], object], *, every_s: float = EVERY_S, what: str = "a test write to the database") -> None:
        self._write = write
        self._every_s = every_s
        self._what = what
        self._began: float | None = None
        self._error = ""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="heartbeat-probe")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def problem(self, monotonic_s: float, *, after_s: float) -> str:
        """Return why the database cannot be written, or "" if the database is writable.

        The database is considered not writable if the last test write failed, or is not finished after `after_s` seconds.
        monotonic_s: the current time of the monotonic clock.
        """
        if self._began is not None and monotonic_s - self._began > after_s:
            return f"{self._what} has not finished after {monotonic_s - self._began:.0f} s"
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
