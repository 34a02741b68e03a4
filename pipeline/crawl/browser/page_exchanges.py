"""Records the requests and responses for a page as the browser reports them, for the archive.

The browser decodes bodies. Headers that describe the body on the wire are therefore archived with the prefix "x-orig-".
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

from playwright.async_api import Error, Page, Response

from pipeline.model import Exchange, HeaderLines, RenderedPage

MAX_DOCUMENTS = 10
"""How many documents are recorded that a page shows one after the other, such as after a form was sent."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OF_THE_WIRE = frozenset(("content-encoding", "transfer-encoding", "content-length"))
_OF_THE_GUARD = frozenset(("proxy-authorization", "proxy-connection"))
"""What the browser sends to the guard proxy of the run, which sends none of it to the site."""


class PageExchanges:
    """The documents that a page in the browser shows. Make it before the page is navigated, and close it.

    max_bytes: the maximum size of a document.
    """

    def __init__(self, page: Page, max_bytes: int) -> None:
        self._page = page
        self._max_bytes = max_bytes
        self._responses: list[Response] = []
        page.on("response", self._on_response)

    def close(self) -> None:
        self._page.remove_listener("response", self._on_response)

    async def all(self, url: str, rendered: RenderedPage, *, timeout_s: float) -> tuple[Exchange, ...]:
        """Return the requests and responses for the documents of the page, the earliest first. The last has what was rendered.

        If the browser does not tell the last one in time, it is only what was rendered, with status 0. url: the URL of the rendered document.
        """
        found: list[Exchange] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                for response in self._responses:
                    if (exchange := await self._exchange_of(response)) is not None:
                        found.append(exchange)  # noqa: PERF401  what was told in time is kept
        url = url.partition("#")[0]
        if found and unquote(found[-1].url) == unquote(url):  # Chromium percent-encodes some characters of a path only when it sends the request, such as |
            return (*found[:-1], replace(found[-1], rendered=rendered))
        return (*found, Exchange(url, datetime.now(UTC), "GET", (), b"", 0, b"", (), b"", rendered=rendered))

    def _on_response(self, response: Response) -> None:
        request = response.request
        if len(self._responses) < MAX_DOCUMENTS and request.is_navigation_request() and response.url.startswith(("http:", "https:")):
            try:
                if request.frame == self._page.main_frame:
                    self._responses.append(response)
            except Error:  # the request has no frame yet
                return

    async def _exchange_of(self, response: Response) -> Exchange | None:
        request = response.request
        try:
            sent, received, body = await request.headers_array(), await response.headers_array(), await response.body()
        except Error:  # the browser no longer has the body
            return None
        if len(body) > self._max_bytes:
            return None
        return Exchange(
            url=response.url.partition("#")[0], at=_EPOCH + timedelta(milliseconds=request.timing["startTime"]), method=request.method,
            request_headers=_sent_lines([(each["name"], each["value"]) for each in sent]),
            request_body=request.post_data_buffer or b"", status=response.status, reason=response.status_text.encode(),
            response_headers=decoded_lines([(each["name"], each["value"]) for each in received if not each["name"].startswith(":")]), body=body)


def exchange_of_event(event: Mapping[str, Any], at: datetime | None, body: bytes) -> Exchange:
    """Return a response that ends the rendering, such as a redirect, from an event of the Chrome DevTools Protocol (Fetch.requestPaused).

    Chromium adds the headers of the connection and the cookies later: they are not among those of the request.
    """
    request = event["request"]
    return Exchange(
        url=request["url"].partition("#")[0], at=at or datetime.now(UTC), method=request["method"], request_headers=_sent_lines(list(request["headers"].items())),
        request_body=request.get("postData", "").encode(), status=event["responseStatusCode"], reason=event.get("responseStatusText", "").encode(),
        response_headers=decoded_lines([(each["name"], each["value"]) for each in event.get("responseHeaders", ())]), body=body)


def decoded_lines(fields: Sequence[tuple[str, str]]) -> HeaderLines:
    """Return the header lines of a response whose body is decoded."""
    return _lines([(f"x-orig-{name}" if name.lower() in _OF_THE_WIRE else name, value) for name, value in fields])


def _sent_lines(fields: Sequence[tuple[str, str]]) -> HeaderLines:
    """Return the header lines of a request as the site got them."""
    return _lines([(name, value) for name, value in fields if not name.startswith(":") and name.lower() not in _OF_THE_GUARD])


def _lines(fields: Sequence[tuple[str, str]]) -> HeaderLines:
    return tuple((name.encode(), line.encode()) for name, value in fields for line in value.split("\n"))  # Chromium joins Set-Cookie by line feeds

