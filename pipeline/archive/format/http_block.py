"""Requests and responses as the blocks of WARC records, and back.

The header lines are those of the exchange, byte by byte, with three exceptions, for the sake of the programs that read WARC files:

- The version in the first line of a response is always HTTP/1.1 or HTTP/1.0. Another one is in the record's header WARC-Protocol. In that of
  a request it is always HTTP/1.1, which is what clients send to a server whose version they do not know.
- `Transfer-Encoding` is named `X-Orig-Transfer-Encoding`, because bodies are stored without transfer coding.
- What no header line can contain is replaced: line ends and NUL in values by a space, other characters in names by %XX.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.model import Exchange, HeaderLines
from pipeline.urls import target_of

_NOT_TOKEN = re.compile(rb"[^!#$%&'*+.^_`|~0-9A-Za-z-]")
_LINE_ENDS = re.compile(rb"[\r\n\0]+")
_FIELD_SPACE = b" \t"
_LONG = len(b"transfer-encoding")
REWRITTEN = "header lines that HTTP does not allow were rewritten"


@dataclass(frozen=True)
class Head:
    """The first line and the header lines of a block. rewritten: whether header lines were changed because HTTP does not allow them."""

    data: bytes
    rewritten: bool


def request_head(exchange: Exchange) -> Head:
    """Return the head of a request, with the empty line at its end."""
    method = _NOT_TOKEN.sub(b"", exchange.method.encode("ascii", "replace")) or b"GET"
    return _head(b"%s %s HTTP/1.1" % (method, _target(exchange.url)), exchange.request_headers)


def response_head(exchange: Exchange) -> Head:
    """Return the head of a response, with the empty line at its end."""
    reason = _LINE_ENDS.sub(b" ", exchange.reason).strip(_FIELD_SPACE)
    return _head(b"%s %03d %s" % (_version(exchange), max(0, exchange.status), reason), exchange.response_headers)


def protocol_of(exchange: Exchange) -> str:
    """Return the value of WARC-Protocol: "" if the first line says which version was used."""
    version = exchange.http_version.strip().lower()
    names = {"http/1.1": "", "http/1.0": "", "http/2": "h2", "http/2.0": "h2", "h2": "h2", "http/3": "h3", "http/3.0": "h3", "h3": "h3",
             "http/0.9": "http/0.9"}
    return names.get(version, "")


@dataclass(frozen=True)
class ParsedBlock:
    """A block as its first line, its header lines and its body."""

    first_line: bytes
    headers: HeaderLines
    body: bytes

    @property
    def status(self) -> int:
        """The status of a response; 0 if the first line has none."""
        parts = self.first_line.split(b" ", 2)
        return int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 0

    @property
    def reason(self) -> bytes:
        """The reason phrase of a response."""
        parts = self.first_line.split(b" ", 2)
        return parts[2] if len(parts) > 2 else b""

    @property
    def version(self) -> str:
        """The version of HTTP in the first line of a response."""
        return self.first_line.partition(b" ")[0].decode("ascii", "replace")


def parse(block: bytes) -> ParsedBlock:
    """Return the parts of a block, also of one that another program wrote. Lines without a colon are left out."""
    head, gap, body = block.partition(b"\r\n\r\n")
    first, *lines = head.removesuffix(b"\r\n").split(b"\r\n")
    headers = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if colon:
            headers.append((name, value.strip(_FIELD_SPACE)))
    return ParsedBlock(first, tuple(headers), body if gap else b"")


def _version(exchange: Exchange) -> bytes:
    return b"HTTP/1.0" if exchange.http_version.strip().upper() in {"HTTP/1.0", "HTTP/0.9"} else b"HTTP/1.1"


def _target(url: str) -> bytes:
    try:
        return target_of(url).encode("ascii")
    except (IndexError, UnicodeEncodeError):  # an URL without a path, or not encoded
        return b"/"


def _head(first: bytes, headers: HeaderLines) -> Head:
    rewritten = not _are_valid(headers)
    if rewritten:
        headers = tuple((_NOT_TOKEN.sub(_escaped, name) or b"%", _LINE_ENDS.sub(b" ", value)) for name, value in headers)
    lines = [first]
    for name, value in headers:
        if len(name) == _LONG and name.lower() == b"transfer-encoding":
            name = b"X-Orig-" + name  # noqa: PLW2901  see above
        lines.append(name + b": " + value.strip(_FIELD_SPACE))
    lines.append(b"\r\n")
    return Head(b"\r\n".join(lines), rewritten)


def _are_valid(headers: HeaderLines) -> bool:
    """Return whether all header lines can be written as they are. All at once: one by one takes several times as long."""
    names = [name for name, _ in headers]
    values = b"".join([value for _, value in headers])
    return b"" not in names and not _NOT_TOKEN.search(b"".join(names)) and not (b"\r" in values or b"\n" in values or b"\0" in values)


def _escaped(found: re.Match[bytes]) -> bytes:
    return b"%%%02X" % found[0][0]
