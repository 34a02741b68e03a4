"""Turns a body in UTF-16 or UTF-32 into UTF-8, so that it can be searched, and back again.

No byte changes but those of what is replaced.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

_SAMPLE_BYTES = 4096
_MOSTLY = 0.4
"""The share of NUL among the higher bytes from which a text without a byte order mark is taken for UTF-16: tags and JSON are ASCII in any language."""
_RARELY = 0.05
_MARKS = ((b"\xff\xfe\0\0", "utf-32-le"), (b"\0\0\xfe\xff", "utf-32-be"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
"""Byte order marks. That of UTF-32 comes first, because it begins with that of UTF-16."""
_NAMED = re.compile(rb"charset\s{0,9}=\s{0,9}[\"']?(utf-?16|utf-?32|ucs-?2|iso-10646-ucs-2)", re.IGNORECASE)


@dataclass(frozen=True)
class WideText:
    """A body as UTF-8. encoding: of the body; "" if it is not UTF-16 or UTF-32. rest: bytes at its end that are no whole character."""

    utf8: bytes
    encoding: str = ""
    rest: bytes = b""

    def changed(self, change: Callable[[bytes], bytes]) -> bytes:
        """Return the body in its own encoding after a change of its UTF-8."""
        after = change(self.utf8)
        return after.decode("utf-8", "surrogatepass").encode(self.encoding, "surrogatepass") + self.rest if self.encoding else after


def wide_text(body: bytes, content_type: bytes = b"") -> WideText:
    """Return a body as UTF-8 if it is UTF-16 or UTF-32: by its byte order mark, the charset of its media type, or where it has NUL."""
    encoding = _encoding(body, content_type)
    whole = len(body) - len(body) % (4 if "32" in encoding else 2)
    try:
        return WideText(body[:whole].decode(encoding, "surrogatepass").encode("utf-8", "surrogatepass"), encoding, body[whole:]) if encoding else WideText(body)
    except UnicodeDecodeError:  # it only looks like such a text
        return WideText(body)


def _encoding(body: bytes, content_type: bytes) -> str:
    for mark, encoding in _MARKS:
        if body.startswith(mark):
            return encoding
    sample = body[:_SAMPLE_BYTES]
    if b"\0" in sample:
        first, second, third, fourth = (_share_of_nul(sample[place::4]) for place in range(4))
        if min(second, third, fourth) > _MOSTLY and first < _RARELY:
            return "utf-32-le"
        if min(first, second, third) > _MOSTLY and fourth < _RARELY:
            return "utf-32-be"
        if max(first, third) < _RARELY and min(second, fourth) > _MOSTLY:
            return "utf-16-le"
        if max(second, fourth) < _RARELY and min(first, third) > _MOSTLY:
            return "utf-16-be"
    named = _NAMED.search(content_type)
    if named is None or b"\0" not in body:  # without any ASCII character, it is none of these, whatever the header says
        return ""
    if b"32" in named[1]:
        return "utf-32-be" if sample.startswith(b"\0") else "utf-32-le"
    return "utf-16-be" if sample[::2].count(0) > sample[1::2].count(0) else "utf-16-le"


def _share_of_nul(data: bytes) -> float:
    return data.count(0) / len(data) if data else 0.0
