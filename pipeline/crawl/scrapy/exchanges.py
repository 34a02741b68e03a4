"""Records the requests and responses of pages as they are on the wire, for the archive of a spider."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from scrapy import Request

from pipeline.crawl.context import CrawlContext
from pipeline.crawl.interfaces import EXCHANGES
from pipeline.crawl.scrapy.http_clients import PeerResponse
from pipeline.model import Exchange
from pipeline.text import size_for_people

MAX_BYTES = 64 * 10**6
"""How much is kept in memory for one page with redirects and repeated attempts, besides its last response."""


def exchange_of(request: Request, response: PeerResponse, body: bytes, at: datetime, *, by_proxy: bool) -> Exchange:
    """Return a request as aiohttp has sent it, and the response to it.

    at: when the request was sent. by_proxy: whether it went through a proxy, so that the address of the connection is not the server's.
    """
    sent, version = response.request_info, response.version
    return Exchange(
        url=str(sent.url), at=at, method=sent.method,
        request_headers=tuple((name.encode(), value.encode(response.header_encoding)) for name, value in sent.headers.items()),
        request_body=request.body, status=response.status, reason=(response.reason or "").encode("utf-8", "surrogateescape"),
        response_headers=tuple(response.raw_headers), body=body,
        http_version=f"HTTP/{version.major}.{version.minor}" if version else "HTTP/1.1",
        address="" if by_proxy else response.peer_address or "")


def exchanges_in(meta: dict[str, Any]) -> tuple[Exchange, ...]:
    """Return what was recorded for a page: the requests with redirects and repeated attempts, the earliest first."""
    found: tuple[Exchange, ...] = meta.get(EXCHANGES, ())
    return found


def add_exchange(context: CrawlContext, request: Request, *exchanges: Exchange) -> None:
    """Add to what was recorded for the page of a request. Scrapy copies the `meta` to the request that follows a redirect or repeats it.

    The value is a new tuple each time, since the copies share it. Of responses with very large bodies, only the last are kept.
    """
    found = [*exchanges_in(request.meta), *exchanges]
    while len(found) > len(exchanges) and sum(len(each.body) for each in found) > MAX_BYTES:
        del found[0]
        context.note(f"of redirects and repeated attempts with more than {size_for_people(MAX_BYTES)}, only the last responses are archived")
    request.meta[EXCHANGES] = tuple(found)
