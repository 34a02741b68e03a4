"""The bytes of an answer, into buffers that are used again and again.

A body that comes as it is (no chunks, no packing) is received straight into them, below urllib3: no bytes object a
chunk, no copy.
"""

from __future__ import annotations

import http.client
import io
import time

import requests

_FULL_ENOUGH_S = 0.1
"""What came in this time goes on to the disk, full buffer or not."""


class Body:
    """An open answer's body. Errors are those of sockets, http.client and urllib3."""

    def __init__(self, response: requests.Response, *, unpack: bool) -> None:
        self._response = response
        self._unpack = unpack
        inner = getattr(response.raw, "_original_response", None)
        plain = isinstance(inner, http.client.HTTPResponse) and not inner.chunked and not unpack \
            and isinstance(inner.fp, io.BufferedReader)
        self._plain: http.client.HTTPResponse | None = inner if plain else None
        self._failure: OSError | None = None

    def fill(self, buffer: memoryview) -> int:
        """Put what comes into a buffer until it is full, or a moment has passed; how many bytes, 0 at the end."""
        if self._plain is None:
            chunk = self._response.raw.read1(len(buffer), decode_content=self._unpack) or b""
            buffer[:len(chunk)] = chunk
            return len(chunk)
        return self._receive(self._plain, buffer)

    def _receive(self, inner: http.client.HTTPResponse, buffer: memoryview) -> int:
        if self._failure is not None:
            raise self._failure
        filled, until = 0, time.monotonic() + _FULL_ENOUGH_S
        wanted = len(buffer) if inner.length is None else min(len(buffer), inner.length)
        while filled < wanted and inner.fp is not None:
            try:
                # One recv_into() at most, past the small buffer that the headers came through.
                count = inner.fp.readinto1(buffer[filled:wanted])
            except OSError as error:
                if not filled:
                    raise
                self._failure = error  # told next time: what came before it counts
                break
            filled += count
            if inner.length is not None:
                inner.length -= count
            if not count or inner.length == 0:
                self._end(inner, whole=inner.length in (None, 0))
            if time.monotonic() > until:
                break
        return filled

    def _end(self, inner: http.client.HTTPResponse, *, whole: bool) -> None:
        """As http.client does at the end of a body: the connection may then be asked again."""
        inner.close()
        if whole:
            self._response.raw.release_conn()
