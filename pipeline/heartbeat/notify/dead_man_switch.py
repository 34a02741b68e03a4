"""Beats sent out: a dead-man's switch hears of each run, and of the pipeline as a whole.

The protocol is that of Healthchecks and its likes: POST to the URL is success, to URL/start a start, to
URL/fail a failure, with what happened as the body. Who watches there notices what nobody here can tell: that
we are gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from pipeline.errors import PipelineError, UsageError
from pipeline.heartbeat.notify.systemd import Systemd
from pipeline.heartbeat.protocols.commands import health
from pipeline.heartbeat.snapshot.schema import Snapshot
from pipeline.model import Outcome, Run
from pipeline.settings import Secret, Settings
from pipeline.settings.fields.scalars import is_loopback
from pipeline.settings.masking import Mask
from pipeline.text import escape_line

TIMEOUT_S = 10.0
ATTEMPTS = 3
LONGEST_BODY = 10_000
"""Characters; Healthchecks keeps as much."""
AT_ONCE = 4
WAITING = 64

Event = Literal["start", "success", "fail"]
_PATHS: dict[Event, str] = {"start": "/start", "success": "", "fail": "/fail"}
_log = logging.getLogger(__name__)


class Switches:
    """Sends beats in threads, a few at once, each tried three times; never blocks, never raises, forgets the
    newest when too many wait."""

    def __init__(self, *, retry_s: float = 2.0) -> None:
        self._retry_s = retry_s
        self._waiting: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(AT_ONCE)

    def tell(self, where: str, url: str | Secret | None, event: Event, text: str = "", *, mask: Mask) -> None:
        """where: the setting, for the log, where the URL never shows. None as URL: nobody wants to know."""
        if url is None:
            return
        if len(self._waiting) >= WAITING:
            _log.warning("%s: too many beats wait; this one is not sent", where)
            return
        body = mask(escape_line(text.replace("\n", " ")))[:LONGEST_BODY]
        task = asyncio.create_task(self._send(where, url, event, body), name="heartbeat-beat")
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def drained(self, timeout_s: float) -> None:
        """Wait for beats under way, for so long; the rest is dropped."""
        if self._waiting:
            await asyncio.wait(self._waiting, timeout=timeout_s)
        for task in tuple(self._waiting):
            task.cancel()

    async def _send(self, where: str, url: str | Secret, event: Event, body: str) -> None:
        async with self._turns:
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    await asyncio.to_thread(post, url, event, body)
                except PipelineError as error:
                    if attempt == ATTEMPTS or not error.retry:
                        _log.warning("%s: the beat (%s) was not taken: %s", where, event, error)
                        return
                    await asyncio.sleep(self._retry_s * attempt)
                else:
                    return


def post(url: str | Secret, event: Event, body: str) -> None:
    """Send one beat. Raises UsageError; PipelineError, with retry, when it was not taken. Neither shows the URL."""
    import requests  # noqa: PLC0415  # a tenth of a second that only who sends beats has to pay

    parts = urlsplit(url.reveal().strip() if isinstance(url, Secret) else url)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        raise UsageError("the URL needs https, since whoever knows it can speak for the pipeline")
    target = urlunsplit(parts._replace(path=parts.path.rstrip("/") + _PATHS[event]))
    try:
        with requests.post(target, data=body.encode(), timeout=TIMEOUT_S, allow_redirects=False, stream=True,
                           headers={"Content-Type": "text/plain; charset=utf-8"}) as answer:
            status = answer.status_code
    except requests.RequestException as error:
        raise PipelineError(f"not reached ({type(error).__name__})", retry=True) from error
    if not 200 <= status < 300:
        raise PipelineError(f"answered {status}", retry=status == 429 or status >= 500)


class Outward:
    """Who outside is told: the switch of each spider, the switch of the whole, and systemd.

    settings: asked for each time, since a reload changes them. status: the snapshot.
    """

    def __init__(self, settings: Callable[[], Settings], mask: Callable[[], Mask],
                 status: Callable[[], Awaitable[Snapshot]], *, systemd: Systemd | None = None,
                 switches: Switches | None = None) -> None:
        self._settings = settings
        self._mask = mask
        self._status = status
        self._systemd = systemd or Systemd()
        self._switches = switches or Switches()

    def started(self, run: Run) -> None:
        self._tell(run, "start", "")

    def ended(self, run: Run) -> None:
        """A run that was stopped or skipped is neither a success nor a failure: nothing is told."""
        if run.suspect:
            self._tell(run, "fail", f"suspect: {run.error}")
        elif run.outcome is Outcome.SUCCEEDED:
            self._tell(run, "success", "")
        elif run.outcome not in (None, Outcome.STOPPED, Outcome.SKIPPED):
            self._tell(run, "fail", f"{run.outcome}: {run.error}")

    def ready(self) -> None:
        self._systemd.tell(READY=1)

    def stopping(self) -> None:
        self._systemd.tell(STOPPING=1)

    async def run(self) -> None:
        """Tell the switch of the whole, and systemd's watchdog, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._whole())
            if self._systemd.watchdog_s is not None:
                tasks.create_task(self._watchdog(self._systemd.watchdog_s))

    async def drained(self, timeout_s: float) -> None:
        await self._switches.drained(timeout_s)

    def _tell(self, run: Run, event: Event, text: str) -> None:
        spider = self._settings().spiders.get(run.spider)
        if spider is not None:
            text = f"{run.spider} run {run.id}" + (f" {text}" if text else "")
            self._switches.tell(f"spiders.{run.spider}.beat", spider.beat, event, text, mask=self._mask())

    async def _whole(self) -> None:
        while True:
            table = self._settings().heartbeat
            if table.beat is not None:
                try:
                    found = await self._status()
                    event: Event = "fail" if found["health"] == "failing" else "success"
                    text = health(found)
                except PipelineError as error:
                    event, text = "fail", str(error)
                self._switches.tell("heartbeat.beat", table.beat, event, text, mask=self._mask())
            await asyncio.sleep(table.beat_every)

    async def _watchdog(self, every_s: float) -> None:
        """Said from the loop: when it does not turn, systemd hears nothing and restarts us."""
        while True:
            self._systemd.tell(WATCHDOG=1)
            await asyncio.sleep(every_s)
