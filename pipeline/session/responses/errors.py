"""Why an answer cannot be used. Their text is for people, and complete without the exception's name."""

from __future__ import annotations

import http.client

TLS_NOT_CLOSED = "body cut short: its length is not announced, and the TLS connection ended without close_notify"


class HeadError(http.client.HTTPException):
    """The head of an answer makes no sense, or is larger than what browsers read."""


class CutShortError(OSError):
    """The connection ended before the answer was whole; another attempt may get all of it."""


class DecodingError(ValueError):
    """The body is not in the content coding that its head names."""


class OversizeError(ValueError):
    """The decoded body is larger than the caller allows."""


def cut_short(received: int, announced: int | None) -> str:
    """What is said of a body with a length: `body cut short: 51,200 of 102,400 bytes`."""
    if announced is None:
        return f"body cut short after {received:,} bytes"
    return f"body cut short: {received:,} of {announced:,} bytes"
