"""Encodes the entries of a form as a browser does (HTML Standard, 4.10.22)."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import quote_plus, urlsplit, urlunsplit

from pipeline.session.responses.encodings import codec

URLENCODED, MULTIPART, PLAIN = "application/x-www-form-urlencoded", "multipart/form-data", "text/plain"
_NAMES = {"utf-8": "UTF-8", "cp1252": "windows-1252", "gbk": "GBK", "cp932": "Shift_JIS", "cp949": "EUC-KR",
          "big5hkscs": "Big5", "euc_jp": "EUC-JP", "iso2022_jp": "ISO-2022-JP", "koi8-r": "KOI8-R", "koi8-u": "KOI8-U"}


class Entry(NamedTuple):
    """A name and a value that a form sends.

    is_file: whether the entry comes from a file input without a chosen file; in multipart/form-data, such an entry is an empty
    file.
    """

    name: str
    value: str
    is_file: bool = False


@dataclass(frozen=True)
class Submission:
    """The HTTP request that sends a form."""

    method: str
    url: str
    body: bytes = field(default=b"", repr=False)
    content_type: str = ""


def submission(entries: Sequence[Entry], *, method: str, action: str, enctype: str, encoding: str) -> Submission:
    """Return the request that sends the entries of a form.

    method: GET or POST, or DIALOG for a form that sends nothing; action: the absolute URL of the request; encoding: the name of
    the Python codec in which the form is sent.
    """
    entries = [Entry(_crlf(name), _crlf(value), is_file) for name, value, is_file in entries]
    target = urlsplit(action)._replace(fragment="")
    if method == "DIALOG":
        return Submission(method, urlunsplit(target))
    if method == "GET":
        return Submission("GET", urlunsplit(target._replace(query=_urlencoded(entries, encoding))))
    if enctype == MULTIPART:
        boundary = f"----form{secrets.token_hex(16)}"
        return Submission("POST", urlunsplit(target), _multipart(entries, encoding, boundary),
                          f"{MULTIPART}; boundary={boundary}")
    if enctype == PLAIN:
        text = "".join(f"{name}={value}\r\n" for name, value, _ in entries)
        return Submission("POST", urlunsplit(target), text.encode(encoding, "xmlcharrefreplace"), PLAIN)
    return Submission("POST", urlunsplit(target), _urlencoded(entries, encoding).encode("ascii"), URLENCODED)


def output_encoding(accept_charset: str, document: str) -> str:
    """Return the Python codec in which a form is sent.

    accept_charset: the value of the form's attribute; the first known encoding in this value is used. document: the encoding of
    the page, used if accept_charset names no known encoding.
    """
    found = next((name for label in accept_charset.split() if (name := codec(label))), document)
    # A form is sent in UTF-8 instead of UTF-16, and in GBK instead of gb18030 (Encoding Standard, 4.3).
    return "utf-8" if found.startswith("utf-16") else "gbk" if found == "gb18030" else found


def encoding_name(encoding: str) -> str:
    """Return the Encoding Standard's name of a Python codec. Forms send this name in a field named _charset_."""
    if (known := _NAMES.get(encoding)) is not None:
        return known
    if match := re.fullmatch(r"cp(125\d|866)", encoding):
        return match[1] if match[1] == "866" else f"windows-{match[1]}"
    return encoding.upper().replace("ISO8859", "ISO-8859")


def _urlencoded(entries: Sequence[Entry], encoding: str) -> str:
    """Encode the entries as application/x-www-form-urlencoded (URL Standard, 5.2).

    All characters except letters, digits and *-._ are percent-encoded; a space becomes a plus sign.
    """
    encoded: Callable[[str], str] = lambda text: quote_plus(  # noqa: E731
        text.encode(encoding, "xmlcharrefreplace"), safe="*").replace("~", "%7E")
    return "&".join(f"{encoded(name)}={encoded(value)}" for name, value, _ in entries)


def _multipart(entries: Sequence[Entry], encoding: str, boundary: str) -> bytes:
    """Encode the entries as multipart/form-data (RFC 7578). Names are escaped as in HTML: %0D, %0A, %22."""
    parts: list[bytes] = []
    for name, value, is_file in entries:
        escaped = name.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22").encode(encoding, "xmlcharrefreplace")
        more = b'; filename=""\r\nContent-Type: application/octet-stream' if is_file else b""
        parts.append(b"--%s\r\nContent-Disposition: form-data; name=\"%s\"%s\r\n\r\n%s\r\n" % (
            boundary.encode(), escaped, more, value.encode(encoding, "xmlcharrefreplace")))
    return b"".join(parts) + b"--%s--\r\n" % boundary.encode()


def _crlf(text: str) -> str:
    return re.sub(r"\r\n|\r|\n", "\r\n", text)
