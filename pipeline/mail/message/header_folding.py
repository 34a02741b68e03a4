"""Fold address headers and headers with parameters, which Python's email package folds incorrectly.

In Python 3.11 to 3.13, the email package loses the quotes of a long display name with commas (python/cpython#80222, #100884),
encodes the comma between two addresses (#121284, CVE-2025-1795), and inserts encoded words into a long media type.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from email.header import Header
from email.headerregistry import Address
from urllib.parse import quote

_LINE = 78  # RFC 5322, 2.1.1
_PHRASE = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")  # a display name that needs no quotes (RFC 5322, 3.2.3)
_TOKEN = re.compile(r"[A-Za-z0-9.+_-]+")  # a parameter value that needs no quotes
_ATTRIBUTE = "!#$&+-.^_`|~"  # besides letters and digits, these characters are not encoded (RFC 2231, 7)
_PIECE = 60


def address_header(name: str, addresses: Iterable[Address], *, linesep: str, utf8: bool = False) -> str:
    """Return an address header, such as To, folded into lines (RFC 5322, 3.4).

    name: name of the header. linesep: line end to use. utf8: whether non-ASCII display names are left unencoded (RFC 6532).
    """
    words: list[str] = []
    for address in addresses:
        if words:
            words[-1] += ","
        words += _mailbox(address, utf8=utf8)
    return _folded(f"{name}:", words, linesep)


def _mailbox(address: Address, *, utf8: bool) -> Iterator[str]:
    """Yield a mailbox (display name and address) as words between which the header line may be folded."""
    shown = address.display_name
    if not shown:
        yield address.addr_spec
        return
    if (not utf8 and not shown.isascii()) or "=?" in shown:
        yield from Header(shown, "utf-8", maxlinelen=_LINE - 4).encode(linesep="\n").split()
    elif _PHRASE.fullmatch(shown):
        yield from shown.split(" ")
    else:  # a quoted string remains one word, because not every mail client can unfold a quoted string
        yield _quoted(shown)
    yield f"<{address.addr_spec}>"


def parameter_header(name: str, value: str, parameters: Mapping[str, str], *, linesep: str) -> str:
    """Return a header with parameters, such as Content-Type, folded into lines (RFC 2045, 5.1).

    Parameters with non-ASCII characters are encoded according to RFC 2231.
    """
    words = [value]
    for key, text in parameters.items():
        for word in _parameter(key, text):
            words[-1] += ";"
            words.append(word)
    return _folded(f"{name}:", words, linesep)


def _parameter(key: str, text: str) -> Iterator[str]:
    if _TOKEN.fullmatch(text):
        yield f"{key}={text}"
    elif text.isascii() and text.isprintable():
        yield f"{key}={_quoted(text)}"
    else:
        pieces = [""]
        for character in text:  # a piece has whole characters only, because some parsers decode each piece on its own
            encoded = quote(character, safe=_ATTRIBUTE, errors="replace")
            if len(pieces[-1]) + len(encoded) > _PIECE:
                pieces.append("")
            pieces[-1] += encoded
        if len(pieces) == 1:
            yield f"{key}*=utf-8''{pieces[0]}"
        else:
            yield f"{key}*0*=utf-8''{pieces[0]}"
            for number, piece in enumerate(pieces[1:], 1):
                yield f"{key}*{number}*={piece}"


def _quoted(text: str) -> str:
    escaped = re.sub(r'(["\\])', r"\\\1", text)
    return f'"{escaped}"'


def _folded(start: str, words: list[str], linesep: str) -> str:
    """Return a header folded into lines of at most 78 characters; a longer word gets a line of its own.

    start: beginning of the header, such as "To:". The first word always follows `start` on the same line.
    """
    lines = [f"{start} {words[0]}" if words else start]
    for word in words[1:]:
        if len(lines[-1]) + 1 + len(word) <= _LINE:
            lines[-1] += f" {word}"
        else:
            lines.append(f" {word}")
    return linesep.join(lines) + linesep
