"""Masks the values of named parameters in URLs: in headers, and in the links of a body, too."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus, unquote_to_bytes

_PARAMETER = re.compile(rb"([?&;#])([^=&;#?\s\"'<>]+)=([^&;#\s\"'<>]*)")
_AGAIN = rb"(?:25){0,8}"
"""What follows the % of an escape in a URL that is a parameter of another URL, where % is %25. The bound keeps the search linear."""


class UrlParameters:
    """Parameters of URLs whose values are masked. names: not case-sensitive. mask: what the values are replaced by."""

    def __init__(self, names: Iterable[str], mask: bytes) -> None:
        self._names = frozenset(name.casefold().encode() for name in names)
        self._mask = mask
        self._written = sorted({form.lower() for name in self._names for form in (name, quote_plus(name).encode(), quote(name).encode())})
        self._links = re.compile(_links(self._written), re.IGNORECASE)

    def __bool__(self) -> bool:
        return bool(self._names)

    @property
    def names(self) -> list[str]:
        return sorted(name.decode() for name in self._names)

    def has(self, name: bytes) -> bool:
        """Return whether a name, as it is in UTF-8 and not escaped, is one of these."""
        return name.decode("utf-8", "replace").casefold().encode() in self._names

    def masked_in_url(self, text: bytes) -> bytes:
        """Return a URL, or a header with one, without the values. The name may be percent-encoded, and the URL may be in another one."""
        if not self._names or (b"=" not in text and b"%" not in text):
            return text
        return self.masked_in_links(_PARAMETER.sub(self._parameter, text))

    def masked_in_links(self, text: bytes) -> bytes:
        """Return HTML, JSON or a script without the values in its URLs, in which & and = may be escaped."""
        lowered = text.lower()
        return self._links.sub(self._link, text) if any(form in lowered for form in self._written) else text

    def _parameter(self, found: re.Match[bytes]) -> bytes:
        is_secret = found[3] and self.has(unquote_to_bytes(found[2].replace(b"+", b" ")))
        return found[1] + found[2] + b"=" + self._mask if is_secret else found[0]

    def _link(self, found: re.Match[bytes]) -> bytes:
        return (found[1] or found[2]) + self._mask


def _links(names: Iterable[bytes]) -> bytes:
    """Return a pattern for parameters in links. Its first or its second group is what precedes the value."""
    named = b"(?:%s)" % b"|".join(map(re.escape, names))
    plain = rb"((?:[?&;#]|\\u00(?:26|3f|23)|\\x(?:26|3f|23))%s(?:=|\\u003d|\\x3d|&#61;|&#x3d;))(?:\\/|[^&;#\s\"'<>\\])+" % named
    # Of a value in a URL in another one, the end is the next separator that is escaped as often as the one before the name.
    inner = rb"(%%(?P<level>%s)(?:3f|26|23|3b)%s%%(?P=level)3d)(?:(?!%%(?P=level)(?:26|23|3b))[^&;#\s\"'<>\\])+" % (_AGAIN, named)
    return plain + b"|" + inner
