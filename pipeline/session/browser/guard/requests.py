"""Parses the requests of the browser to its proxy (RFC 9112). Whatever is ambiguous is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.hosts import host_and_port
from pipeline.session.responses.head import MAX_LINES

_REQUEST_LINE = re.compile(rb"([A-Za-z0-9!#$%&'*+\-.^_`|~]{1,40}) ([\x21-\x7e\x80-\xff]+) HTTP/1\.([01])")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\r\n\0]*)")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:@/?#\\]+):([0-9]{1,5})")
_HOP_BY_HOP = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"proxy-authorization", b"te", b"trailer", b"upgrade",
                         b"host", b"transfer-encoding", b"content-length"})
"""Headers that are for this connection only, and those that are written anew."""


class RequestError(ValueError):
    """A request is not valid, or a site could read it in more than one way."""


@dataclass(frozen=True)
class ProxyRequest:
    """A request to the proxy: CONNECT, or an http URL in absolute form.

    host: in normalized form; target: path and query, or "*"; fields: the headers for the site; length: the size of the body in bytes,
    None for a chunked body; credentials: the value of Proxy-Authorization; keep_alive: whether the browser keeps the connection open;
    websocket: whether the browser asks for the WebSocket protocol on this connection.
    """

    method: bytes
    host: str
    port: int
    target: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    length: int | None
    credentials: bytes
    keep_alive: bool
    websocket: bool = False

    @property
    def is_connect(self) -> bool:
        return self.method == b"CONNECT"

    @property
    def place(self) -> str:
        """The host and the port, as they are written in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL for the selection of a proxy and for checks. A tunnel counts as https, as it mostly is."""
        return f"https://{self.place}" if self.is_connect else f"http://{self.place}/"

    def head(self, *, proxied: bool = False, authorization: str = "") -> bytes:
        """Return the request line and the headers for the site, or for an HTTP proxy on the way to it.

        The Host header is written anew from the URL (RFC 9112, 3.2.2), so that the site answers for the host that was checked.
        """
        host = (self.place if self.port != 80 else self.place.removesuffix(":80")).encode()
        target = b"http://" + host + (b"" if self.target == b"*" else self.target) if proxied else self.target
        lines = [b"%b %b HTTP/1.1" % (self.method, target), b"Host: " + host]
        lines += [name + b": " + value for name, value in self.fields]
        if self.length is None:
            lines.append(b"Transfer-Encoding: chunked")
        elif self.length or self.method in (b"POST", b"PUT", b"PATCH"):
            lines.append(b"Content-Length: %d" % self.length)
        if self.websocket:
            lines += [b"Connection: Upgrade", b"Upgrade: websocket"]
        if authorization:
            lines.append(b"Proxy-Authorization: " + authorization.encode())
        return b"\r\n".join(lines) + b"\r\n\r\n"


def parse_request(head: bytes) -> ProxyRequest:
    """Parse the head of a request, including the empty line at its end. Raises RequestError."""
    lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    if len(lines) > MAX_LINES:
        raise RequestError("the browser's request has too many headers")
    line = _REQUEST_LINE.fullmatch(lines[0])
    if line is None or not head.endswith(b"\r\n\r\n"):
        raise RequestError("the browser's request is not valid HTTP")
    fields: list[tuple[bytes, bytes]] = []
    for each in lines[1:]:
        field = _FIELD.fullmatch(each)
        if field is None:
            raise RequestError("the browser's request has a header that is not valid")
        fields.append((field[1], field[2].rstrip(b" \t")))
    method, version = line[1], line[3]
    host, port, target = _connect_target(line[2]) if method == b"CONNECT" else _http_target(line[2])
    named = frozenset(part.strip(b" \t").lower() for part in b",".join(_values(fields, b"connection")).split(b","))
    credentials = _values(fields, b"proxy-authorization")
    return ProxyRequest(
        method, host, port, target, tuple(field for field in fields if field[0].lower() not in _HOP_BY_HOP | named), _length(fields),
        credentials[0] if len(credentials) == 1 else b"", keep_alive=version == b"1" and b"close" not in named,
        websocket=b"upgrade" in named and [each.lower() for each in _values(fields, b"upgrade")] == [b"websocket"])


def _connect_target(target: bytes) -> tuple[str, int, bytes]:
    found = _AUTHORITY.fullmatch(target.decode("latin-1"))
    host, _ = host_and_port(f"//{found[1]}") if found else ("", 0)
    if found is None or not host or not 0 < int(found[2]) < 65_536:
        raise RequestError("the browser's request is a CONNECT to a host that is not valid")
    return host, int(found[2]), b""


def _http_target(target: bytes) -> tuple[str, int, bytes]:
    """Return host, port and the rest of an http URL.

    Other URLs need a tunnel, and other forms of a request are for servers, not for proxies.
    """
    text = target.decode("latin-1")
    if text[:7].lower() != "http://":
        raise RequestError("the browser's request has a target that is not an http URL")
    host, port = host_and_port(text)
    authority = re.match(r"[^/?#\\]*", text[7:])
    assert authority is not None
    rest = target[7 + authority.end():].partition(b"#")[0]
    if not host or not port or (rest and rest[:1] not in b"/?"):
        raise RequestError("the browser's request has a URL whose host is not valid")
    return host, port, rest if rest[:1] == b"/" else b"/" + rest


def _length(fields: list[tuple[bytes, bytes]]) -> int | None:
    """Return the size of the body; None if it is chunked. Raises RequestError if that is ambiguous."""
    lengths, codings = _values(fields, b"content-length"), _values(fields, b"transfer-encoding")
    if not lengths and [each.lower() for each in codings] == [b"chunked"]:
        return None
    if codings or len(lengths) > 1 or not re.fullmatch(rb"\d{1,15}", lengths[0] if lengths else b"0"):
        raise RequestError("the browser's request has a body of ambiguous size")
    return int(lengths[0]) if lengths else 0


def _values(fields: list[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value for key, value in fields if key.lower() == name]
