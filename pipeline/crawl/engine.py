"""Parts of Scrapy's engine that every page passes, made short for what we use of them, and its start made stoppable.

They know private names of a Scrapy we are pinned to; without the short ones all works the same, a tenth slower.
"""

from __future__ import annotations

from typing import Any

from pydispatch import dispatcher  # type: ignore[import-untyped]
from scrapy import signals
from scrapy.core.downloader import Downloader
from scrapy.core.engine import ExecutionEngine
from scrapy.core.scraper import Scraper
from scrapy.crawler import Crawler
from scrapy.http import Request, Response
from scrapy.signalmanager import SignalManager
from scrapy.spidermiddlewares.referer import RefererMiddleware
from scrapy.utils.asyncgen import as_async_generator
from scrapy.utils.defer import aiter_errback
from twisted.python.failure import Failure


class PageCrawler(Crawler):
    """A crawler with the parts below."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.signals = HeardSignals(self)

    def _create_engine(self) -> ExecutionEngine:
        engine = StoppableEngine(self, lambda _: self.stop_async())
        engine.scraper.__class__ = InTurnScraper  # the engine makes its own, and none may be made twice
        return engine


class StoppableEngine(ExecutionEngine):
    """Ends at once when it was told to stop while it was still starting; Scrapy's forgets that, and goes on."""

    async def _start_request_processing(self) -> None:
        if self.crawler.crawling:
            await super()._start_request_processing()
        else:
            await self.stop_async()


class HeardSignals(SignalManager):
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


class InTurnScraper(Scraper):
    """What a page gives is dealt with in turn: the collector lets next to nothing through, for which Scrapy starts two
    tasks and a queue."""

    async def handle_spider_output_async(self, result: Any, request: Request, response: Response | Failure) -> None:
        async for output in aiter_errback(as_async_generator(result), self.handle_spider_error, request, response):
            await self._process_spidermw_output_async(output, response)


class RefererOnRedirects(RefererMiddleware):
    """Looks after the Referer of redirects only: it need not see what a callback yields."""

    process_spider_output = None  # type: ignore[assignment]
    process_spider_output_async = None  # type: ignore[assignment]
