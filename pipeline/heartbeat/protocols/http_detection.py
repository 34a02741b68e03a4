"""Distinguishes HTTP requests from text lines by a connection's first bytes (RFC 9112, 2.2 and 3)."""

from __future__ import annotations

import re
from enum import Enum, auto

_REQUEST_LINE = re.compile(rb"[A-Z]+ \S+ HTTP/\d+(?:\.\d+)?")
_MOST_BLANKS = 64
"""Maximum number of bytes in blank lines before a request line."""
_METHODS = (b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"TRACE ", b"CONNECT ")
_UNFINISHED = re.compile(rb"[A-Z]+ \S*(?: (?:H(?:T(?:T(?:P(?:/[\d.]*)?)?)?)?)?)?\r?")
_LONGEST_HEAD = 16 * 1024
_LINE_END = re.compile(rb"\r?\n")
_HAS_BODY = re.compile(rb"\n(?:content-length|transfer-encoding):", re.IGNORECASE)
_HEAD_END = re.compile(rb"\n\r?\n")


class FirstBytes(Enum):
    """The protocol of a connection, according to its first bytes."""

    HTTP = auto()
    LINES = auto()
    UNDECIDED = auto()  # only blank lines, or the beginning of a possible request line: more data is needed


def is_request_line(line: bytes | bytearray) -> bool:
    """Return whether a line is an HTTP request line.

    line: the line, with or without its carriage return.
    """
    return _REQUEST_LINE.fullmatch(line.removesuffix(b"\r")) is not None


def classify(data: bytes | bytearray) -> FirstBytes:
    """Return the protocol of a connection whose first bytes are `data`.

    Blank lines before a request line are skipped.
    """
    line, newline, _ = (rest := data.lstrip(b"\r\n")).partition(b"\n")
    if len(data) - len(rest) > _MOST_BLANKS:
        return FirstBytes.LINES
    if newline:
        return FirstBytes.HTTP if is_request_line(line) else FirstBytes.LINES
    if line.startswith(_METHODS):
        unfinished = _UNFINISHED.fullmatch(line) is not None
    else:  # the beginning of a method, or nothing yet
        unfinished = any(method.startswith(line) for method in _METHODS)
    return FirstBytes.UNDECIDED if unfinished else FirstBytes.LINES


class LineFeedNormalizer:
    """Changes the bare LF line endings of an HTTP request's head to CRLF, which aiohttp's parser requires.

    The server uses this class only if the request line ends in a bare LF, and only for one request per connection. A
    proxy in front of the server ends lines in CRLF, so this class is never used behind a proxy. A proxy and this server
    can therefore not disagree on where a request ends.
    """

    def __init__(self) -> None:
        self._head = bytearray()
        self._whole = False
        self._has_body = False

    @staticmethod
    def is_needed(data: bytes) -> bool:
        line, newline, _ = data.partition(b"\n")
        return bool(newline) and not line.endswith(b"\r")

    def feed(self, data: bytes) -> bytes:
        """Return the data to parse: b"" until the head is complete, then the head, then any request body."""
        if self._whole:
            return data if self._has_body else b""
        self._head += data
        end = _HEAD_END.search(self._head)
        if end is None and len(self._head) <= _LONGEST_HEAD:
            return b""
        self._whole = True
        at = end.end() if end is not None else len(self._head)
        head, rest = bytes(self._head[:at]), bytes(self._head[at:])
        self._has_body = _HAS_BODY.search(head) is not None
        return _LINE_END.sub(b"\r\n", head) + (rest if self._has_body else b"")
