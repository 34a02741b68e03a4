"""Text made fit to be shown."""

from __future__ import annotations

import re

# C0 and C1 controls but tab and newline, and the marks that reorder text (UAX #9).
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Text that cannot drive a terminal or forge a line: control and direction characters as JSON writes them."""
    return _CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def one_line(text: str) -> str:
    """The same on one line."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def counted(number: int, what: str) -> str:
    """ "1 spider", "2 spiders" """
    return f"{number} {what}" + ("" if number == 1 else "s")
