"""Decodes the content codings of archived bodies."""

from __future__ import annotations

from pipeline.content_coding import CutShortError, DecodingError, OversizeError, codings_of, decode
from pipeline.model import HeaderLines

MAX_BYTES = 64 * 1024 * 1024


def decoded(headers: HeaderLines, body: bytes, max_bytes: int = MAX_BYTES) -> bytes | None:
    """Return the body without its Content-Encoding; None if it cannot be decoded, or has more than max_bytes then."""
    try:
        codings = codings_of(value.decode("latin-1") for name, value in headers if name.lower() == b"content-encoding")
        return decode(body, codings, max_bytes) if codings else body
    except (CutShortError, DecodingError, OversizeError):
        return None
