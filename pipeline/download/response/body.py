"""Read a response body into reused buffers, decode it if requested, and detect an incomplete body.

A body without content codings and chunks is received directly into the buffer. This bypasses urllib3, which would create a bytes
object and a copy for each chunk.
"""

from __future__ import annotations

import http.client
import io
import time
from collections.abc import Iterator

import requests

from pipeline.content_coding import ContentDecoder, CutShortError, OversizeError
from pipeline.session.responses.errors import cut_short
from pipeline.session.responses.http_client import is_framed, original_response

_FULL_ENOUGH_S = 0.1
"""After this time in seconds, a buffer is written to the disk even if it is not full."""


class Body:
    """The body of an open response. If the body is incomplete, the last call of fill() raises an error.

    codings: the content codings of the body. unpack: whether fill() decodes the body. If False, fill() returns the body as
    received. watch_bytes: if `unpack` is False, up to this number of bytes are decoded as well, only to find out whether the body
    is complete. fill() raises errors of sockets, http.client, urllib3 and pipeline.session.responses.
    """

    def __init__(self, response: requests.Response, *, codings: tuple[str, ...], unpack: bool, watch_bytes: int) -> None:
        self._response = response
        self._decoder = ContentDecoder(codings) if codings and unpack else None
        self._watch = ContentDecoder(codings, watch_bytes) if codings and not unpack else None
        self._pieces: Iterator[bytes] = iter(())
        self._rest = memoryview(b"")
        self._over = False
        inner = original_response(response.raw)
        self._framed = is_framed(inner)
        plain = isinstance(inner, http.client.HTTPResponse) and not inner.chunked and isinstance(inner.fp, io.BufferedReader)
        self._plain: http.client.HTTPResponse | None = inner if plain and self._decoder is None else None
        self._announced: int | None = getattr(inner, "length", None)
        self._failure: OSError | None = None

    def fill(self, buffer: memoryview) -> int:
        """Read into a buffer until it is full or 0.1 s have passed.

        Return the number of bytes read; 0 at the end of the body.
        """
        if self._decoder is not None:
            return self._decode(self._decoder, buffer)
        if self._plain is None:
            chunk = self._response.raw.read1(len(buffer), decode_content=False) or b""
            count = len(chunk)
            buffer[:count] = chunk
        else:
            count = self._receive(self._plain, buffer)
        if self._watch is not None:
            self._look(self._watch, bytes(buffer[:count]))
        return count

    def _decode(self, decoder: ContentDecoder, buffer: memoryview) -> int:
        while not self._rest:
            if self._over:
                return 0
            piece = next(self._pieces, None)
            if piece is not None:
                self._rest = memoryview(piece)
            elif chunk := self._response.raw.read1(len(buffer), decode_content=False):
                self._pieces = decoder.feed(chunk)
            else:
                decoder.finish(empty=self._framed)
                self._over = True
        count = min(len(self._rest), len(buffer))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def _look(self, decoder: ContentDecoder, data: bytes) -> None:
        """Decode the next data of a body that is stored without decoding, to find out whether the body is complete."""
        try:
            for _ in decoder.feed(data):
                pass
        except OversizeError:
            self._watch = None
            return
        if not data:
            decoder.finish(empty=self._framed)

    def _receive(self, inner: http.client.HTTPResponse, buffer: memoryview) -> int:
        if self._failure is not None:
            raise self._failure
        filled, until = 0, time.monotonic() + _FULL_ENOUGH_S
        wanted = len(buffer) if inner.length is None else min(len(buffer), inner.length)
        while filled < wanted and inner.fp is not None:
            try:
                # Call recv_into() at most once. This bypasses the small buffer with which the headers were read.
                count = inner.fp.readinto1(buffer[filled:wanted])
                if not count and inner.length:
                    raise CutShortError(cut_short((self._announced or 0) - inner.length, self._announced))
            except OSError as error:
                if not filled:
                    raise
                self._failure = error  # raised by the next call, so that the bytes received before the error are not lost
                break
            filled += count
            if inner.length is not None:
                inner.length -= count
            if not count or inner.length == 0:
                self._end(inner)
            if time.monotonic() > until:
                break
        return filled

    def _end(self, inner: http.client.HTTPResponse) -> None:
        """Close the response as http.client does, so that the connection can be reused."""
        inner.close()
        self._response.raw.release_conn()
