"""Pause requests to hosts that respond with 429 or 503, and replace proxies that a site has banned."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Self

from scrapy.crawler import Crawler
from scrapy.downloadermiddlewares.retry import get_retry_request
from scrapy.exceptions import IgnoreRequest, NotConfigured
from scrapy.http import Request, Response, TextResponse
from scrapy.http.request import NO_CALLBACK
from scrapy.utils.httpobj import urlparse_cached

from pipeline.crawl.context import context_of
from pipeline.crawl.extract import header_map
from pipeline.crawl.interfaces import FRONTIER_ID, NOT_BEFORE, HostPausedError
from pipeline.crawl.scrapy.handler import PROXY
from pipeline.errors import FetchError
from pipeline.hosts import place_of
from pipeline.session.client import proxy_banned
from pipeline.session.page import Answer, Page
from pipeline.session.politeness.retry_after import TRY_LATER, retry_after_s
from pipeline.text import shown_url

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0
_DONT_RETRY = "dont_retry"

logger = logging.getLogger(__name__)


class HostPauses:
    """Pauses requests to a host that responds with status 429 or 503.

    The Retry-After header sets the length of a pause. Without the header, a pause is twice as long as the previous one. Requests
    to a paused host wait in the scheduler, so that requests to other hosts are not delayed.
    """

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        self._context = context_of(crawler)
        self._patience_s = self._context.table.patience
        self._budget = self._context.budget
        self._refusals: dict[str, int] = {}
        self._context.on_response = self._responded

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        return cls(crawler)

    def process_request(self, request: Request) -> Awaitable[Request | None] | None:
        """Return an awaitable if the host is paused, else None.

        The method itself is not a coroutine, because a coroutine for every request would be slow.
        """
        wait_s = self._budget.left_alone_s(request.url)
        return self._paused(request, wait_s) if wait_s else None

    async def _paused(self, request: Request, wait_s: float) -> Request | None:
        if wait_s > self._patience_s:
            paused = FetchError(f"requests to the host are paused for {wait_s:.0f} s (Retry-After)", where=shown_url(request.url),
                                fix="wait for the next run, or increase the `patience` setting", retry=True)
            raise IgnoreRequest(paused.what) from paused
        if request.callback is NO_CALLBACK:  # this is a request for robots.txt, for which other requests wait
            await asyncio.sleep(wait_s)
            return None
        return self._later(request)

    def process_exception(self, request: Request, exception: Exception) -> Request | None:
        return self._later(request) if isinstance(exception, HostPausedError) else None

    def process_response(self, request: Request, response: Response) -> Request | Response:
        if response.status not in TRY_LATER:
            return response
        again = None
        assert self._crawler.spider is not None
        if self._budget.left_alone_s(request.url) <= self._patience_s and not request.meta.get(_DONT_RETRY):
            again = get_retry_request(request, spider=self._crawler.spider, reason=f"status {response.status}")
        if again is None:
            request.meta[_DONT_RETRY] = True  # otherwise Scrapy's retry middleware would send the request again at once
            return response
        return self._later(again)

    def _later(self, request: Request) -> Request:
        not_before = asyncio.get_running_loop().time() + self._budget.left_alone_s(request.url)
        return request.replace(meta={**request.meta, NOT_BEFORE: not_before})

    def _responded(self, request: Request, response: Response) -> None:
        """Start the pause that a response with status 429 or 503 requires.

        The download handler calls this method before it sends the next request to the host; process_response is called too late.
        """
        refused = response.status in TRY_LATER
        if not refused and not self._refusals:
            return
        host = place_of(request.url)
        if not refused:
            self._refusals.pop(host, None)
            return
        wait_s = retry_after_s(header_map(response.headers), datetime.now(UTC))
        if wait_s is None:
            failures = self._refusals[host] = self._refusals.get(host, 0) + 1
            wait_s = min(_FIRST_PAUSE_S * 2 ** (failures - 1), _LONGEST_PAUSE_S)
        self._budget.leave_alone(request.url, wait_s)
        logger.info("%s answered %d: requests to it are paused for %.0f s", host, response.status, wait_s)


class ProxyBans:
    """Pauses a proxy that a site has banned, and sends the request through the next proxy of the pool."""

    def __init__(self, crawler: Crawler) -> None:
        self._context = context_of(crawler)
        self._rules = self._context.table.banned
        if self._context.session.proxy is None or not (self._rules.status or self._rules.present):
            raise NotConfigured

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        return cls(crawler)

    def process_response(self, request: Request, response: Response) -> Request | Response:
        if request.callback is NO_CALLBACK or PROXY not in request.meta or not self._banned(request, response):
            return response
        proxy = request.meta[PROXY]
        if self._context.session.change_proxy(proxy):
            logger.warning("%s has banned the proxy %s: the crawl uses the next proxy", urlparse_cached(request).netloc, proxy)
            return request.replace(dont_filter=True)
        raise proxy_banned(response.url, proxy)

    def _banned(self, request: Request, response: Response) -> bool:
        if response.status in self._rules.status:
            return True
        if self._rules.present is None or not isinstance(response, TextResponse):
            return False
        page = Page(Answer(response.url, response.status, header_map(response.headers), response.body), response.encoding)
        with self._context.page_step(request.meta.get(FRONTIER_ID)):
            return page.matches(self._rules.present)
