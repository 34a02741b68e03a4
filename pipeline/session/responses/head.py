"""Parses status line, headers and framing of an HTTP/1 response as browsers do (RFC 9112).

Where RFC 9112 leaves a choice, this module follows Chromium: a line without a colon or with an invalid name is skipped, spaces
around names are removed, folded lines are joined, repeated equal Content-Length values count once, and a Content-Length that is
not a number is ignored. HeadError is raised for conflicting Content-Length values, a NUL byte, and a response that is not HTTP.
Page requests and downloads both use this module, so that both treat a response alike.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.session.responses.errors import HeadError, NotHttpError

MAX_HEAD_BYTES = 256 * 1024
MAX_LINE_BYTES = 64 * 1024
MAX_LINES = 1000

_END = re.compile(rb"\n\r?\n")
_STATUS_LINE = re.compile(rb".{0,4}?HTTP/(\d+)(?:\.(\d+))?[ \t]+(\d{3})(?!\d)[ \t]*(.*)", re.IGNORECASE | re.DOTALL)
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_PLAIN = re.compile(rb"HTTP/1\.[01] [2-5]\d\d(?: [^\r\n\0]*)?\r\n(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[^\r\n\0]*\r\n)*\r\n")
_FRAMING = re.compile(rb"\n(?:content-length:[ \t]*(\d{1,18})[ \t]*\r|transfer-encoding:[ \t]*(chunked)[ \t]*\r|"
                      rb"(?:content-length|transfer-encoding):)", re.IGNORECASE)
_WHOLE_RANGE = re.compile(r"\s*bytes\s+0-(\d{1,19})/(\d{1,19})\s*", re.IGNORECASE)
_TRANSFER_CODINGS = frozenset({b"gzip", b"x-gzip", b"deflate", b"br", b"zstd", b"compress", b"x-compress"})


@dataclass(frozen=True)
class Head:
    """The status line and headers of a response. version: 10 for HTTP/1.0, 11 for HTTP/1.1.

    fields: the headers, except Content-Length and Transfer-Encoding; chunked: whether the body is chunked; length: the
    Content-Length in bytes, or None if the end of the connection ends the body. Another transfer coding, such as gzip, is added
    to Content-Encoding as the last coding applied.
    """

    version: int
    status: int
    reason: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    chunked: bool
    length: int | None

    @property
    def interim(self) -> bool:
        return 100 <= self.status < 200

    def framed_fields(self) -> tuple[tuple[bytes, bytes], ...]:
        """Return all headers, including Content-Length or Transfer-Encoding if the response has one of these."""
        if self.chunked:
            return (*self.fields, (b"Transfer-Encoding", b"chunked"))
        return self.fields if self.length is None else (*self.fields, (b"Content-Length", b"%d" % self.length))

    def canonical(self) -> bytes:
        """Return the status line and headers in a strict form that all parsers interpret in the same way."""
        lines = [b"HTTP/1.%d %03d %b" % (self.version - 10, self.status, self.reason)]
        lines += [name + b": " + value for name, value in self.framed_fields()]
        return b"\r\n".join(lines) + b"\r\n\r\n"


def end_of_head(data: bytes | bytearray, start: int = 0) -> int:
    """Return the index at which the body begins; -1 if the headers are incomplete.

    Raises HeadError if the headers are larger than MAX_HEAD_BYTES.
    """
    while start < len(data) and data[start] in b"\r\n":  # some servers send an empty line first
        start += 1
    found = _END.search(data, start)
    if (len(data) if found is None else found.end()) - start > MAX_HEAD_BYTES:
        raise HeadError(f"the response headers are larger than {MAX_HEAD_BYTES:,} bytes")
    return -1 if found is None else found.end()


@dataclass(frozen=True)
class PlainHead:
    """The framing of a response whose headers need no rewriting. end: the index at which the body begins."""

    end: int
    status: int
    chunked: bool
    length: int | None


def plain_head(data: bytes) -> PlainHead | None:
    """Return the framing of a response whose headers are complete and already in the strict form.

    Return None for any other response, and for interim responses (1xx).
    """
    found = _PLAIN.match(data)
    if found is None:
        return None
    end = found.end()
    framing = _FRAMING.findall(data, 0, end)
    if len(framing) > 1 or framing == [(b"", b"")] or end > MAX_LINE_BYTES or data.count(b"\n", 0, end) > MAX_LINES:
        return None
    length, chunked = framing[0] if framing else (b"", b"")
    if chunked and data[7:8] == b"0":
        return None
    return PlainHead(end, int(data[9:12]), bool(chunked), int(length) if length else None)


def parse_head(raw: bytes) -> Head:
    """Parse the status line and the headers of a response.

    raw: the bytes of the status line and the headers, including the empty line at the end.

    Raises HeadError if browsers reject the response.
    """
    if b"\0" in raw:
        raise HeadError("the response headers contain a NUL byte")
    lines = raw.lstrip(b"\r\n").split(b"\n")
    if len(lines) > MAX_LINES + 3:
        raise HeadError(f"the response has more than {MAX_LINES:,} header lines")
    if any(len(line) > MAX_LINE_BYTES for line in lines):
        raise HeadError(f"one of the response header lines is longer than {MAX_LINE_BYTES:,} bytes")
    # A CR inside a line is replaced by a space (RFC 9112, 2.2). If it counted as a line end, header injection would be possible.
    lines = [line.strip(b"\r").replace(b"\r", b" ") for line in lines]
    status_line = _STATUS_LINE.fullmatch(lines[0].rstrip())
    if status_line is None:
        raise NotHttpError(lines[0])
    major, minor, status = int(status_line[1]), int(status_line[2] or 0), int(status_line[3])
    if status < 100 or status == 101:
        raise HeadError(f"the server responded with status {status}, which is not valid for this request")
    fields = _fields(lines[1:])
    return _framed(11 if (major, minor) >= (1, 1) else 10, status, status_line[4].strip(), fields)


def _fields(lines: list[bytes]) -> list[tuple[bytes, bytes]]:
    fields: list[tuple[bytes, bytes]] = []
    skipped = True  # whether the previous line was skipped; if so, its continuation lines are skipped too
    for line in lines:
        if line[:1] in (b" ", b"\t"):
            if not skipped and line.strip():
                name, value = fields[-1]
                fields[-1] = (name, (value + b" " + line.strip(b" \t")).strip())
            continue
        raw_name, colon, value = line.partition(b":")
        name = raw_name.rstrip(b" \t")
        skipped = not colon or _NAME.fullmatch(name) is None
        if not skipped:
            fields.append((name, value.strip(b" \t")))
    return fields


def _framed(version: int, status: int, reason: bytes, fields: list[tuple[bytes, bytes]]) -> Head:
    rest: list[tuple[bytes, bytes]] = []
    lengths: list[bytes] = []
    codings: list[bytes] = []
    for name, value in fields:
        kind = name.lower()
        if kind == b"content-length":
            lengths += [each.strip(b" \t") for each in value.split(b",")]
        elif kind == b"transfer-encoding":
            codings += [each.partition(b";")[0].strip(b" \t").lower() for each in value.split(b",")]
        else:
            rest.append((name, value))
    chunked = b"chunked" in codings
    applied = [each for each in codings if each in _TRANSFER_CODINGS]
    if applied:
        rest.append((b"Content-Encoding", b", ".join(applied)))
    return Head(version, status, reason, tuple(rest), chunked, None if chunked else _length(lengths))


def _length(values: list[bytes]) -> int | None:
    """Return the Content-Length; None if the header is missing or not a number.

    See RFC 9110, 8.6, and "extract a length" in the Fetch Standard. Raises HeadError for conflicting values.
    """
    if any(value != values[0] for value in values):
        shown = " and ".join(dict.fromkeys(value.decode("ascii", "replace")[:20] or "nothing" for value in values))
        raise HeadError(f"the response has conflicting Content-Length values: {shown}")
    return int(values[0]) if values and re.fullmatch(rb"\d{1,18}", values[0]) else None


def is_redirect(status: int, *, location: bool) -> bool:
    """Return whether a response is a redirect. Browsers follow a redirect even if its body is incomplete."""
    return location and status in (301, 302, 303, 307, 308)


def missing_range(status: int, content_range: str) -> str:
    """Return the error message for a partial response (206) to a request without a Range header.

    Return "" for another status, and if the response contains the whole content (RFC 9110, 15.3.7).
    """
    if status != 206:
        return ""
    found = _WHOLE_RANGE.fullmatch(content_range)
    if found is not None and int(found[1]) + 1 == int(found[2]):
        return ""
    return "the body is incomplete: the server sent only a part (status 206), although the whole body was requested"
