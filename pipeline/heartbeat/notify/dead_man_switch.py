"""Sends reports (beats) to a dead man's switch, an external monitor that alerts when the reports stop.

The protocol is that of Healthchecks: a POST request to URL reports a success, a request to URL/start reports a start,
and a request to URL/fail reports a failure. The body of the request is a text for people.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from pipeline.errors import PipelineError, UsageError
from pipeline.settings import Secret
from pipeline.settings.fields.scalars import is_loopback
from pipeline.settings.masking import Mask
from pipeline.text import escape_line

TIMEOUT_S = 10.0
ATTEMPTS = 3
LONGEST_BODY = 10_000
"""Maximum length of a report's text in characters; the monitor Healthchecks does not store more."""
AT_ONCE = 4
MOST_PENDING = 64

Event = Literal["start", "success", "fail"]
_PATHS: dict[Event, str] = {"start": "/start", "success": "", "fail": "/fail"}
_log = logging.getLogger(__name__)


class BeatSender:
    """Sends reports to monitors in threads, without blocking the caller or raising errors.

    At most four reports are sent at the same time. Each report is tried up to three times. While 64 reports are pending,
    new reports are dropped.
    """

    def __init__(self, *, retry_s: float = 2.0) -> None:
        self._retry_s = retry_s
        self._pending: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(AT_ONCE)

    def send(self, setting: str, url: str | Secret | None, event: Event, text: str = "", *, mask: Mask) -> None:
        """Send a report in a thread.

        setting: the name of the setting that contains the URL; log messages show this name, because the URL is secret. url: the URL
        of the monitor; None means that no report is sent. event: "start", "success" or "fail". text: the body of the report. mask:
        masks secrets in `text`.
        """
        if url is None:
            return
        if len(self._pending) >= MOST_PENDING:
            _log.warning("%s: too many reports to the monitor are pending; the new report was dropped", setting)
            return
        body = mask(escape_line(text.replace("\n", " ")))[:LONGEST_BODY]
        task = asyncio.create_task(self._send(setting, url, event, body), name="heartbeat-beat")
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def drain(self, timeout_s: float) -> None:
        """Wait at most `timeout_s` seconds until all reports are sent, then drop the remaining reports."""
        if self._pending:
            await asyncio.wait(self._pending, timeout=timeout_s)
        for task in tuple(self._pending):
            task.cancel()

    async def _send(self, setting: str, url: str | Secret, event: Event, body: str) -> None:
        async with self._slots:
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    await asyncio.to_thread(send_beat, url, event, body)
                except PipelineError as error:
                    if attempt == ATTEMPTS or not error.retry:
                        _log.warning("%s: the monitor did not accept the report of “%s”: %s", setting, event, error)
                        return
                    await asyncio.sleep(self._retry_s * attempt)
                else:
                    return


def send_beat(url: str | Secret, event: Event, body: str) -> None:
    """Send one report and wait for the response.

    Raises UsageError for a URL that is not allowed, and PipelineError if the monitor does not accept the report. The
    attribute `retry` of a PipelineError says whether another attempt may succeed. Neither error contains the URL.
    """
    import requests  # noqa: PLC0415  # importing requests takes a tenth of a second

    parts = urlsplit(url.reveal().strip() if isinstance(url, Secret) else url)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        raise UsageError("the URL must use https, because anyone who can read the URL could send false reports")
    target = urlunsplit(parts._replace(path=parts.path.rstrip("/") + _PATHS[event]))
    try:
        with requests.post(target, data=body.encode(), timeout=TIMEOUT_S, allow_redirects=False, stream=True,
                           headers={"Content-Type": "text/plain; charset=utf-8"}) as answer:
            status = answer.status_code
    except requests.RequestException as error:
        raise PipelineError(f"the server of the monitor could not be reached ({type(error).__name__})", retry=True) from error
    if not 200 <= status < 300:
        raise PipelineError(f"the server of the monitor responded with HTTP status {status}", retry=status == 429 or status >= 500)
