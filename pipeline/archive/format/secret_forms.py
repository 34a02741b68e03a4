"""Finds known secrets in archived bytes, in each form in which sites write text: percent-encoded, escaped, in base64.

An unescaped letter or digit of ASCII is the same in all of these forms but base64. So data is first searched for the longest run of such
characters of a secret, which is fast, and for the secret in all its forms only where this run is found. Both take linear time.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from html.entities import html5
from itertools import groupby

_ENCODINGS = ("utf-8", *(f"cp125{number}" for number in range(9)), "iso8859-2", "iso8859-5", "iso8859-15", "koi8-r", "gb18030", "big5", "cp932", "euc_jp", "cp949")
"""The encodings in which characters outside ASCII are searched for. In all of them, ASCII is ASCII."""
_RUN = re.compile(r"[A-Za-z0-9]+")
_SHORTEST_RUN = 3
"""Shorter runs are in nearly every page. A secret without a longer one, such as one in Chinese, is searched for in all its forms at once."""
_SHORTEST_BASE64 = 8
_MOST = b"{0,8}"
"""How many backslashes may precede a character, and how often an escape may be escaped again. The bound keeps the search linear."""


@dataclass(frozen=True)
class _Form:
    """run: what all matches of the pattern contain; b"" if there is no such run."""

    run: bytes
    pattern: re.Pattern[bytes]

    def is_in(self, data: bytes) -> bool:
        return self.run in data and self.pattern.search(data) is not None


class SecretForms:
    """Secrets in all forms in which they are searched for, the longest secret first: a shorter one may be a part of it."""

    def __init__(self, secrets: Iterable[str], *, shortest: int) -> None:
        """shortest: a secret that has fewer bytes in UTF-8 is not searched for."""
        found = {secret for secret in secrets if secret and len(_bytes(secret)) >= shortest}
        self._forms = [form for secret in sorted(found, key=lambda secret: (-len(secret), secret)) for form in _forms(secret)]

    def __bool__(self) -> bool:
        return bool(self._forms)

    def are_in(self, data: bytes) -> bool:
        """Return whether any secret is in the data."""
        return any(form.is_in(data) for form in self._forms)

    def removed(self, data: bytes, mask: bytes) -> bytes:
        """Return the data with `mask` in place of each secret."""
        for form in self._forms:
            if form.run in data:
                data = form.pattern.sub(mask, data)
        return data


def _forms(secret: str) -> Iterator[_Form]:
    yield _Form(_longest_run(secret), re.compile(_text(secret)))
    for shift in range(3):
        inner, has_more = _in_base64(_bytes(secret), shift)
        if len(inner) >= _SHORTEST_BASE64:
            before = rb"[A-Za-z0-9+/_-]?" if shift else b""  # has bits of the secret, too, and bits of what precedes it
            after = rb"[A-Za-z0-9+/_-]?" if has_more else b""
            yield _Form(_longest_run(inner), re.compile(before + b"".join(map(_base64_character, inner)) + after))


def _in_base64(secret: bytes, shift: int) -> tuple[str, bool]:
    """Return the characters of base64 that depend on the secret alone, if `shift` bytes precede it, or 3 bytes more, or any multiple.

    Also return whether the last bits of the secret are in one character more.
    """
    first, end = -(-8 * shift // 6), 8 * (shift + len(secret)) // 6
    return b64encode(bytes(shift) + secret).decode("ascii")[first:end], 8 * (shift + len(secret)) % 6 > 0


def _longest_run(text: str) -> bytes:
    run = max(_RUN.findall(text), key=len, default="")
    return run.encode() if len(run) >= _SHORTEST_RUN else b""


def _text(text: str) -> bytes:
    """Return a pattern for a text in which each character may be in another form."""
    return b"".join(_backslashes(len(list(same))) if character == "\\" else _character(character) * len(list(same)) for character, same in groupby(text))


def _base64_character(character: str) -> bytes:
    """Return a pattern for a character in the usual alphabet or in that for URLs (RFC 4648, 5)."""
    other = {"+": b"|-", "/": b"|_"}.get(character, b"")
    return b"(?:%s%s)" % (_character(character), other) if other else _character(character)


@cache
def _character(character: str) -> bytes:
    """Return a pattern for a character in each of its forms."""
    if character.isascii() and character.isalnum():
        return character.encode()
    raw = sorted({_encoded(character, encoding) for encoding in _ENCODINGS} - {b""}, reverse=True)
    point, units = ord(character), character.encode("utf-16-be", "surrogatepass")
    code_units = [units[at:at + 2].hex() for at in range(0, len(units), 2)]
    forms = [rb"\\%s%s" % (_MOST, re.escape(each)) if character.isascii() else re.escape(each) for each in raw]
    forms += [b"".join(_percent(_hex(f"{byte:02x}")) for byte in each) for each in raw]
    forms.append(b"".join(_percent(rb"[uU]" + _hex(unit)) for unit in code_units))
    forms.append(b"".join(rb"\\{1,8}u" + _hex(unit) for unit in code_units))  # JSON and JavaScript
    forms.append(rb"\\{1,8}u\{0{0,4}%s\}" % _hex(f"{point:x}"))
    if point < 256:
        forms.append(rb"\\{1,8}x" + _hex(f"{point:02x}"))
    forms += {" ": [rb"\+"], "\n": [rb"\\{1,8}n", rb"\r\n"], "\r": [rb"\\{1,8}r"], "\t": [rb"\\{1,8}t"]}.get(character, [])
    forms.append(_entity(character))
    return b"(?:%s)" % b"|".join(forms)


def _percent(form: bytes) -> bytes:
    """Return a pattern for a percent-encoded byte, also in a URL that is a parameter of another URL, where % is %25."""
    return b"%%(?:25)%s%s" % (_MOST, form)


def _entity(character: str) -> bytes:
    """Return a pattern for a character reference of HTML: decimal, hexadecimal or with a name. An & may be escaped again."""
    point = ord(character)
    forms = [b"#0{0,6}%d;?" % point, rb"#[xX]0{0,6}%s;?" % _hex(f"{point:x}"), *(re.escape(name.encode()) for name in _entity_names().get(character, ()))]
    if character == "&":
        return b"&(?:%s)%s" % (b"|".join(forms), _MOST)
    return b"&(?:amp;|#38;|#x26;)%s(?:%s)" % (_MOST, b"|".join(forms))


@cache
def _entity_names() -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for name, character in html5.items():
        if name.endswith(";"):
            names.setdefault(character, []).append(name)
    return names


def _backslashes(number: int) -> bytes:
    """Return a pattern for that many backslashes, of which each may be escaped. As one pattern: one for each of them would take exponential time."""
    return rb"(?:\\{%d,%d}|(?:%s){%d}|(?:%s){%d})" % (number, 4 * number, _percent(b"5[cC]"), number, _entity("\\"), number)


def _hex(digits: str) -> bytes:
    """Return a pattern for hexadecimal digits in upper and lower case."""
    return "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in digits).encode()


def _encoded(character: str, encoding: str) -> bytes:
    try:
        return character.encode(encoding)
    except UnicodeEncodeError:
        return _bytes(character) if encoding == "utf-8" else b""


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
