"""Reports runs and the health of the service to external monitors: dead man's switches and systemd."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from pipeline.errors import PipelineError
from pipeline.heartbeat.notify.dead_man_switch import BeatSender, Event
from pipeline.heartbeat.notify.systemd import SystemdNotifier
from pipeline.heartbeat.protocols.commands.status import health
from pipeline.heartbeat.snapshot.schema import Snapshot
from pipeline.model import Outcome, Run
from pipeline.settings import Settings
from pipeline.settings.masking import Mask


class MonitorNotifier:
    """Sends reports to systemd, and to the dead man's switches of the spiders and of the service.

    settings: function that returns the current settings. mask: function that returns another function, which masks the
    secrets of the current settings in a text. status: coroutine function that builds a status snapshot. beats_for_service: whether to
    report to the dead man's switch of the service.
    """

    def __init__(self, settings: Callable[[], Settings], mask: Callable[[], Mask],
                 status: Callable[[], Awaitable[Snapshot]], *, systemd: SystemdNotifier | None = None,
                 sender: BeatSender | None = None, beats_for_service: bool = True) -> None:
        self._settings = settings
        self._mask = mask
        self._status = status
        self._systemd = systemd or SystemdNotifier()
        self._sender = sender or BeatSender()
        self._beats_for_service = beats_for_service

    def run_started(self, run: Run) -> None:
        self._send(run, "start", "")

    def run_ended(self, run: Run) -> None:
        """Report whether a run succeeded or failed; report nothing if the run was stopped or skipped."""
        if run.suspect:
            self._send(run, "fail", f"suspect: {run.error}")
        elif run.outcome is Outcome.SUCCEEDED:
            self._send(run, "success", "")
        elif run.outcome not in (None, Outcome.STOPPED, Outcome.SKIPPED):
            self._send(run, "fail", f"{run.outcome}: {run.error}")

    def service_ready(self) -> None:
        self._systemd.notify(READY=1)

    def service_stopping(self) -> None:
        self._systemd.notify(STOPPING=1)

    async def run(self) -> None:
        """Until cancelled, report the service's health to its dead man's switch and to systemd's watchdog."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send_service_beats())
            if self._systemd.watchdog_s is not None:
                tasks.create_task(self._feed_watchdog(self._systemd.watchdog_s))

    async def drain(self, timeout_s: float) -> None:
        await self._sender.drain(timeout_s)

    def _send(self, run: Run, event: Event, text: str) -> None:
        spider = self._settings().spiders.get(run.spider)
        if spider is not None:
            text = f"{run.spider} run {run.id}" + (f" {text}" if text else "")
            self._sender.send(f"spiders.{run.spider}.beat", spider.beat, event, text, mask=self._mask())

    async def _send_service_beats(self) -> None:
        while True:
            table = self._settings().heartbeat
            if table.beat is not None and self._beats_for_service:
                try:
                    found = await self._status()
                    event: Event = "fail" if found["health"] == "failing" else "success"
                    text = health(found)
                except PipelineError as error:
                    event, text = "fail", str(error)
                self._sender.send("heartbeat.beat", table.beat, event, text, mask=self._mask())
            await asyncio.sleep(table.beat_every)

    async def _feed_watchdog(self, every_s: float) -> None:
        """Send a keep-alive message to systemd's watchdog every `every_s` seconds.

        This task runs in the event loop: when the event loop hangs, the messages stop and systemd restarts the service.
        """
        while True:
            self._systemd.notify(WATCHDOG=1)
            await asyncio.sleep(every_s)
