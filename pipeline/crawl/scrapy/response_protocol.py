"""aiohttp's client protocol, extended to parse status lines and headers as leniently as browsers do.

`data_received`, which asyncio calls with the received bytes, parses the head of a response (the status line and the headers). If
aiohttp's strict parser would refuse a head, or interpret it differently from browsers, the head is passed to aiohttp in a
canonical form. Bodies are passed on unchanged. The module uses two private names of aiohttp: ResponseHandler, and `_factory` of
the connector. Without `_factory`, aiohttp's own protocol is used, and a test fails.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

from pipeline.content_coding import CutShortError
from pipeline.session.responses.chunks import ChunkedBody
from pipeline.session.responses.errors import TLS_NOT_CLOSED, HeadError, NotHttpError, may_be_http
from pipeline.session.responses.head import end_of_head, parse_head, plain_head

_MAX_INTERIM = 100


class UnusableResponseError(aiohttp.ClientPayloadError):
    """A response cannot be used; the message says why."""


def use_lenient_protocol(connector: aiohttp.BaseConnector) -> aiohttp.BaseConnector:
    """Make a connector use LenientProtocol for its new connections, and return the connector."""
    if hasattr(connector, "_factory"):
        connector._factory = partial(LenientProtocol, loop=asyncio.get_running_loop())  # type: ignore[assignment]
    return connector


class NotHttpResponseError(UnusableResponseError):
    """The server sent a response that is not HTTP.

    secured: whether the connection to the server uses TLS.
    """

    secured = False


class LenientProtocol(ResponseHandler):
    """One connection to a server.

    If bytes follow the end of a response, they are dropped, as in browsers, and the connection is closed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._in_head = False
        self._head = b""
        self._interim = 0
        self._left: int | None = None  # the number of bytes still missing from a body with a Content-Length; None for other bodies
        self._chunks: ChunkedBody | None = None
        self._ended = False
        self._requests = 0

    @property
    def is_stale(self) -> bool:
        """Whether the connection was kept open after an earlier response, and no data has arrived since the last request was
        sent.
        """
        return self._requests > 1 and self._in_head and not self._head

    def set_response_params(self, **params: Any) -> None:
        self._requests += 1
        self._in_head, self._head, self._interim = True, b"", 0
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        if self._parser is None or not data:
            super().data_received(data)
            return
        try:
            data = self._from_head(data) if self._in_head else self._within_body(data, 0)
        except NotHttpError as error:
            self._fail(self._not_http(error))
        except (HeadError, CutShortError) as error:
            self._fail(UnusableResponseError(str(error)))
            return
        if data:
            super().data_received(data)

    def _from_head(self, data: bytes) -> bytes:
        """Parse received bytes of the status line and headers. Return the bytes to pass to aiohttp.

        Return b"" until the headers are complete.
        """
        if not self._head and (plain := plain_head(data)) is not None:
            return self._begin(data, plain.end, plain.status, plain.length, chunked=plain.chunked)
        self._head += data
        while (end := end_of_head(self._head)) >= 0:
            head, rest = parse_head(self._head[:end]), self._head[end:]
            if not head.interim:
                self._head = b""
                canonical = head.canonical()
                return self._begin(canonical + rest, len(canonical), head.status, head.length, chunked=head.chunked)
            self._head, self._interim = rest, self._interim + 1
            if self._interim > _MAX_INTERIM:
                raise HeadError("the server sent only interim responses (status 1xx)")
        began = self._head.lstrip(b"\r\n")
        if (len(began) > 16 or b"\n" in began) and not may_be_http(began):
            raise NotHttpError(began)
        return b""

    def _begin(self, data: bytes, end: int, status: int, length: int | None, *, chunked: bool) -> bytes:
        self._in_head = False
        bodiless = self._skip_payload or status in (204, 304)
        self._left = 0 if bodiless else length
        self._chunks = ChunkedBody() if chunked and not bodiless else None
        return self._within_body(data, end)

    def _within_body(self, data: bytes, at: int) -> bytes:
        """Return the data up to the end of the body. at: where in the data the body begins or continues."""
        if self._chunks is not None:
            body = self._chunks.canonical(data, at)
            if self._chunks.over:
                if self._chunks.followed:
                    self.force_close()
                self._chunks, self._left = None, 0
            return data[:at] + body
        if self._left is None:
            return data
        end = min(len(data), at + self._left)
        self._left -= end - at
        if end < len(data):
            self.force_close()
        return data[:end]

    def _fail(self, error: UnusableResponseError) -> None:
        if self.transport is not None:
            self.transport.close()
        self._in_head = False
        if self._payload is not None:
            self._payload.set_exception(error)
        self.set_exception(error)

    def _not_http(self, error: NotHttpError) -> NotHttpResponseError:
        unusable = NotHttpResponseError(str(error))
        unusable.secured = self._secured
        return unusable

    def eof_received(self) -> None:
        self._ended = True
        super().eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Report an error to aiohttp if the connection was lost before the response was complete.

        A body without a length is complete when the server closes the connection properly. With TLS, this requires a close_notify
        alert (RFC 8446, 6.1): without the alert, an attacker on the network may have truncated the body.
        """
        payload = self._payload
        if payload is not None and not payload.is_eof():
            if exc is not None:
                payload.set_exception(aiohttp.ClientPayloadError(f"the connection broke: {exc}"))
            elif self._left is None and self._chunks is None and not self._ended and self._secured:
                payload.set_exception(UnusableResponseError(TLS_NOT_CLOSED))
        elif began := self._head.lstrip(b"\r\n"):
            self.set_exception(UnusableResponseError("the response headers were cut short") if may_be_http(began) else self._not_http(NotHttpError(began)))
        super().connection_lost(exc)

    @property
    def _secured(self) -> bool:
        return self.transport is not None and self.transport.get_extra_info("ssl_object") is not None
