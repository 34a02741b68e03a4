"""Deliver the messages for notification channels, each channel apart from all others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from pipeline.errors import PipelineError
from pipeline.mail.outbox import DeliveryLoop
from pipeline.store import Store
from pipeline.store.mail import outbox as stored

_POLL_S = 30.0
"""Interval in seconds at which `ChannelDelivery` checks for channels with messages that other processes have enqueued."""


class ChannelDelivery:
    """Runs one delivery loop for each channel that has messages, until it is stopped.

    A channel that is down or slow thus delays only its own messages. open_loop: function that returns the loop of a channel. on_error:
    called with each error of the database.
    """

    def __init__(self, store: Store, open_loop: Callable[[str], DeliveryLoop], on_error: Callable[[PipelineError], None]) -> None:
        self._store = store
        self._open_loop = open_loop
        self._on_error = on_error
        self._loops: dict[str, DeliveryLoop] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._woken = asyncio.Event()
        self._stopped = False

    def wake(self) -> None:
        """Check for due messages now. Must be called in the event loop, after a message was enqueued."""
        self._woken.set()
        for loop in self._loops.values():
            loop.wake()

    def stop(self) -> None:
        """Make `run` end after the deliveries in progress."""
        self._stopped = True
        self._woken.set()
        for loop in self._loops.values():
            loop.stop()

    def abort(self) -> None:
        """Abort the deliveries in progress and make `run` end. Aborted messages are tried again later."""
        self.stop()
        for loop in self._loops.values():
            loop.abort()

    async def run(self) -> None:
        """Deliver messages until `stop` is called."""
        try:
            while not self._stopped:
                self._woken.clear()
                await self._start_loops()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), _POLL_S)
            await asyncio.gather(*self._tasks.values())
        except asyncio.CancelledError:
            self.abort()
            raise

    async def _start_loops(self) -> None:
        """Start a loop for each channel that has messages, and again for a channel whose loop failed."""
        try:
            channels = await asyncio.to_thread(stored.waiting_channels, self._store)
        except PipelineError as error:
            self._on_error(error)
            return
        for channel in channels:
            task = self._tasks.get(channel)
            if self._stopped or (task is not None and not task.done()):
                continue
            self._loops[channel] = loop = self._open_loop(channel)
            self._tasks[channel] = asyncio.create_task(loop.run())
            if task is not None:
                task.result()
