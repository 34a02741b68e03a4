"""Exceptions for invalid or incomplete responses. Each message is readable without the class name."""

from __future__ import annotations

import http.client

from pipeline.text import clean_line

TLS_NOT_CLOSED = "the body may be incomplete: it has no Content-Length, and the TLS connection ended without close_notify"


class HeadError(http.client.HTTPException):
    """The status line or the headers of a response are invalid, or larger than browsers accept."""


class NotHttpError(HeadError):
    """The response is not HTTP. data: the first bytes of the response."""

    def __init__(self, data: bytes) -> None:
        super().__init__(f"the server did not respond with HTTP but with {shown_bytes(data)}")


def may_be_http(beginning: bytes) -> bool:
    """Return whether the first bytes received from a server may be the beginning of an HTTP response.

    The bytes may end inside the word "HTTP". Some servers send a few stray bytes before "HTTP".
    """
    return b"HTTP" in beginning[:8].upper() or (len(beginning) < 4 and b"HTTP".startswith(beginning.upper()))


def shown_bytes(data: bytes) -> str:
    """Return the first line of a response that is not HTTP, in a readable form for messages."""
    if data[:2] in (b"\x15\x03", b"\x16\x03"):
        return "TLS"
    line = clean_line(data.lstrip(b"\r\n").partition(b"\n")[0].decode("latin-1"), 60)
    return f"“{line}”" if line else "bytes that are not text"


def cut_short(received: int, announced: int | None) -> str:
    """Return the message for an incomplete body, such as `the body was cut short: 51,200 of 102,400 bytes arrived`.

    announced: the Content-Length; None if unknown.
    """
    if announced is None:
        return f"the body was cut short after {received:,} bytes"
    return f"the body was cut short: {received:,} of {announced:,} bytes arrived"
