"""Control the requests of one page in the browser.

That is the first request, redirects, responses that are not HTML, frames, and what is blocked. Only these requests are paused by Chromium
(domain Fetch of the Chrome DevTools Protocol); all others pass without this program. The guard proxy checks the address of every request.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from playwright.async_api import CDPSession, Error

from pipeline.crawl.browser import blocked_requests
from pipeline.crawl.browser.page_exchanges import exchange_of_event
from pipeline.crawl.browser.rendered import Rendered
from pipeline.errors import FetchError, PipelineError
from pipeline.hosts import host_of
from pipeline.model import Exchange
from pipeline.session.responses.errors import cut_short
from pipeline.session.responses.head import is_redirect
from pipeline.text import shown_url, size_for_people

MOST_RELOADS = 5
"""How often a page may load itself again, such as after a script has set a cookie."""

MOST_DOWNLOADS = 1000
MOST_NOTES = 50
_CHUNK_BYTES = 1 << 20
_CLOSE_S = 2.0
_HTML = frozenset(("", "text/html", "application/xhtml+xml"))
_EMPTY = frozenset((204, 205, 304))
"""Statuses of responses without a body."""
_ATTACHMENT = re.compile(r"\s*attachment\b", re.IGNORECASE)
_OF_THE_BROWSER = frozenset(("accept", "accept-encoding", "cookie", "host", "connection", "content-length", "user-agent"))
"""Headers of a request that the browser sets itself, as it does for every request of the page."""
_OF_THE_CONNECTION = frozenset(("content-encoding", "content-length", "transfer-encoding", "connection", "keep-alive", "set-cookie"))


class PageRequests:
    """Watches the requests of one page.

    cdp: the session of the Chrome DevTools Protocol with the page.
    left: set when the page must not be rendered any further: the response as it was sent, such as a redirect, or a PipelineError. url, status,
    headers: those of the last document of the page. check_document: raises PipelineError for a further document that must not be loaded. reason_for:
    returns why the last request to the server of a URL failed; None if it did not. downloads: URLs of files that the page has started to download. notes: what was left out.
    blocked: the number of blocked requests. archived: whether responses that end the rendering are recorded.
    """

    def __init__(self, cdp: CDPSession, url: str, *, blocked: Collection[str], max_bytes: int,
                 check_document: Callable[[str], Awaitable[None]], reason_for: Callable[[str], PipelineError | None], archived: bool = False) -> None:
        self.left: asyncio.Future[Rendered] = asyncio.get_running_loop().create_future()
        self.url, self.status = url, 0
        self.headers: list[tuple[str, str]] = []
        self.downloads: dict[str, None] = {}
        self.notes: dict[str, None] = {}
        self._more_notes = self._more_downloads = 0
        self.blocked = 0
        self.in_steps = False
        self.cdp = cdp
        self._blocked_kinds = blocked
        self._host = host_of(url)
        self._max_bytes = max_bytes
        self._check_document = check_document
        self._reason_for = reason_for
        self._archived = archived
        self._sent_at: datetime | None = None
        self._overrides: dict[str, Any] = {}
        self._main_frame = ""
        self._method = "GET"  # of the navigation that is under way
        self._reloads = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, method: str, headers: Mapping[str, str], body: bytes) -> None:
        """Pause the requests from now on. method, headers, body: those of the first request, for the page itself."""
        self._method = method
        self._own_headers = {name: value for name, value in headers.items() if name.lower() not in _OF_THE_BROWSER}
        if method != "GET":
            self._overrides["method"] = method
        if body:
            self._overrides["postData"] = base64.b64encode(body).decode()
        documents = [{"urlPattern": "*", "resourceType": "Document", "requestStage": stage} for stage in ("Request", "Response")]
        self.cdp.on("Fetch.requestPaused", self._paused)
        await self.cdp.send("Fetch.enable", {"patterns": [*documents, *blocked_requests.patterns(self._blocked_kinds)]})

    async def bypass_service_workers(self) -> None:
        """Let the site answer what the page requests from now on, and not a service worker that another page of the site has installed.

        A service worker answers from its cache also if the site is down or the page is gone, and its responses are not paused.
        """
        await self.cdp.send("Network.enable", {"maxTotalBufferSize": 0, "maxResourceBufferSize": 0})  # needed for the next command
        await self.cdp.send("Network.setBypassServiceWorker", {"bypass": True})

    async def close(self) -> None:
        """Stop watching the page, which may be used again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.left.done() and not self.left.cancelled():
            self.left.exception()  # otherwise asyncio logs an error that nobody has read
        self.left.cancel()
        with suppress(Error, TimeoutError):  # a page whose script never ends does not answer
            async with asyncio.timeout(_CLOSE_S):
                await self.cdp.detach()

    def leave(self, outcome: Rendered | PipelineError) -> None:
        """End the rendering with a response as it was sent, or with an error. Only the first call has an effect."""
        if self.left.done():
            return
        if isinstance(outcome, PipelineError):
            self.left.set_exception(outcome)
        else:
            self.left.set_result(outcome)

    def started_download(self, url: str) -> None:
        """Note a download that the page has started."""
        if not url.startswith(("http:", "https:")):
            self._note(f"a file that scripts made ({url.partition(':')[0]}:) was left out")
        elif url in self.downloads or len(self.downloads) < MOST_DOWNLOADS:
            self.downloads[url] = None
        else:
            self._more_downloads += 1

    def _note(self, text: str) -> None:
        if text in self.notes or len(self.notes) < MOST_NOTES:
            self.notes[text] = None
        else:
            self._more_notes += 1

    def all_notes(self) -> tuple[str, ...]:
        """Return the notes, with what is said of those that a page made in excess."""
        more = (f"{self._more_downloads:,} more files that the page started to download were left out" if self._more_downloads else "",
                f"{self._more_notes:,} more refusals of a page were left out" if self._more_notes else "")
        return (*filter(None, more), *self.notes)

    def _paused(self, event: dict[str, Any]) -> None:
        task = asyncio.create_task(self._handle(event))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _handle(self, event: dict[str, Any]) -> None:
        try:
            if event["resourceType"] != "Document":
                if blocked_requests.is_blocked(event, self._blocked_kinds, self._host):
                    self.blocked += 1
                    await self._fail(event, "BlockedByClient")
                else:
                    await self._continue(event)
                return
            self._main_frame = self._main_frame or event["frameId"]
            is_main = event["frameId"] == self._main_frame
            if "responseStatusCode" in event and is_main:
                await self._response(event)
            elif "responseStatusCode" in event or "responseErrorReason" in event:
                await self._continue(event)
            else:
                await self._request(event, is_main=is_main)
        except Error:  # the page was closed, or it has cancelled the request
            return
        except PipelineError as error:
            self.leave(error)
            with suppress(Error):  # a page with a paused request cannot be closed
                await self._fail(event, "Aborted")

    async def _request(self, event: dict[str, Any], *, is_main: bool) -> None:
        """Decide about the request for a document: the page itself, a page that replaces it, or a frame."""
        request = event["request"]
        url, method = request["url"], request["method"]
        if is_main:
            self._sent_at = datetime.now(UTC)
        if is_main and not self.status:
            headers = {**request["headers"], **self._own_headers}
            await self._continue(event, headers=[{"name": name, "value": value} for name, value in headers.items()], **self._overrides)
            return
        if is_main and url == self.url.partition("#")[0] and not self.in_steps:
            self._reloads += 1
            if self._reloads > MOST_RELOADS:
                self.leave(FetchError("the page loads itself again and again", where=shown_url(url), retry=True))
                await self._fail(event, "Aborted")
                return
        try:
            await self._check_document(url)
        except PipelineError as error:
            self._note(f"{'a page' if is_main else 'a frame'} of {host_of(url)} was left out: {error.what}")
            await self._fail(event, "BlockedByClient")
            return
        if is_main:
            self._method = method
        await self._continue(event)

    async def _response(self, event: dict[str, Any]) -> None:
        """Decide about the response for the page itself, or for a page that replaces it."""
        url, status = event["request"]["url"], event["responseStatusCode"]
        headers = [(entry["name"], entry["value"]) for entry in event.get("responseHeaders", ())]
        fields = {name.lower(): value for name, value in headers}
        headers = [(name, value) for name, value in headers if name.lower() not in _OF_THE_CONNECTION]
        kind = fields.get("content-type", "").partition(";")[0].strip().lower()
        is_file = kind not in _HTML or bool(_ATTACHMENT.match(fields.get("content-disposition", "")))
        if not self.status:
            if is_redirect(status, location="location" in fields):
                self.leave(Rendered(self.url, status, headers, b"", exchanges=self._exchanges(event, b"")))
                await self._fail(event, "Aborted")
            elif is_file and self._method == "GET" and status < 400 and status not in _EMPTY:
                self.leave(Rendered(self.url, status, headers, b"", is_other=True))
                await self._fail(event, "Aborted")
            elif is_file or status >= 400 or status in _EMPTY:
                body = await self._body(event, fields)
                self.leave(Rendered(self.url, status, headers, body, exchanges=self._exchanges(event, body)))
                await self._fail(event, "Aborted")
            else:
                self.status, self.headers = status, headers
                await self._continue(event)
        elif is_file and not is_redirect(status, location="location" in fields):
            if self._method == "GET":
                self.started_download(url)
            else:
                self._note(f"a file that {host_of(url)} sent in response to a form was left out")
            await self._fail(event, "Aborted")
        elif self.in_steps or self._method != "GET" or url == self.url.partition("#")[0]:
            if not is_redirect(status, location="location" in fields):
                self.url, self.status, self.headers = url, status, headers
            await self._continue(event)
        else:  # a script or a meta refresh leads to another page, which is requested like any page
            self.leave(Rendered(self.url, 302, [("Location", url)], b""))
            await self._fail(event, "Aborted")

    def _exchanges(self, event: dict[str, Any], body: bytes) -> tuple[Exchange, ...]:
        return (exchange_of_event(event, self._sent_at, body),) if self._archived else ()

    async def _body(self, event: dict[str, Any], fields: Mapping[str, str]) -> bytes:
        """Return the body of a response. Raise FetchError if it is larger than a page may be, or incomplete."""
        if event["responseStatusCode"] in _EMPTY:
            return b""
        stream = (await self.cdp.send("Fetch.takeResponseBodyAsStream", {"requestId": event["requestId"]}))["stream"]
        data = bytearray()
        while True:
            part = await self.cdp.send("IO.read", {"handle": stream, "size": _CHUNK_BYTES})
            data += base64.b64decode(part["data"]) if part.get("base64Encoded") else part["data"].encode("utf-8")
            if len(data) > self._max_bytes:
                raise too_large(self.url, self._max_bytes)
            if part["eof"]:
                break
        # Chromium does not say whether the body is complete. Only error pages and responses to other methods than GET are taken so.
        length = fields.get("content-length", "")
        if length.isdigit() and "content-encoding" not in fields and len(data) < int(length):
            raise FetchError(cut_short(len(data), int(length)), where=shown_url(self.url), retry=True)
        if (reason := self._reason_for(self.url)) is not None:
            raise reason
        return bytes(data)

    async def _continue(self, event: dict[str, Any], **changes: Any) -> None:
        await self.cdp.send("Fetch.continueRequest", {"requestId": event["requestId"], **changes})

    async def _fail(self, event: dict[str, Any], reason: str) -> None:
        await self.cdp.send("Fetch.failRequest", {"requestId": event["requestId"], "errorReason": reason})


def too_large(url: str, max_bytes: int) -> FetchError:
    return FetchError(f"the page is larger than {size_for_people(max_bytes)}", where=shown_url(url), fix="increase the `max_page_size` setting", retry=True)
