"""Send conditional requests, and read unchanged pages (status 304) from the page cache.

See RFC 9110, 13.1, and RFC 9111, 4.3. The items, links and downloads of a cached page are extracted again in every pass, with the
current rules in the settings.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from typing import Self

from scrapy import signals
from scrapy.crawler import Crawler
from scrapy.exceptions import NotConfigured
from scrapy.http import Headers, Request, Response
from scrapy.http.request import NO_CALLBACK
from scrapy.responsetypes import responsetypes

from pipeline.crawl.archiving import ArchivedPages
from pipeline.crawl.context import context_of
from pipeline.crawl.interfaces import CACHED, RENDERED, START, UNCONDITIONAL
from pipeline.crawl.middlewares.page_cache import CachedPage, PageCache
from pipeline.crawl.scrapy.octet_headers import received_headers
from pipeline.text import counted, size_for_people

MAX_AGE_S = 30 * 86400.0

_CONDITIONS = ("If-None-Match", "If-Modified-Since")
_OURS = "pipeline_revalidated"
_PERSONAL = ("cookie", "authorization", "accept-language")
_OF_THE_BODY = frozenset({"content-length", "content-encoding", "content-type", "transfer-encoding", "connection"})

logger = logging.getLogger(__name__)


class Revalidate:
    """Makes requests conditional, replaces a 304 response with the cached page, and caches new pages.

    Bodies are cached as received, that is, still compressed.
    """

    def __init__(self, crawler: Crawler) -> None:
        context = context_of(crawler)
        if not context.table.revalidate:
            raise NotConfigured
        self._max_bytes = context.table.page_cache
        self._render_rules = context.render_rules
        self._archive = ArchivedPages(context.archive) if context.archive is not None and context.archive.table.what == "all" else None
        self._cache = PageCache(context.store.data_dir / "cache" / f"{context.run.spider}.sqlite3", self._max_bytes)
        crawler.signals.connect(self._closed, signal=signals.spider_closed)

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        return cls(crawler)

    def process_request(self, request: Request) -> None:
        if self._render_rules.table_for(request.url, method=request.method, start=request.meta.get(START), meta=request.meta) is not None:
            return  # the DOM may differ although the document has not changed
        if request.meta.pop(_OURS, False):
            for name in _CONDITIONS:
                request.headers.pop(name, None)
        if not _may_be_kept(request) or request.meta.get(UNCONDITIONAL) or any(name in request.headers for name in _CONDITIONS):
            return
        kept = self._cache.head(request.url)
        if kept is None:
            return
        headers = _headers(kept)
        conditions = {name: value for name, validator in zip(_CONDITIONS, ("ETag", "Last-Modified"), strict=True) if (value := headers.get(validator))}
        if kept.varied != _varied(headers, request) or (self._archive is not None and not self._archive.confirms(request.url, conditions)):
            return
        for name, value in conditions.items():
            request.headers[name] = value.decode("latin-1")  # decoded to str, since the download handler can send every str
        request.meta[_OURS] = True

    def process_response(self, request: Request, response: Response) -> Request | Response:
        if response.status == 304 and request.meta.get(_OURS):
            kept = self._cache.get(request.url)
            if kept is None:  # the cached page is damaged, or was just pruned
                return request.replace(dont_filter=True, meta={**request.meta, UNCONDITIONAL: True})
            self._cache.touch(request.url)
            return _rebuilt(kept, response)
        if response.status == 200 and RENDERED not in request.meta and _may_be_kept(request) and _has_validator(response):
            varied = _varied(response.headers, request)
            if varied is not None:
                self._cache.put(request.url, CachedPage(_pairs(response.headers), varied, response.body))
        return response

    async def _closed(self) -> None:
        if self._archive is not None:
            self._archive.close()
        await asyncio.to_thread(self._cache.prune, MAX_AGE_S, time.time())
        self._cache.close()
        if self._cache.left_out:
            logger.warning("the page cache is limited to %s and has no room for %s; increase the `page_cache` setting",
                           size_for_people(self._max_bytes), counted(self._cache.left_out, "page"))


def _may_be_kept(request: Request) -> bool:
    return (request.method == "GET" and not request.body and request.callback is not NO_CALLBACK
            and "Range" not in request.headers)


def _has_validator(response: Response) -> bool:
    control = (response.headers.get("Cache-Control") or b"").decode("latin-1").lower()
    return "no-store" not in control and bool(response.headers.get("ETag") or response.headers.get("Last-Modified"))


def _varied(headers: Headers, request: Request) -> str | None:
    """Return a hash of the request headers that the response names in its Vary header.

    Return "" if the response names no header, and None for `Vary: *`.
    """
    named = {name.strip().lower() for value in headers.getlist("Vary") for name in value.decode("latin-1").split(",")}
    if "*" in named:
        return None
    used = [(name, request.headers.get(name) or b"") for name in _PERSONAL if name in named]
    return hashlib.sha256(repr(used).encode()).hexdigest() if used else ""


def _pairs(headers: Headers) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, values in headers.items() for value in values
            if name.lower() != b"set-cookie"]


def _headers(kept: CachedPage) -> Headers:
    return received_headers((name.encode("latin-1"), value.encode("latin-1")) for name, value in kept.headers)


def _rebuilt(kept: CachedPage, fresh: Response) -> Response:
    """Return the cached response, with its headers updated from the headers of the 304 response (RFC 9111, 3.2)."""
    headers = _headers(kept)
    for name, values in fresh.headers.items():
        if name.decode("latin-1").lower() not in _OF_THE_BODY:
            headers[name] = values
    kind = responsetypes.from_args(headers=headers, url=fresh.url, body=kept.body)
    return kind(url=fresh.url, status=200, headers=headers, body=kept.body, request=fresh.request, flags=[CACHED])
