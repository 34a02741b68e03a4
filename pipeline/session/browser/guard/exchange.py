"""Forwards one plain HTTP request and its response, without holding a body in memory."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

from pipeline.content_coding import CutShortError
from pipeline.errors import FetchError
from pipeline.session.browser.guard.connector import Connection, refused_by_proxy
from pipeline.session.browser.guard.faults import no_http, refused_credentials
from pipeline.session.browser.guard.requests import ProxyRequest, RequestError
from pipeline.session.browser.guard.streams import IDLE_S, BufferedStream, relay
from pipeline.session.responses.chunks import ChunkedBody
from pipeline.session.responses.errors import NotHttpError, cut_short
from pipeline.session.responses.head import Head, parse_head

_SWITCHED = re.compile(rb"HTTP/1\.1 101[ \r]")
_HOP_BY_HOP = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authentication-info", b"te",
                         b"trailer", b"upgrade"})


class BrowserClosedError(ConnectionError):
    """The browser closed its connection before it had the whole response, as for a page that was closed."""


@dataclass
class Exchange:
    """One request and its response.

    on_response: called when a response begins to arrive. answered: whether that has happened; after that, no other error can be told to
    the browser than a broken connection.
    reusable: whether both connections can be used for another request.
    """

    browser: BufferedStream
    site: Connection
    request: ProxyRequest
    timeout_s: float
    on_response: Callable[[], None]
    answered: bool = False
    reusable: bool = False

    async def run(self) -> None:
        """Forward the request and the response.

        Raises BrowserClosedError, FetchError, ProxyFailedError, or for a failure of the site OSError, TimeoutError, HeadError or CutShortError.
        """
        await self.site.stream.write(self.request.head(proxied=self.site.forwarding, authorization=self.site.authorization))
        sent = asyncio.Event()
        sending = asyncio.ensure_future(self._send(sent))
        answering = asyncio.ensure_future(self._forward_response())
        try:
            await asyncio.wait((sending, answering), return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                sending.result()
            await answering
        finally:
            for each in (sending, answering):
                each.cancel()
            await asyncio.gather(sending, answering, return_exceptions=True)
        self.reusable = self.reusable and sent.is_set()

    async def _send(self, sent: asyncio.Event) -> None:
        """Send the body of the request; then wait until the browser sends something else.

        Raises BrowserClosedError if the browser closes its connection instead.
        """
        try:
            async for data in self._body():
                await self.site.stream.write(data)
        except BrowserClosedError:
            raise
        except (OSError, TimeoutError):  # the site may have responded before it got the whole body
            return
        sent.set()
        if not self.request.websocket:
            self.browser.put_back(await self._from_browser())

    async def _body(self) -> AsyncIterator[bytes]:
        left = self.request.length
        body = ChunkedBody()
        while left is None and not body.over:
            yield body.canonical(await self._from_browser())
        if body.followed:
            raise RequestError("the browser's request is followed by another at once")
        while left:
            data = await self._from_browser()
            if len(data) > left:
                self.browser.put_back(data[left:])
                data = data[:left]
            left -= len(data)
            yield data

    async def _from_browser(self) -> bytes:
        try:
            data = await self.browser.read()
        except OSError as error:
            raise BrowserClosedError from error
        if not data:
            raise BrowserClosedError
        return data

    async def _to_browser(self, data: bytes) -> None:
        try:
            await self.browser.write(data)
        except (OSError, TimeoutError) as error:
            raise BrowserClosedError from error

    async def _from_site(self) -> bytes:
        async with asyncio.timeout(IDLE_S):
            return await self.site.stream.read()

    async def _forward_response(self) -> None:
        while True:
            raw = await self._response_head()
            if self.request.websocket and _SWITCHED.match(raw):
                self._begin()
                await self._to_browser(raw)
                await relay(self.browser, self.site.stream)
                return
            head = parse_head(raw)
            if not head.interim:
                break
            await self._to_browser(_cleaned(head, keep_alive=True).canonical())
        self._check_proxy_refusal(head)
        self._begin()
        await self._forward(head)

    def _begin(self) -> None:
        self.answered = True
        self.on_response()

    async def _response_head(self) -> bytes:
        try:
            raw = await self.site.stream.head(self.timeout_s)
        except NotHttpError as error:
            if self.site.forwarding:
                raise no_http(error, self.site.proxy or "") from error
            raise
        if not raw:
            raise ConnectionResetError
        return raw

    def _check_proxy_refusal(self, head: Head) -> None:
        """Raise ProxyFailedError if the session's proxy refused its credentials, or FetchError for a 407 of the site.

        The browser would take a status 407 for the guard proxy's, and forget its credentials.
        """
        if self.site.forwarding and refused_by_proxy(head):
            raise refused_credentials(self.site.proxy or "")
        if head.status == 407:
            raise FetchError("the server responded with status 407, which only proxies use", fix="check the URL")

    async def _forward(self, head: Head) -> None:
        empty = self.request.method == b"HEAD" or head.status in (204, 304)
        chunked = head.chunked and head.version == 11  # browsers ignore Transfer-Encoding in HTTP/1.0
        ends = empty or chunked or head.length is not None
        kept = ends and self.request.keep_alive and _keeps_alive(head)
        await self._to_browser(_cleaned(head, keep_alive=kept).canonical())
        if empty:
            whole = True
        elif chunked:
            whole = await self._forward_chunks()
        elif head.length is not None:
            whole = await self._forward_bytes(head.length)
        else:
            while data := await self._from_site():
                await self._to_browser(data)
            whole = True
        self.reusable = kept and whole

    async def _forward_chunks(self) -> bool:
        """Forward a chunked body. Return whether nothing but the body has arrived."""
        body, count = ChunkedBody(), 0
        while not body.over:
            data = await self._from_site()
            if not data:
                raise CutShortError(f"{cut_short(count, None)}: the last chunk is missing")
            count += len(data)
            await self._to_browser(body.canonical(data))
        return not body.followed

    async def _forward_bytes(self, length: int) -> bool:
        left = length
        while left:
            data = await self._from_site()
            if not data:
                raise CutShortError(cut_short(length - left, length))
            await self._to_browser(data[:left])
            if len(data) > left:
                return False
            left -= len(data)
        return True


def _keeps_alive(head: Head) -> bool:
    named = b",".join(value for name, value in head.fields if name.lower() == b"connection").lower()
    return head.version == 11 and b"close" not in named


def _cleaned(head: Head, *, keep_alive: bool) -> Head:
    """Return the head of a response without the headers that concern the connection to the site only."""
    fields = tuple(field for field in head.fields if field[0].lower() not in _HOP_BY_HOP)
    return replace(head, fields=fields if keep_alive else (*fields, (b"Connection", b"close")))


