"""Send the signals that Scrapy would send about a page's output, and log the items.

Extensions, such as the feed exporter, listen to them.
"""

from __future__ import annotations

import logging
from typing import Any

from scrapy import Request, signals
from scrapy.crawler import Crawler
from scrapy.exceptions import DropItem
from scrapy.http import Response
from scrapy.logformatter import LogFormatter
from scrapy.utils.log import logformatter_adapter
from twisted.python.failure import Failure

from pipeline.crawl.scrapy.frontier_signals import FrontierSignals

logger = logging.getLogger("scrapy.core.scraper")


class ItemSignals:
    """The signals about the output of a page and about errors. PageCollector sends them, since it passes nothing on to the scraper."""

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        # The log message about each item has the level DEBUG, unless the spider has its own log formatter.
        self._logs_items = type(crawler.logformatter) is not LogFormatter or logger.isEnabledFor(logging.DEBUG)

    async def scraped(self, item: Any, response: Response) -> None:
        if self._logs_items:
            self._log(self._crawler.logformatter.scraped(item, response, self._spider))
        await self._crawler.signals.send_catch_log_async(signals.item_scraped, item=item, response=response, spider=self._spider)

    async def dropped(self, item: Any, reason: DropItem, response: Response) -> None:
        self._log(self._crawler.logformatter.dropped(item, reason, response, self._spider))
        await self._crawler.signals.send_catch_log_async(signals.item_dropped, item=item, response=response, spider=self._spider,
                                                         exception=reason)

    async def failed(self, item: Any, error: Exception, response: Response) -> None:
        self._log(self._crawler.logformatter.item_error(item, error, response, self._spider), exc_info=error)
        await self._crawler.signals.send_catch_log_async(signals.item_error, item=item, response=response, spider=self._spider,
                                                         failure=Failure(error))  # type: ignore[no-untyped-call]

    def scheduled(self, request: Request) -> bool:
        """Send request_scheduled, and return whether the request may be fetched: Scrapy's OffsiteMiddleware refuses it outside allowed_domains."""
        assert isinstance(self._crawler.signals, FrontierSignals)
        return not self._crawler.signals.refused(request, self._spider)

    def spider_failed(self, error: Exception, response: Response) -> None:
        """Send spider_error, which CLOSESPIDER_ERRORCOUNT counts, and count the error in the statistics."""
        self._crawler.signals.send_catch_log(signals.spider_error, failure=Failure(error), response=response,  # type: ignore[no-untyped-call]
                                             spider=self._spider)
        assert self._crawler.stats is not None
        self._crawler.stats.inc_value("spider_exceptions/count")
        self._crawler.stats.inc_value(f"spider_exceptions/{type(error).__name__}")

    @property
    def _spider(self) -> Any:
        return self._crawler.spider

    def _log(self, entry: Any, exc_info: Exception | None = None) -> None:
        if entry is not None:
            logger.log(*logformatter_adapter(entry), extra={"spider": self._spider}, exc_info=exc_info)
