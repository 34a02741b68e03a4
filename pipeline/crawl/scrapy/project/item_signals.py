"""Send the signals about items that Scrapy's scraper sends: item_scraped, item_dropped and item_error, and write their log lines.

Extensions, such as the feed exporter, listen to them.
"""

from __future__ import annotations

import logging
from typing import Any

from scrapy import signals
from scrapy.crawler import Crawler
from scrapy.exceptions import DropItem
from scrapy.http import Response
from scrapy.logformatter import LogFormatter
from scrapy.utils.log import logformatter_adapter
from twisted.python.failure import Failure

logger = logging.getLogger("scrapy.core.scraper")


class ItemSignals:
    """The signals about the items that a page yields. PageCollector sends them, since it passes no items on to the scraper."""

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

    @property
    def _spider(self) -> Any:
        return self._crawler.spider

    def _log(self, entry: Any, exc_info: Exception | None = None) -> None:
        if entry is not None:
            logger.log(*logformatter_adapter(entry), extra={"spider": self._spider}, exc_info=exc_info)
