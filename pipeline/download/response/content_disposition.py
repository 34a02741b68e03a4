"""Parse the file name in a Content-Disposition header as leniently as browsers do (RFC 6266).

The parameter `filename*` (RFC 8187) takes precedence over `filename*0`, `filename*1` … (RFC 2231, 3), and these over `filename`.
Invalid parameters are ignored.
"""

from __future__ import annotations

import binascii
import quopri
import re
import unicodedata
from urllib.parse import unquote_to_bytes

from pipeline.session.responses.encodings import codec

_LONGEST = 8192
# A parameter may contain a quotation mark anywhere, even if the closing quotation mark is missing. Neither expression can backtrack far.
_PARAMETER = re.compile(r'(?:[^;"]+|"(?:[^"\\]|\\.)*(?:"|\\?$))+', re.DOTALL)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_TOKEN = re.compile(r'[^\s"=]+')
_CONTINUED = re.compile(r"filename\*(0|[1-9]\d{0,3})(\*?)")
_WORD = re.compile(r"=\?([\w.:+-]{1,40})\?([bq])\?([^?\s]*)\?=(?:\s+|(?=\.)|$)", re.IGNORECASE | re.ASCII)  # RFC 2047, 2
_HEX = re.compile(r"=(?![0-9A-Fa-f]{2})")
_NOT_EXTENDED = re.compile(r"['\"]|[^\x00-\x7f]")
_PERCENT = re.compile(r"%[0-9A-Fa-f]{2}")


def file_name(header: str) -> str:
    """Return the file name in the header; "" if there is none. The name may be unsafe as a path.

    header: the value of the header, decoded as Latin-1.
    """
    found = _parameters(header[:_LONGEST].replace("\r", "").replace("\n", ""))
    name = _extended(found.get("filename*", "")) or _continued(found) or _plain(found.get("filename", ""))
    return unicodedata.normalize("NFC", name)


def _parameters(header: str) -> dict[str, str]:
    """Return the parameters by lower-case name. The first value of a repeated parameter counts.

    Some servers omit the disposition type ("attachment") at the beginning. Therefore, if the first word has the form of a
    parameter, it is read as a parameter. If a file name is sent in several parts (`filename*0`, `filename*1` …), parts from a
    repeated number on are ignored.
    """
    found: dict[str, str] = {}
    parts: set[str] = set()
    over = False
    for text in _PARAMETER.findall(header):
        name, equals, value = text.partition("=")
        name = name.strip().lower()
        if not equals or not _TOKEN.fullmatch(name):
            continue
        if part := _CONTINUED.fullmatch(name):
            over = over or part[1] in parts
            parts.add(part[1])
            if over:
                continue
        found.setdefault(name, _unquoted(value.strip()))
    return found


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    whole = _QUOTED.fullmatch(value)
    return re.sub(r"\\(.)", r"\1", whole[1] if whole else value[1:], flags=re.DOTALL)


def _extended(value: str) -> str:
    """Decode a value such as `UTF-8'en'na%C3%AFve.txt`. The charset and the language may be missing.

    Return "" for any other syntax.
    """
    charset, encoded = _charset_of(value)
    if _NOT_EXTENDED.search(encoded):
        return ""
    return _decoded(unquote_to_bytes(_octets(encoded)), charset)


def _charset_of(value: str) -> tuple[str, str]:
    """Split the value of an extended parameter (RFC 8187) into its charset ("" if missing) and its encoded text."""
    *before, encoded = value.split("'", 2)
    return before[0] if before else "", encoded


def _continued(found: dict[str, str]) -> str:
    """Join and decode the parts `filename*0`, `filename*1` … up to the first missing number.

    A part with a star after the number (`filename*0*`) is percent-encoded.
    """
    charset, data = "", b""
    for number in range(len(found)):
        starred, plain = found.get(f"filename*{number}*"), found.get(f"filename*{number}")
        if starred is not None:
            if number == 0:
                charset, starred = _charset_of(starred)
            data += unquote_to_bytes(_octets(starred))
        elif plain is not None:
            data += _octets(plain)
        else:
            break
    return _decoded(data, charset)


def _plain(value: str) -> str:
    """Decode the value of `filename`: raw bytes, RFC 2047 encoded words, or percent-encoded UTF-8.

    RFC 6266 allows none of these encodings, but servers use them.
    """
    if "=?" in value:
        try:
            text = _WORD.sub(_word, value)
        except (LookupError, ValueError):
            return ""
        return "" if "=?" in text else text
    if not _PERCENT.search(value):
        return _guessed(_octets(value))
    try:
        return unquote_to_bytes(_octets(value)).decode()
    except UnicodeDecodeError:
        return ""


def _word(word: re.Match[str]) -> str:
    charset, kind, text = word.groups()
    if kind in "bB":
        data = binascii.a2b_base64(text, strict_mode=True)
    else:
        if _HEX.search(text):
            raise ValueError(text)
        data = quopri.decodestring(text.encode("latin-1"), header=True)
    return data.decode(_codec(charset))


def _decoded(data: bytes, charset: str) -> str:
    """Decode bytes with the charset named by the server; if the server named none, guess the charset.

    Return "" for an unknown charset or invalid bytes.
    """
    if not charset:
        return _guessed(data)
    try:
        return data.decode(_codec(charset))
    except (LookupError, ValueError):
        return ""


def _codec(label: str) -> str:
    """Return the name of Python's codec for a charset. Raise LookupError for an unknown charset."""
    name = codec(re.sub(r"(?i)^iso-?8859-?(?=\d)", "iso8859-", label))
    if name is None:
        raise LookupError(label)
    return name


def _guessed(data: bytes) -> str:
    for encoding in ("utf-8", "cp1252"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")


def _octets(text: str) -> bytes:
    """Return the bytes of a header value that was decoded as Latin-1."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")
