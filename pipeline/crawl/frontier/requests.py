"""Convert frontier rows to Scrapy requests and back, and translate the errors of failed requests.

This module also contains the base class of the crawl's two Scrapy schedulers.
"""

from __future__ import annotations

import asyncio
import heapq
import inspect
import itertools
import json
import logging
import os
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Self

import aiohttp
import scrapy
from scrapy.core.scheduler import BaseScheduler
from scrapy.crawler import Crawler
from scrapy.exceptions import DownloadCancelledError, IgnoreRequest
from scrapy.spidermiddlewares.httperror import HttpError
from scrapy.spiders import Spider
from scrapy.utils.asyncgen import as_async_generator
from twisted.python.failure import Failure

from pipeline.crawl.context import context_of
from pipeline.crawl.interfaces import EXCHANGES, FROM_START, FRONTIER_ID, NOT_BEFORE, RENDERED
from pipeline.crawl.scrapy import engine_control
from pipeline.crawl.scrapy.errback_failures import entries_of, for_errback, is_ignored
from pipeline.crawl.scrapy.frontier_signals import FrontierSignals
from pipeline.crawl.scrapy.project.requests.dupe_filter import FILTERED, ProjectDupeFilter
from pipeline.crawl.scrapy.proxy_errors import proxy_fault
from pipeline.crawl.scrapy.scheduler_stats import SchedulerStats
from pipeline.errors import FetchError, PipelineError, SpiderError, TlsError
from pipeline.model import Json, Page, PageOutcome, Request
from pipeline.session.browser.render_rules import RenderRules
from pipeline.session.errors import tls_fault
from pipeline.session.politeness.robots import FORBIDDEN
from pipeline.session.proxies.config import shown_proxy
from pipeline.store.crawl.frontier import Queued
from pipeline.text import clean_line, shown_url
from pipeline.urls import absolute

_OWN_META = frozenset({"depth", "verbatim_url", "is_start_request", "download_timeout", "download_slot", "download_latency", RENDERED, EXCHANGES})

logger = logging.getLogger(__name__)


class NotStorableError(Exception):
    """A request cannot be stored in the frontier."""


class RowScheduler(BaseScheduler):
    """Base class of FrontierScheduler and FollowerScheduler.

    Converts frontier rows to requests; keeps retries, redirects and delayed requests in memory; records failed requests in the
    store.
    """

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        self._context = context_of(crawler)
        self._resend: deque[scrapy.Request] = deque()  # retries and redirects, to be sent next
        self._delayed: list[tuple[float, int, scrapy.Request]] = []  # a heap of requests to send later: time, number, request
        self._sequence = itertools.count()
        self.dupe_filter = None if self._context.table.is_built_in else ProjectDupeFilter.of(crawler)
        self.stats = None if self._context.table.is_built_in else SchedulerStats(crawler)
        if isinstance(crawler.signals, FrontierSignals):
            crawler.signals.on_dropped = self._dropped

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        return cls(crawler)

    def open(self, spider: Spider) -> None:
        self._spider = spider

    def _issue(self, queued: Queued) -> scrapy.Request:
        if queued.request.meta.get(FROM_START):
            self._context.session.ssrf_guard.allow(queued.request.url)
        return to_scrapy(queued, self._spider, self._failed)

    def _send_again(self, request: scrapy.Request) -> None:
        if self.stats is not None:
            self.stats.enqueued()
        not_before = request.meta.pop(NOT_BEFORE, None)
        loop = asyncio.get_running_loop()
        if not_before is None or not_before <= loop.time():
            self._resend.append(request)
        else:
            heapq.heappush(self._delayed, (not_before, next(self._sequence), request))
            loop.call_at(not_before, self.wake_engine)

    def _release_delayed(self) -> None:
        """Move the delayed requests that may be sent now to the queue of requests to send next."""
        if self._delayed:
            now = asyncio.get_running_loop().time()
            while self._delayed and self._delayed[0][0] <= now:
                self._resend.append(heapq.heappop(self._delayed)[2])

    async def _failed(self, errback: Callable[..., Any] | None, failure: Failure) -> AsyncIterator[Any]:
        """Record the failure of a request in the store, then call the spider's errback.

        This method is the errback of every request. A request that a middleware wants to be ignored (IgnoreRequest) is no failed page.
        If a spider middleware refuses a response, such as one with an error status, PageCollector commits the page.
        """
        request = failure.request  # type: ignore[attr-defined]
        reason = failure.value
        assert reason is not None
        if reason is self._context.fatal:
            return  # the error ends the run; the next run sends the request
        page = self._context.pages.collecting(request)
        if page is not None and isinstance(reason, Exception):
            page.refusal = reason
            if errback is None and not self._context.table.is_built_in:
                raise reason  # as Scrapy does: other spider middlewares may handle the exception
        elif is_ignored(reason):
            await self._ignored(request, reason)
        elif not isinstance(reason, HttpError):
            error, transient = translate_error(reason, request, self._context.session.proxy_for(request.url))
            logger.warning("%s", error)
            await self._context.committer.commit(Page(
                url=request.url, status=0, fetched_at=datetime.now(UTC), frontier_id=request.meta.get(FRONTIER_ID),
                error=str(error), error_kind=type(error).__name__, transient=transient,
                outcome=PageOutcome.FORBIDDEN if isinstance(error, FetchError) and error.what == FORBIDDEN else PageOutcome.FAILED,
                exchanges=request.meta.get(EXCHANGES, ()),
                **self._context.login_of(request.method, request.meta)))
        if errback is not None:
            output = errback(for_errback(failure))
            if inspect.iscoroutine(output):
                output = await output
            async for entry in as_async_generator(entries_of(output)):
                yield entry

    def _dropped(self, request: scrapy.Request, reason: IgnoreRequest) -> None:
        """Record a redirect or retry that Scrapy drops, because a listener of request_scheduled, such as OffsiteMiddleware, refuses it."""
        if FRONTIER_ID in request.meta:
            self._ignored(request, reason).add_done_callback(lambda done: done.exception())  # a failed commit also ends the run

    def _ignored(self, request: scrapy.Request, reason: BaseException) -> asyncio.Future[None]:
        """Commit a request that was ignored as done. Its page counts as empty, so no item of it is reported as gone."""
        why = clean_line(str(reason), 200)
        logger.info("%s is ignored: %s", shown_url(request.url), why or type(reason).__name__)
        self._context.failures.ignore(f"{shown_url(request.url)}{f' ({why})' if why else ''}")
        return self._context.committer.post(Page(
            url=request.url, status=0, fetched_at=datetime.now(UTC), frontier_id=request.meta.get(FRONTIER_ID), outcome=PageOutcome.IGNORED,
            exchanges=request.meta.get(EXCHANGES, ()),
            **self._context.login_of(request.method, request.meta)))

    def wake_engine(self) -> None:
        """Make Scrapy's engine call next_request() again."""
        engine_control.wake(self._crawler)


def to_model(request: scrapy.Request, spider: Spider, rules: RenderRules) -> Request:
    """Return a Scrapy request in the form that the frontier stores. rules: which pages are rendered.

    Raise NotStorableError if the request cannot be stored.
    """
    meta = {key: value for key, value in request.meta.items() if key not in _OWN_META}
    if request.meta.get("is_start_request"):
        meta[FROM_START] = True
    for name, value in (("meta", meta), ("cb_kwargs", request.cb_kwargs), ("cookies", request.cookies)):
        if value and not _is_json(value):
            raise NotStorableError(f"the {name} of the request for {request.url} cannot be stored as JSON")
    return Request(
        url=rules.address(request.url, request.meta), method=request.method, body=request.body, priority=request.priority,
        headers=tuple((name.decode("latin-1"), value.decode("latin-1"))
                      for name, values in request.headers.items() for value in values),
        encoding="" if request.encoding == "utf-8" else request.encoding,
        callback=_method_name(request.callback, spider), errback=_method_name(request.errback, spider),
        meta=meta, cb_kwargs=dict(request.cb_kwargs), cookies=request.cookies or None,
        depth=request.meta.get("depth", 0),
        # Start requests are never exempt from the duplicate filter, so that a resumed pass does not fetch them twice.
        dont_filter=request.dont_filter and not request.meta.get("is_start_request"))


def _is_json(value: Json) -> bool:
    try:
        return bool(json.loads(json.dumps(value)) == value)
    except (TypeError, ValueError):
        return False


def _method_name(function: Callable[..., Any] | None, spider: Spider) -> str:
    if function is None:
        return ""
    name = getattr(function, "__name__", "")
    if getattr(function, "__self__", None) is not spider or getattr(spider, name, None) != function:
        raise NotStorableError(f"the callback {function!r} is not a method of the spider")
    return name


def to_scrapy(queued: Queued, spider: Spider, failed: Callable[..., Any]) -> scrapy.Request:
    """Return a frontier row as a Scrapy request.

    failed: called if the request fails, with the spider's errback (or None) and the failure.
    """
    request = queued.request
    # Scrapy's OffsiteMiddleware lets requests with dont_filter go to any host, also after a redirect.
    anywhere = (request.dont_filter and not request.meta.get(FILTERED)) or bool(request.meta.get(FROM_START))
    meta = {name: value for name, value in request.meta.items() if name != FROM_START} | {
        FRONTIER_ID: queued.id, "verbatim_url": True}  # Scrapy percent-encodes characters that browsers do not encode
    if request.depth:
        meta["depth"] = request.depth
    return scrapy.Request(
        absolute(request.url, routes=True) or request.url, method=request.method, body=request.body, headers=list(request.headers) or None,
        encoding=request.encoding or "utf-8", meta=meta, cb_kwargs=request.cb_kwargs,
        cookies=request.cookies, priority=request.priority, dont_filter=anywhere,
        callback=_method(spider, request.callback), errback=partial(failed, _method(spider, request.errback)))


def _method(spider: Spider, name: str) -> Callable[..., Any] | None:
    if not name:
        return None
    found = getattr(spider, name, None)
    if found is None:
        raise SpiderError(f"the frontier has requests with the callback {name}(), which the spider no longer has", where=spider.name,
                          fix="restore the method, or let the next pass start from the beginning")
    return found  # type: ignore[no-any-return]


def translate_error(error: BaseException, request: scrapy.Request, proxy: str | None) -> tuple[PipelineError, bool]:
    """Return the error of a failed request as a PipelineError, and whether the error is transient.

    proxy: the proxy through which the request was sent, or None.
    """
    url = request.url
    cause = error.__cause__
    ours = cause if isinstance(cause, PipelineError) else error  # the cause if a rendered page failed, which was retried
    if isinstance(ours, PipelineError):
        return ours, ours.retry
    if isinstance(error, IgnoreRequest):
        return FetchError(str(error) or "a middleware of the spider rejected the request", where=url), False
    if proxy and (fault := proxy_fault(cause, url, proxy)):
        return fault, True  # transient, since the page may be available through a working proxy
    if isinstance(cause, (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError)):
        what, fix, _ = tls_fault(_ssl_error(cause), "the server")
        return TlsError(what, where=url, fix=fix), True
    if isinstance(cause, aiohttp.ClientConnectorDNSError):
        return FetchError("the host name cannot be resolved", where=url, retry=True), True
    if isinstance(cause, aiohttp.ClientConnectorError):  # aiohttp's message contains the memory address of an object
        number = cause.os_error.errno
        reason = os.strerror(number) if number else str(cause.os_error) or type(cause.os_error).__name__
        return FetchError(f"cannot connect to {cause.host}:{cause.port}: {reason}", where=url, retry=True), True
    if isinstance(error, DownloadCancelledError):
        # The content of the page is unknown. The error is transient, so that no item of the page is reported as gone.
        return FetchError(str(error), where=url, fix="increase the `max_page_size` setting"), True
    through = f" (through the proxy {shown_proxy(proxy)})" if proxy else ""
    return FetchError(f"{_what_failed(error)}{through}", where=url, retry=True), True


def _ssl_error(cause: aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError) -> ssl.SSLError:
    """Return the exception of Python's ssl module that an aiohttp exception contains."""
    inner = cause.certificate_error if isinstance(cause, aiohttp.ClientConnectorCertificateError) else cause.os_error
    return inner if isinstance(inner, ssl.SSLError) else ssl.SSLError(str(inner))


def _what_failed(error: BaseException) -> str:
    """Return the error message for a failed connection to the server."""
    cause = error.__cause__
    if isinstance(cause, aiohttp.ServerDisconnectedError):
        return "the server closed the connection before a response arrived"
    if isinstance(cause, aiohttp.ClientOSError) and cause.strerror:
        return f"the connection broke: {cause.strerror}"
    return str(error) or type(error).__name__
