"""Prepare the XML of feeds and sitemaps for the parser: detect the encoding, escape bare ampersands."""

from __future__ import annotations

import re
from typing import AnyStr

_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe\x00\x00", "utf-32"), (b"\x00\x00\xfe\xff", "utf-32"), (b"\xff\xfe", "utf-16"),
          (b"\xfe\xff", "utf-16"),
          (b"<\x00", "utf-16-le"), (b"\x00<", "utf-16-be"), (b"{\x00", "utf-16-le"), (b"\x00{", "utf-16-be"))
"""The byte order mark, or the first bytes of XML, in each encoding (XML 1.0, appendix F)."""
_AMPERSAND = r"<!\[CDATA\[.*?\]\]>|<!--.*?-->|&(?!#\d+;|#[xX][\da-fA-F]+;|[a-zA-Z][a-zA-Z\d.]*;)"
_BARE_AMPERSAND = re.compile(_AMPERSAND, re.DOTALL)
_BARE_AMPERSAND_BYTES = re.compile(_AMPERSAND.encode(), re.DOTALL)


def marked_encoding(body: bytes) -> str | None:
    """Return the encoding of XML or JSON that has a byte order mark or the zero bytes of UTF-16.

    Return None for other data.
    """
    return next((name for mark, name in _MARKS if body.startswith(mark)), None)


def with_bare_ampersands_escaped(xml: AnyStr) -> AnyStr:
    """Escape the bare ampersands in XML, as in "AT&T" and "?a=1&b=2", and return the result.

    CDATA sections and comments stay as they are.
    """
    if isinstance(xml, bytes):
        return _BARE_AMPERSAND_BYTES.sub(lambda match: b"&amp;" if match[0] == b"&" else match[0], xml)
    return _BARE_AMPERSAND.sub(lambda match: "&amp;" if match[0] == "&" else match[0], xml)
