"""Finds known secrets in texts in all usual forms: percent-encoded, escaped, in base64.

An unescaped letter or digit of ASCII is the same in all of these forms but base64. So data is first searched for the longest run of such
characters of a secret, which is fast, and for the secret in all its forms only where this run is found. Both take linear time.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from html.entities import html5
from itertools import groupby

_ENCODINGS = ("utf-8", *(f"cp125{number}" for number in range(9)), "iso8859-2", "iso8859-5", "iso8859-15", "koi8-r", "gb18030", "big5", "cp932", "euc_jp", "cp949")
"""The encodings in which characters outside ASCII are searched for. In all of them, ASCII is ASCII."""
_RUN = re.compile(r"[A-Za-z0-9]+")
_SHORTEST_RUN = 3
"""Shorter runs are in nearly every page. A secret without a longer one, such as one in Chinese, is searched for in all its forms at once."""
_SHORTEST_BASE64 = 8
_MOST = b"{0,8}"
"""How often an escape may be escaped again. The bound keeps the search linear."""


@dataclass
class _Form:
    """run: what all matches of the pattern contain; b"" if there is no such run."""

    run: bytes
    source: bytes

    @cached_property
    def pattern(self) -> re.Pattern[bytes]:
        """Compiled when it is needed: most processes never meet a secret, and this takes milliseconds."""
        return re.compile(self.source)

    def is_in(self, data: bytes) -> bool:
        return self.run in data and self.pattern.search(data) is not None


class SecretForms:
    """Secrets in all forms in which they are searched for, the longest secret first: a shorter one may be a part of it."""

    def __init__(self, secrets: Iterable[str], *, shortest: int, credentials: Iterable[str] = ()) -> None:
        """shortest: a secret that has fewer bytes in UTF-8 is not searched for. credentials: texts that are searched for in base64 only.

        Credentials such as user:password are found even if the password alone is too short to be recognised in base64.
        """
        found = {secret for secret in secrets if secret and len(_bytes(secret)) >= shortest}
        self._forms = [form for credential in sorted(set(credentials)) for form in _base64_forms(credential)]
        for secret in sorted(found, key=lambda secret: (-len(secret), secret)):
            self._forms += [_Form(_longest_run(secret), _text(secret)), *_base64_forms(secret)]

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

    def removed_from_text(self, text: str, mask: str) -> str:
        """Return the text with `mask` in place of each secret."""
        data = _bytes(text)
        without = self.removed(data, mask.encode())
        if without == data:
            return text
        try:
            return without.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:  # a byte of another character was taken for the end of a secret in another encoding
            return without.decode("utf-8", "replace")


def _base64_forms(secret: str) -> Iterator[_Form]:
    for data in sorted({_bytes(secret), _encoded(secret, "cp1252")} - {b""}):  # some clients encode credentials in latin-1 (RFC 7617, appendix A)
        for shift in range(3):
            inner, has_more = _in_base64(data, shift)
            if len(inner) >= _SHORTEST_BASE64:
                before = rb"[A-Za-z0-9+/_-]?" if shift else b""  # has bits of the secret, too, and bits of what precedes it
                after = rb"[A-Za-z0-9+/_-]?" if has_more else b""
                yield _Form(_longest_run(inner), before + b"".join(map(_base64_character, inner)) + after)


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
    found = b""
    for character, same in groupby(text):
        number = len(list(same))
        if character == "\\":
            found += _backslashes(number)
        elif found:
            found += _character(character) * number
        else:
            found = _first_character(character) + _character(character) * (number - 1)
    return found


def _base64_character(character: str) -> bytes:
    """Return a pattern for a character in the usual alphabet or in that for URLs (RFC 4648, 5)."""
    other = {"+": b"|-", "/": b"|_"}.get(character, b"")
    return b"(?:%s%s)" % (_character(character), other) if other else _character(character)


@cache
def _character(character: str) -> bytes:
    """Return a pattern for a character in each of its forms."""
    if character.isascii() and character.isalnum():
        return character.encode()
    forms, escaped = _written(character)
    return b"(?:%s|(?:%s){1,8}(?:%s))" % (b"|".join(forms), b"|".join(_backslash()), b"|".join(escaped + forms))


@cache
def _first_character(character: str) -> bytes:
    """Return the same pattern, but each alternative begins with a literal. `re` then skips fast what cannot begin a match."""
    if character.isascii() and character.isalnum():
        return character.encode()
    forms, escaped = _written(character)
    rest = b"(?:%s){0,7}(?:%s)" % (b"|".join(_backslash()), b"|".join(escaped + forms))
    return b"(?:%s)" % b"|".join(forms + [backslash + rest for backslash in _backslash()])


@cache
def _written(character: str) -> tuple[list[bytes], list[bytes]]:
    """Return patterns for the forms of a character, and for what follows the backslash in those of JSON, JavaScript and Python."""
    raw = sorted({_encoded(character, encoding) for encoding in _ENCODINGS} - {b""}, reverse=True)
    point, units = ord(character), character.encode("utf-16-be", "surrogatepass")
    code_units = [units[at:at + 2].hex() for at in range(0, len(units), 2)]
    forms = [re.escape(each) for each in raw]
    forms += [b"".join(_percent(_hex(f"{byte:02x}")) for byte in each) for each in raw]
    forms.append(b"".join(_percent(rb"[uU]" + _hex(unit)) for unit in code_units))
    forms += {" ": [rb"\+"], "\n": [rb"\r\n"]}.get(character, [])
    forms.append(_entity(character))
    again = b"(?:%s){1,8}" % b"|".join(_backslash())  # before the second part of a form
    escaped = [again.join(b"u" + _hex(unit) for unit in code_units), rb"u\{0{0,4}%s\}" % _hex(f"{point:x}")]
    if point < 256:
        escaped.append(b"x" + _hex(f"{point:02x}"))
    escaped += {"\n": [b"n"], "\r": [b"r"], "\t": [b"t"]}.get(character, [])
    if not character.isascii():
        bytes_of = [each for each in (_bytes(character), _encoded(character, "cp1252")) if each]
        escaped += [again.join(b"x" + _hex(f"{byte:02x}") for byte in each) for each in bytes_of]  # repr() of bytes
        misread = {_bytes(character).decode(encoding, "replace") for encoding in ("latin-1", "cp1252")}  # UTF-8 that was read as another encoding
        misread |= {each.decode("ascii", "surrogateescape") for each in bytes_of}  # as Python reads what is not UTF-8
        for text in sorted(misread):
            forms.append(re.escape(_bytes(text)))
            escaped.append(again.join(b"u" + _hex(f"{ord(each):04x}") for each in text))
    return forms, escaped


@cache
def _backslash() -> tuple[bytes, ...]:
    """Return patterns for the forms of a backslash: JSON may be in a URL or in HTML. Each begins with a literal."""
    return (rb"\\", _percent(b"5[cC]"), _entity("\\"))


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
    least, most = number, 4 * number
    return b"(?:%s)" % b"|".join(b"(?:%s){%d,%d}" % (each, least, most) for each in _backslash())


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
