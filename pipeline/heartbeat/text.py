"""Text on its way to a terminal: control characters shown, instants stamped."""

from __future__ import annotations

import re
from datetime import datetime, tzinfo

_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")

LONGEST_QUOTE = 500
"""Characters of somebody else's text that are quoted."""


def visible(text: str) -> str:
    """`text` with control characters but the tab written as escapes, \\x1b for ESC: Unicode Cc, line separators, and
    the marks that turn the order of what follows, which would make our own words read otherwise (UAX #9)."""
    return _CONTROL.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def quoted(text: str) -> str:
    """Text of somebody else, short and on one line."""
    text = visible(" ".join(text.split()))
    return text if len(text) <= LONGEST_QUOTE else text[:LONGEST_QUOTE - 1] + "…"


def decoded(line: bytes) -> str:
    """UTF-8 as text; bytes that are none come out as escapes, \\xff."""
    return line.decode("utf-8", "backslashreplace")


def stamp(now: datetime, zone: tzinfo) -> str:
    """`2026-11-22 23:16:41`, the date and time in `zone`."""
    return f"{now.astimezone(zone):%Y-%m-%d %H:%M:%S}"


def iso(moment: datetime, zone: tzinfo | None) -> str:
    """`2026-11-22T23:16:41+08:00`, in `zone`; None: in its own."""
    return moment.astimezone(zone).isoformat(timespec="seconds") if zone else moment.isoformat(timespec="seconds")
