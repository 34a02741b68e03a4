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
from typing import NamedTuple

_ENCODINGS = ("utf-8", *(f"cp125{number}" for number in range(9)), "iso8859-2", "iso8859-5", "iso8859-15", "koi8-r", "gb18030", "big5", "cp932", "euc_jp", "cp949")
"""The encodings in which characters outside ASCII are searched for. In all of them, ASCII is ASCII."""
_RUN = re.compile(r"[A-Za-z0-9]+")
_SHORTEST_RUN = 3
"""Shorter runs are in nearly every page. A secret without a longer one, such as one in Chinese, is searched for in all its forms at once."""
_SHORTEST_BASE64 = 8
_WHITE_SPACE = "\n\r\t "
_PARTS = re.compile(r"[\n\r\t ]++(?!\\)|(?:[^\n\r\t ]|[\n\r\t ]++\\)+")
"""White space, and what is between it. Before a backslash, white space is not recognised in other numbers: \\n may be a line end or not."""
_MOST_INDENTED = 8
"""How many characters of white space may follow a line end of a secret."""
_MOST_BEFORE = 500
"""How many bytes the backslashes before a match may have."""
_MOST = b"{0,8}"
"""How often an escape may be escaped again. The bound keeps the search linear."""


@dataclass
class _Form:
    """run: what all matches of the pattern contain; b"" if there is no such run. is_escaped: whether backslashes before a match belong to it."""

    run: bytes
    source: bytes
    is_escaped: bool = False

    @cached_property
    def pattern(self) -> re.Pattern[bytes]:
        """Compiled when it is needed: most processes never meet a secret, and this takes milliseconds."""
        return re.compile(self.source)

    def is_in(self, data: bytes) -> bool:
        return self.run in data and self.pattern.search(data) is not None

    def removed(self, data: bytes, mask: bytes) -> bytes:
        """Return the data, which contains the run, with `mask` in place of each match."""
        if not self.is_escaped:
            return self.pattern.sub(mask, data)
        parts, end = [], 0
        for found in self.pattern.finditer(data):
            before = _before().search(data, max(end, found.start() - _MOST_BEFORE), found.start())
            parts += [data[end:before.start() if before else found.start()], mask]
            end = found.end()
        return b"".join([*parts, data[end:]]) if parts else data


class SecretForms:
    """Secrets in all forms in which they are searched for, the longest secret first: a shorter one may be a part of it."""

    def __init__(self, secrets: Iterable[str], *, shortest: int, credentials: Iterable[str] = ()) -> None:
        """shortest: a secret that has fewer bytes in UTF-8 is not searched for. credentials: texts that are searched for in base64 only.

        Credentials such as user:password are found even if the password alone is too short to be recognised in base64.
        """
        found = {secret for each in secrets for secret in _as_read(each) if secret and len(_bytes(secret)) >= shortest}
        self._forms = [form for credential in sorted(set(credentials)) for form in _base64_forms(credential)]
        for secret in sorted(found, key=lambda secret: (-len(secret), secret)):
            text = secret.rstrip(_WHITE_SPACE)  # a program that prints a secret may leave out the line end of its last line
            self._forms += [_text_form(text if len(_bytes(text)) >= shortest else secret), *_base64_forms(secret)]

    def __bool__(self) -> bool:
        return bool(self._forms)

    def are_in(self, data: bytes) -> bool:
        """Return whether any secret is in the data."""
        return any(form.is_in(data) for form in self._forms)

    def removed(self, data: bytes, mask: bytes) -> bytes:
        """Return the data with `mask` in place of each secret."""
        for form in self._forms:
            if form.run in data:
                data = form.removed(data, mask)
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


def _as_read(secret: str) -> set[str]:
    r"""Return a secret as it is, and a key in PEM also with line ends where it has \n, as programs read such an environment variable."""
    return {secret, secret.replace(r"\n", "\n")} if secret.startswith("-----BEGIN") else {secret}


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


def _text_form(text: str) -> _Form:
    """Return the form of a text in which each character may be in another form.

    Its pattern has at most one backslash before the first character, if this character has other forms. Further ones are searched for from there
    backwards: a pattern that began with any number of them would be tried at each backslash of a text that has nothing else.
    """
    return _Form(_longest_run(text), _text(text), is_escaped=not _is_plain(text[0]) and text[0] != "\\")


def _text(text: str) -> bytes:
    found = b""
    for part in _PARTS.findall(text):
        if part[0] in _WHITE_SPACE and found:
            found += _white_space(part)
            continue
        for character, same in groupby(part):
            number = len(list(same))
            if character == "\\":
                found += _backslashes(number)
            elif found:
                found += _character(character) * number
            else:
                found = _first_character(character) + _character(character) * (number - 1)
    return found


def _white_space(text: str) -> bytes:
    """Return a pattern for white space that may be collapsed or, at line ends, indented.

    It is atomic: what follows is no white space, and to try other numbers of it for each line would take exponential time. A + is a space only where
    there are as many as in the text.
    """
    forms = [_written(each) for each in _WHITE_SPACE]
    any_form = _Written(
        [b"\r\n", *map(str.encode, _WHITE_SPACE)], [each for form in forms for each in form.percent], [each for form in forms for each in form.reference],
        [each for form in forms for each in form.escaped]).pattern()
    most = len(text) + (_MOST_INDENTED if "\n" in text else 0)
    return b"(?>%s(?!%s)|(?:%s){1,%d})" % (b"".join(map(_character, text)), any_form, any_form, most)


def _base64_character(character: str) -> bytes:
    """Return a pattern for a character in the usual alphabet or in that for URLs (RFC 4648, 5)."""
    other = {"+": b"|-", "/": b"|_"}.get(character, b"")
    return b"(?:%s%s)" % (_character(character), other) if other else _character(character)


class _Written(NamedTuple):
    """Patterns for the forms of a character: as it is, and what follows a percent sign, an ampersand or a backslash in its other forms."""

    raw: list[bytes]
    percent: list[bytes]
    reference: list[bytes]
    escaped: list[bytes]

    def unescaped(self) -> bytes:
        """Return a pattern for the forms without a backslash."""
        return b"|".join([*self.raw, _percent(self.percent), _reference(self.reference)])

    def pattern(self) -> bytes:
        """Return a pattern for all forms, also with up to 8 backslashes."""
        return b"(?:%s|%s(?:%s))" % (self.unescaped(), _escapes(1, 8), b"|".join([*self.escaped, self.unescaped()]))


def _is_plain(character: str) -> bool:
    """Return whether a character is the same in all forms but base64."""
    return character.isascii() and character.isalnum()


@cache
def _character(character: str) -> bytes:
    """Return a pattern for a character in each of its forms."""
    if _is_plain(character):
        return character.encode()
    return _written(character).pattern()


@cache
def _first_character(character: str) -> bytes:
    """Return the same pattern with at most one backslash. Each alternative begins with a literal, so that `re` skips fast what cannot match."""
    if _is_plain(character):
        return character.encode()
    forms = _written(character)
    escaped = b"(?:%s)" % b"|".join(forms.escaped)
    return b"(?:%s)" % b"|".join([
        *forms.raw, rb"\\" + escaped, _percent([*forms.percent, b"5[cC]" + escaped]),
        _reference([*forms.reference, b"(?:%s)%s" % (b"|".join(_references("\\")), escaped)])])


@cache
def _written(character: str) -> _Written:
    raw = sorted({_encoded(character, encoding) for encoding in _ENCODINGS} - {b""}, reverse=True)
    point, units = ord(character), character.encode("utf-16-be", "surrogatepass")
    code_units = [units[at:at + 2].hex() for at in range(0, len(units), 2)]
    again = _percent([b""])  # before a further byte or code unit
    percent = [again.join(_hex(f"{byte:02x}") for byte in each) for each in raw]
    percent.append(again.join(rb"[uU]" + _hex(unit) for unit in code_units))
    forms = [re.escape(each) for each in raw] + {" ": [rb"\+"], "\n": [rb"\r\n"]}.get(character, [])
    again = _escapes(1, 8)
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
    return _Written(forms, percent, _references(character), escaped)


@cache
def _escapes(least: int, most: int) -> bytes:
    """Return a pattern for a number of backslashes in each of their forms: JSON may be in a URL or in HTML.

    It is possessive. No form of another character begins like one of these, so that to take fewer of them would never match.
    """
    return b"(?:%s){%d,%d}+" % (b"|".join(_backslash()), least, most)


@cache
def _before() -> re.Pattern[bytes]:
    return re.compile(_escapes(1, 8)[:-1] + rb"\Z")


@cache
def _backslash() -> tuple[bytes, ...]:
    return (rb"\\", _percent([b"5[cC]"]), _reference(_references("\\")))


def _percent(forms: Iterable[bytes]) -> bytes:
    """Return a pattern for percent-encoded bytes, also in a URL that is a parameter of another URL, where % is %25."""
    return b"%%(?:25)%s(?:%s)" % (_MOST, b"|".join(forms))


def _reference(forms: Iterable[bytes]) -> bytes:
    """Return a pattern for character references of HTML. An & may be escaped again."""
    return b"&(?:amp;|#38;|#x26;)%s(?:%s)" % (_MOST, b"|".join(forms))


def _references(character: str) -> list[bytes]:
    """Return patterns for the references to a character after the &: decimal, hexadecimal and with names."""
    point = ord(character)
    forms = [b"#0{0,6}%d(?:;|(?![0-9]))" % point, rb"#[xX]0{0,6}%s(?:;|(?![0-9A-Fa-f]))" % _hex(f"{point:x}")]
    forms += [re.escape(name.encode()) for name in _entity_names().get(character, ())]
    return [*forms, b""] if character == "&" else forms


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
    return b"(?:%s)" % b"|".join(b"%s(?:%s){%d,%d}" % (each, each, least - 1, most - 1) for each in _backslash())


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
