"""An HTTP transport for the language model's client, with a limit on bytes; a thread can abort it.

It sends only the headers that a request needs, so that nothing about this machine or its environment leaves with it, and accepts no
compressed body.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import httpx2

MAX_RESPONSE_BYTES = 16 * 2**20
"""The maximum size of a response. A streamed answer takes some hundred bytes for each token."""
_SENT_HEADERS = ("host", "content-type", "content-length", "transfer-encoding", "accept")


class ResponseTooLargeError(httpx2.TransportError):
    """The response has more bytes than the limit."""


class UnexpectedCodingError(httpx2.TransportError):
    """The response is compressed, although the request asked for no coding."""


class BoundedTransport(httpx2.BaseTransport):
    """Sends requests directly to the server of the language model, never through a proxy of the environment.

    headers: more headers to send. tls: how certificates are verified. max_bytes: maximum number of bytes of a response's body.
    """

    def __init__(self, headers: Mapping[str, str], tls: ssl.SSLContext, *, max_bytes: int = MAX_RESPONSE_BYTES) -> None:
        self._inner = httpx2.HTTPTransport(verify=tls)
        self._headers = dict(headers)
        self._max_bytes = max_bytes
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._aborted = False

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        kept = [(name, value) for name, value in request.headers.multi_items() if name.lower() in _SENT_HEADERS]
        headers = [*kept, *self._headers.items(), ("Accept-Encoding", "identity"), ("Connection", "close")]
        response = self._inner.handle_request(httpx2.Request(request.method, request.url, headers=headers, stream=request.stream,
                                                             extensions={**request.extensions, "trace": self._trace}))
        if response.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            response.close()
            raise UnexpectedCodingError("the language model answered with something else than was asked for")
        assert isinstance(response.stream, httpx2.SyncByteStream)
        return httpx2.Response(response.status_code, headers=response.headers, stream=_BoundedStream(response.stream, self._max_bytes),
                               extensions=response.extensions)

    def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Keep the socket of each new connection. httpcore calls this for each step of a request."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            found = info["return_value"].get_extra_info("socket")
            with self._lock:
                self._sockets.append(found)
                aborted = self._aborted
            if aborted:
                _shut_down(found)

    def abort(self) -> None:
        """End the request that another thread performs: whatever it waits for, it fails now."""
        with self._lock:
            self._aborted = True
            opened = list(self._sockets)
        for each in opened:
            _shut_down(each)

    def close(self) -> None:
        self._inner.close()


def _shut_down(opened: socket.socket) -> None:
    with suppress(OSError):  # it is closed already
        socket.socket.shutdown(opened, socket.SHUT_RDWR)  # for TLS, without its closing messages, which could wait


class _BoundedStream(httpx2.SyncByteStream):
    def __init__(self, inner: httpx2.SyncByteStream, max_bytes: int) -> None:
        self._inner = inner
        self._left = max_bytes

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._inner:
            self._left -= len(chunk)
            if self._left < 0:
                raise ResponseTooLargeError("the answer of the language model is too long")
            yield chunk

    def close(self) -> None:
        self._inner.close()
