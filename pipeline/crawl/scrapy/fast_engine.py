"""Faster subclasses of the classes of Scrapy's engine that handle every page.

These classes use private names of Scrapy, and are therefore used only with the versions that engine.py lists. With Scrapy's own
classes, a crawl gives the same results but takes a fifth longer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import cached_property, partial, wraps
from typing import Any

from pydispatch import dispatcher  # type: ignore[import-untyped]
from scrapy import signals
from scrapy.core.downloader import Downloader
from scrapy.core.downloader.middleware import DownloaderMiddlewareManager
from scrapy.core.engine import ExecutionEngine
from scrapy.core.scraper import Scraper
from scrapy.crawler import Crawler
from scrapy.http import Request, Response
from scrapy.logformatter import LogFormatter
from scrapy.settings import Settings
from scrapy.spiders import Spider
from scrapy.utils.asyncgen import as_async_generator
from scrapy.utils.defer import aiter_errback, ensure_awaitable
from scrapy.utils.log import logformatter_adapter
from twisted.python.failure import Failure

from pipeline.crawl.collector import PageCollector
from pipeline.crawl.context import context_of
from pipeline.crawl.scrapy.frontier_signals import FrontierSignals

logger = logging.getLogger("scrapy.core.engine")


class FastCrawler(Crawler):
    """A Scrapy crawler that uses the faster classes of this module."""

    def __init__(self, spidercls: type[Spider], settings: Settings) -> None:
        settings.set("DOWNLOADER", DirectDownloader, priority="cmdline")
        super().__init__(spidercls, settings)
        self.signals = ConnectedSignals(self)

    def _create_engine(self) -> ExecutionEngine:
        engine = FastEngine(self, lambda _: self.stop_async())
        # The engine has already created these two objects and must not create them again, so only their class is changed.
        engine.scraper.__class__ = SequentialScraper
        engine.downloader.middleware.__class__ = DirectMiddlewares
        return engine


class FastEngine(ExecutionEngine):
    """Handles each request in one asyncio task, from the scheduler to the commit of the page.

    Scrapy uses three tasks and seven Deferreds for each request.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._pages: set[asyncio.Task[None]] = set()  # the event loop has only weak references to tasks

    def _start_scheduled_request(self) -> bool:
        slot = self._slot
        assert slot is not None
        request = slot.scheduler.next_request()
        if request is None:
            self.signals.send_catch_log(signals.scheduler_empty)
            return False
        slot.add_request(request)
        self.downloader.active.add(request)
        task = asyncio.create_task(self._page(request))
        self._pages.add(task)
        task.add_done_callback(self._pages.discard)
        return True

    async def _page(self, request: Request) -> None:
        slot = self._slot
        assert slot is not None
        try:
            result = await self._result(request)
            slot.nextcall.schedule()
            if isinstance(result, Request):
                self.crawl(result)
            else:
                await self.scraper.scrape_in_sequence(result, request)  # type: ignore[attr-defined]
        except Exception:
            logger.exception("an unexpected error occurred while %s was processed", request.url)
        finally:
            slot.remove_request(request)
            slot.nextcall.schedule()

    async def _result(self, request: Request) -> Response | Request | Failure:
        """Send a request through the downloader and its middlewares, and return the result.

        The request must be in downloader.active, from which this method removes it.
        """
        downloader = self.downloader
        try:
            result = await downloader.middleware.download_async(downloader._enqueue_request, request)
        except Exception:  # noqa: BLE001  the errback handles the failure, or the scraper logs the failure
            return Failure()  # type: ignore[no-untyped-call]
        finally:
            downloader.active.remove(request)
        if isinstance(result, Response):
            if result.request is None:
                result.request = request
            if self._logs_pages and self.spider is not None:
                told = self.logformatter.crawled(result.request, result, self.spider)
                if told is not None:
                    logger.log(*logformatter_adapter(told), extra={"spider": self.spider})
            self.signals.send_catch_log(signals.response_received, response=result, request=result.request, spider=self.spider)
        return result

    @cached_property
    def _logs_pages(self) -> bool:
        """Whether to create Scrapy's log message about each page.

        The message has the level DEBUG, unless the spider has its own log formatter.
        """
        return type(self.logformatter) is not LogFormatter or logger.isEnabledFor(logging.DEBUG)


class ConnectedSignals(FrontierSignals):
    """Sends only signals that have a receiver. Most of the six signals for each page have no receiver."""

    def __init__(self, sender: Any) -> None:
        super().__init__(sender)
        self._heard: dict[int, Any] = {}

    def connect(self, receiver: Any, signal: Any, **kwargs: Any) -> None:
        self._heard[id(signal)] = signal
        super().connect(receiver, signal, **kwargs)

    def send_catch_log(self, signal: Any, **kwargs: Any) -> list[tuple[Any, Any]]:
        heard = id(signal) in self._heard or id(dispatcher.Any) in self._heard
        return super().send_catch_log(signal, **kwargs) if heard else []

    async def send_catch_log_async(self, signal: Any, **kwargs: Any) -> list[tuple[Any, Any]]:
        heard = id(signal) in self._heard or id(dispatcher.Any) in self._heard
        return await super().send_catch_log_async(signal, **kwargs) if heard else []


class DirectDownloader(Downloader):
    """Downloads a request immediately, without Scrapy's queue, if no delay or limit makes it wait."""

    def needs_backout(self) -> bool:
        """Return whether the engine must not take more requests from the scheduler now.

        If the crawl has only one host and this host is busy, the result is also True, so that requests wait in the frontier and
        not in Scrapy's queue.
        """
        if len(self.slots) == 1 and len(self.active) >= next(iter(self.slots.values())).concurrency:
            return True
        return super().needs_backout()

    async def _enqueue_request(self, request: Request) -> Response:
        key, slot = self._get_slot(request)
        if slot.queue or slot.latercall or slot.download_delay() or slot.free_transfer_slots() <= 0:
            return await super()._enqueue_request(request)
        request.meta[self.DOWNLOAD_SLOT] = key
        slot.active.add(request)
        self.signals.send_catch_log(signal=signals.request_reached_downloader, request=request, spider=self.crawler.spider)
        try:
            return await self._download(slot, request)
        finally:
            slot.active.remove(request)


class DirectMiddlewares(DownloaderMiddlewareManager):
    """Calls the downloader middlewares directly, and awaits a result only if it is awaitable."""

    @cached_property
    def _request_methods(self) -> list[Callable[..., Any]]:
        return [self._callable(method) for method in self.methods["process_request"]]

    @cached_property
    def _response_methods(self) -> list[Callable[..., Any]]:
        return [self._callable(method) for method in self.methods["process_response"]]

    def _callable(self, method: Any) -> Callable[..., Any]:
        """Return a middleware's method, or a wrapper that adds the argument `spider` if the method needs it.

        Scrapy itself makes this check for every page.
        """
        if method not in self._mw_methods_requiring_spider:
            return method  # type: ignore[no-any-return]
        return wraps(method)(partial(self._handle_mw_method, method))

    async def _process_request(self, request: Request, download_func: Callable[[Request], Awaitable[Response]]) -> Any:
        for method in self._request_methods:
            found = method(request=request)
            if found is not None:
                found = await ensure_awaitable(found)
                if found is not None:
                    return _checked(method, found)
        return await download_func(request)

    async def _process_response(self, response: Any, request: Request) -> Any:
        for method in self._response_methods if isinstance(response, Response) else ():
            found = method(request=request, response=response)
            if found is not response:
                found = await ensure_awaitable(found)
                if isinstance(_checked(method, found), Request):
                    return found
                response = found
        return response


def _checked(method: Any, found: Any) -> Any:
    if not isinstance(found, (Response, Request)):
        raise TypeError(f"{method.__qualname__} returned a {type(found).__name__} instead of a Response or Request")
    return found


class SequentialScraper(Scraper):
    """Handles the output of a page in the asyncio task of the page's request.

    Scrapy's own scraper uses two more tasks and a queue for this, which would only cost time, because PageCollector passes no output on.
    """

    async def scrape_in_sequence(self, result: Response | Failure, request: Request) -> None:
        """Do the work of Scrapy's enqueue_scrape() in the task of the request."""
        slot = self.slot
        assert slot is not None
        slot.add_response_request(result, request)
        slot.next_response_request_deferred()
        try:
            await self._scrape(result, request)
        finally:
            slot.finish_response(result, request)
            self._check_if_closing()

    async def _scrape(self, result: Response | Failure, request: Request) -> None:
        """Pass the output of a callback directly to PageCollector if no other spider middleware processes it."""
        collector = self._collector
        if collector is None or not isinstance(result, Response) or not 200 <= result.status < 300:
            await super()._scrape(result, request)
            return
        assert result.request is not None
        assert self.crawler.spider is not None
        callback = result.request.callback or self.crawler.spider._parse
        try:
            await collector.collect(result, callback(result, **result.request.cb_kwargs))
        except Exception:  # noqa: BLE001  a spider may raise anything
            self.handle_spider_error(Failure(), request, result)  # type: ignore[no-untyped-call]

    @cached_property
    def _collector(self) -> PageCollector | None:
        """The PageCollector; None if another spider middleware also processes the output or the exceptions of callbacks."""
        if not context_of(self.crawler).table.is_built_in:
            return None
        methods = self.spidermw.methods
        takers = [method.__self__ for method in methods["process_spider_output"] if method is not None]  # type: ignore[attr-defined]
        alone = len(takers) == 1 and len(methods["process_spider_input"]) == 1
        return takers[0] if alone and isinstance(takers[0], PageCollector) else None

    async def handle_spider_output_async(self, result: Any, request: Request, response: Response | Failure) -> None:
        async for output in aiter_errback(as_async_generator(result), self.handle_spider_error, request, response):
            await self._process_spidermw_output_async(output, response)
