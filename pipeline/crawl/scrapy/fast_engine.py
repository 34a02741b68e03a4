"""Shorter versions of the parts of Scrapy's engine that every page passes, and a start that can be stopped.

They know private names of a Scrapy we are pinned to; without the short ones all works the same, a fifth slower.
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
from scrapy.signalmanager import SignalManager
from scrapy.spidermiddlewares.referer import RefererMiddleware
from scrapy.utils.asyncgen import as_async_generator
from scrapy.utils.defer import aiter_errback, ensure_awaitable
from scrapy.utils.log import logformatter_adapter
from twisted.python.failure import Failure

from pipeline.crawl.collector import PageCollector

logger = logging.getLogger("scrapy.core.engine")


class FastCrawler(Crawler):
    """A crawler with the parts below."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.signals = ConnectedSignals(self)

    def _create_engine(self) -> ExecutionEngine:
        engine = FastEngine(self, lambda _: self.stop_async())
        # The engine makes its own, and none may be made twice.
        engine.scraper.__class__ = SequentialScraper
        engine.downloader.middleware.__class__ = DirectMiddlewares
        return engine


class FastEngine(ExecutionEngine):
    """One task takes a request from the scheduler to the end of its page, where Scrapy has three and seven Deferreds."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._pages: set[asyncio.Task[None]] = set()  # the loop itself holds them weakly

    async def _start_request_processing(self) -> None:
        """Ends at once when it was told to stop while it was still starting; Scrapy forgets that, and goes on."""
        if self.crawler.crawling:
            await super()._start_request_processing()
        else:
            await self.stop_async()

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
            result = await self._answer(request)
            slot.nextcall.schedule()
            if isinstance(result, Request):
                self.crawl(result)
            else:
                await self.scraper.scrape_in_sequence(result, request)  # type: ignore[attr-defined]
        except Exception:
            logger.exception("a page was not dealt with")
        finally:
            slot.remove_request(request)
            slot.nextcall.schedule()

    async def _answer(self, request: Request) -> Response | Request | Failure:
        """What the downloader and its middlewares make of a request. It is one of its active ones."""
        downloader = self.downloader
        try:
            result = await downloader.middleware.download_async(downloader._enqueue_request, request)
        except Exception:  # noqa: BLE001  the errback's, or told in the log
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
        """Scrapy's own line about each page is for debugging; to make it takes longer than to leave it out of the log."""
        return type(self.logformatter) is not LogFormatter or logger.isEnabledFor(logging.DEBUG)


class ConnectedSignals(SignalManager):
    """Sends only signals that somebody has connected to: of the six a page gives, most have no listener."""

    def __init__(self, sender: Any) -> None:
        super().__init__(sender)
        self._heard: dict[int, Any] = {}

    def connect(self, receiver: Any, signal: Any, **kwargs: Any) -> None:
        self._heard[id(signal)] = signal
        super().connect(receiver, signal, **kwargs)

    def send_catch_log(self, signal: Any, **kwargs: Any) -> list[tuple[Any, Any]]:
        heard = id(signal) in self._heard or id(dispatcher.Any) in self._heard
        return super().send_catch_log(signal, **kwargs) if heard else []


class DirectDownloader(Downloader):
    """A request that need not wait is downloaded at once, not by way of a queue, a Deferred and a further coroutine."""

    def needs_backout(self) -> bool:
        """Also while there is but one host, and it is busy: what would wait in its queue waits in the frontier instead."""
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
    """Awaits what of a middleware is to be awaited, and wraps nothing else in a coroutine."""

    @cached_property
    def _request_methods(self) -> list[Callable[..., Any]]:
        return [self._callable(method) for method in self.methods["process_request"]]

    @cached_property
    def _response_methods(self) -> list[Callable[..., Any]]:
        return [self._callable(method) for method in self.methods["process_response"]]

    def _callable(self, method: Any) -> Callable[..., Any]:
        """What to call: the method itself, unless it takes the spider as an argument. Scrapy checks that for each page."""
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
        raise TypeError(f"{method.__qualname__} gave {type(found).__name__}, not a Response or Request")
    return found


class SequentialScraper(Scraper):
    """What a page gives is dealt with in turn: the collector lets next to nothing through, for which Scrapy starts two
    tasks and a queue."""

    async def scrape_in_sequence(self, result: Response | Failure, request: Request) -> None:
        """As enqueue_scrape(), in the task of the request."""
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
        """A page goes from its callback straight to the collector where no other middleware takes anything of it."""
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
        """Of the built-in spiders, whose pages are kept from their callbacks by their status alone."""
        methods = self.spidermw.methods
        takers = [method.__self__ for method in methods["process_spider_output"] if method is not None]  # type: ignore[attr-defined]
        alone = len(takers) == 1 and len(methods["process_spider_input"]) == 1
        return takers[0] if alone and isinstance(takers[0], PageCollector) else None

    async def handle_spider_output_async(self, result: Any, request: Request, response: Response | Failure) -> None:
        async for output in aiter_errback(as_async_generator(result), self.handle_spider_error, request, response):
            await self._process_spidermw_output_async(output, response)


class RefererOnRedirects(RefererMiddleware):
    """Looks after the Referer of redirects only: it need not see what a callback yields."""

    process_spider_output = None  # type: ignore[assignment]
    process_spider_output_async = None  # type: ignore[assignment]
