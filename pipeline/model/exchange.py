"""Requests and responses as they were on the wire, for the web archive."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

HeaderLines = tuple[tuple[bytes, bytes], ...]
"""The names and values of header lines, in the order and spelling in which they were sent."""


@dataclass(frozen=True)
class RenderedPage:
    """What a browser made of a page.

    dom: the document after rendering, as HTML in UTF-8. screenshot: a picture as PNG; b"" if none was taken.
    """

    dom: bytes
    screenshot: bytes = b""


@dataclass(frozen=True)
class Exchange:
    """One request and its response.

    url: without a fragment, and without a user name and password. at: when the request was sent, in UTC. address: IP address of the
    server, or of the proxy; "" if unknown. http_version: such as "HTTP/1.1". reason: the reason phrase. body: as received, which means that
    a Content-Encoding is not decoded, but a Transfer-Encoding is. rendered: None if no browser was used.
    """

    url: str
    at: datetime
    method: str
    request_headers: HeaderLines
    request_body: bytes
    status: int
    reason: bytes
    response_headers: HeaderLines
    body: bytes
    http_version: str = "HTTP/1.1"
    address: str = ""
    rendered: RenderedPage | None = None

    @property
    def size_bytes(self) -> int:
        """The size of its bodies."""
        rendered = self.rendered
        return len(self.request_body) + len(self.body) + (0 if rendered is None else len(rendered.dom) + len(rendered.screenshot))
