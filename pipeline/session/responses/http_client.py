"""A response class for http.client, urllib3 and requests, with its own parser for headers and chunks.

To use the class, set it as the attribute `response_class` of a connection of http.client or urllib3.
"""

from __future__ import annotations

import http.client
import io
import ssl
from typing import Any

from pipeline.content_coding import CutShortError
from pipeline.session.responses.chunks import size_of
from pipeline.session.responses.errors import TLS_NOT_CLOSED, HeadError, NotHttpError, cut_short, may_be_http
from pipeline.session.responses.head import MAX_HEAD_BYTES, MAX_LINE_BYTES, MAX_LINES, Head, parse_head

_MAX_INTERIM = 100


class Response(http.client.HTTPResponse):
    """A response that raises an error if its headers or body are incomplete.

    Interim responses (1xx) are skipped. Reading a chunked body returns its content without the framing. framed: whether the
    response has a Content-Length or a chunked body; if not, the body ends when the server closes the connection.
    """

    framed = True

    def __init__(self, sock: Any, debuglevel: int = 0, method: str | None = None, url: str | None = None) -> None:
        super().__init__(sock, debuglevel, method, url)
        self.to_head = method == "HEAD"
        self._tls = _TlsSource(self.fp.detach()) if isinstance(sock, ssl.SSLSocket) else None
        if self._tls is not None:
            self.fp = io.BufferedReader(self._tls)

    def begin(self) -> None:
        if self.headers is not None:
            return
        head = self._final_head()
        self.code = self.status = head.status
        self.reason = head.reason.decode("latin-1")
        self.version = head.version
        self.headers = self.msg = http.client.HTTPMessage()
        for name, value in head.fields if head.chunked else head.framed_fields():
            self.headers.add_header(name.decode("latin-1"), value.decode("latin-1"))
        self.chunked = False
        self.length = head.length
        self.will_close = self._closes(head)
        if self.to_head or head.status in (204, 304):
            self.length = 0
        elif head.chunked:
            self.fp = io.BufferedReader(_Chunked(self.fp), 64 * 1024)
        elif self.length is None:
            self.will_close = True
            self.framed = False
            if self._tls is not None:
                self.fp = io.BufferedReader(_ToTheEnd(self.fp, self._tls), 64 * 1024)

    def _final_head(self) -> Head:
        for _ in range(_MAX_INTERIM):
            head = parse_head(self._raw_head())
            if not head.interim:
                return head
        raise HeadError("the server sent only interim responses (status 1xx)")

    def _raw_head(self) -> bytes:
        raw = bytearray()
        for _ in range(MAX_LINES + 3):
            line = self._line(began=bool(raw))
            if len(line) > MAX_LINE_BYTES:
                raise HeadError(f"one of the response header lines is longer than {MAX_LINE_BYTES:,} bytes")
            if line in (b"\r\n", b"\n"):
                if raw:
                    return bytes(raw)
                continue  # some servers send an empty line first
            raw += line
            if len(raw) > MAX_HEAD_BYTES:
                raise HeadError(f"the response headers are larger than {MAX_HEAD_BYTES:,} bytes")
        raise HeadError(f"the response has more than {MAX_LINES:,} header lines")

    def _line(self, *, began: bool) -> bytes:
        line: bytes = self.fp.readline(MAX_LINE_BYTES + 1)
        if not line and not began:  # http.client raises the same error
            raise http.client.RemoteDisconnected("Remote end closed connection without response")
        if not began and line.strip() and not may_be_http(line):
            raise NotHttpError(line)
        if not line.endswith(b"\n") and len(line) <= MAX_LINE_BYTES:
            raise CutShortError("the response headers were cut short")
        return line

    def _closes(self, head: Head) -> bool:
        """Return whether the server will close the connection after the response (RFC 9112, 9.3)."""
        said = ",".join([*self.headers.get_all("Connection", []), *self.headers.get_all("Proxy-Connection", [])]).lower()
        return "close" in said or (head.version == 10 and "keep-alive" not in said)


def attach(raw: Any, response: Response | None) -> None:
    """Attach a response to the urllib3 response that reads from it, so that original_response() can return it."""
    raw.pipeline_response = response


def original_response(raw: Any) -> Any:
    """Return the response that was attached to the urllib3 response `raw`; None if none was attached."""
    return getattr(raw, "pipeline_response", None)


def is_framed(inner: object) -> bool:
    """Return whether the body has a length or chunks. If not, the body ends when the server closes the connection.

    inner: the result of original_response(), which is a Response of this module.
    """
    return getattr(inner, "framed", True)


class _TlsSource(io.RawIOBase):
    """Reads from a TLS socket. ragged: whether the connection ended without close_notify (RFC 8446, 6.1)."""

    def __init__(self, raw: io.RawIOBase) -> None:
        super().__init__()
        self._raw = raw
        self.ragged = False

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._raw.close()
        super().close()

    def readinto(self, buffer: Any) -> int | None:
        try:
            return self._raw.readinto(buffer)
        except ssl.SSLEOFError:
            self.ragged = True
            return 0


class _Wrapped(io.RawIOBase):
    """A reader that gets its bytes from another reader, `source`."""

    def __init__(self, source: Any) -> None:
        super().__init__()
        self._source = source

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._source.close()
        super().close()


class _ToTheEnd(_Wrapped):
    """Reads a body without a length from a TLS connection.

    Raises CutShortError if the connection ends without close_notify, because the body may then be incomplete.
    """

    def __init__(self, source: Any, tls: _TlsSource) -> None:
        super().__init__(source)
        self._tls = tls

    def readinto(self, buffer: Any) -> int:
        count: int = self._source.readinto1(buffer)
        if not count and self._tls.ragged:
            raise CutShortError(TLS_NOT_CLOSED)
        return count


class _Chunked(_Wrapped):
    """Reads the content of a chunked body (RFC 9112, 7.1).

    Raises CutShortError if the last chunk is missing.
    """

    def __init__(self, source: Any) -> None:
        super().__init__(source)
        self._left = 0
        self._received = 0
        self._first = True
        self._over = False

    def readinto(self, buffer: Any) -> int:
        if not self._left and not self._over:
            self._left = self._next_size()
            if not self._left:
                self._skip_trailer()
                self._over = True
        if self._over:
            return 0
        with memoryview(buffer) as view:
            count: int = self._source.readinto1(view[:min(len(view), self._left)])
        if not count:
            raise self._cut()
        self._left -= count
        self._received += count
        return count

    def _next_size(self) -> int:
        if not self._first and self._line() not in (b"\r\n", b"\n"):
            raise CutShortError("the chunked body is invalid: no line break after a chunk")
        self._first = False
        return size_of(self._line()[:-1])

    def _skip_trailer(self) -> None:
        """Skip the trailer and the empty line that ends it. As in browsers, the empty line is required."""
        for _ in range(MAX_LINES):
            if self._line() in (b"\r\n", b"\n"):
                return
        raise CutShortError("the chunked body is invalid: too many trailer lines")

    def _line(self) -> bytes:
        line: bytes = self._source.readline(MAX_LINE_BYTES + 1)
        if len(line) > MAX_LINE_BYTES:
            raise CutShortError("the chunked body is invalid: a chunk has no valid size")
        if not line.endswith(b"\n"):
            raise self._cut()
        return line

    def _cut(self) -> CutShortError:
        return CutShortError(f"{cut_short(self._received, None)}: the last chunk is missing")
