"""Say in a run's line what Scrapy's extensions did.

Why one closed the spider, and which feeds were written.
"""

from __future__ import annotations

from typing import Any

from scrapy import signals
from scrapy.crawler import Crawler

from pipeline.crawl.context import CrawlContext
from pipeline.text import clean_line, counted, shown_url

_ENDED_BY_ITSELF = ("finished", "shutdown")
_UNNAMED = "cancelled"
_FEED_FAILURES = "feedexport/failed_count/"


class CrawlWatch:
    """Listens to the signals of a crawl, and writes notes into its context."""

    def __init__(self, crawler: Crawler, context: CrawlContext) -> None:
        self._crawler = crawler
        self._context = context
        self._failed = 0
        crawler.signals.connect(self._closed, signal=signals.spider_closed)
        crawler.signals.connect(self._feed_written, signal=signals.feed_slot_closed)

    def _closed(self, reason: str) -> None:
        """Mark the crawl as not complete if something closed the spider, such as the extension CloseSpider."""
        if reason in _ENDED_BY_ITSELF or self._context.stopping() or self._context.fatal is not None:
            return
        self._context.capped = True
        if reason != _UNNAMED:
            self._context.note(f"closed early ({clean_line(reason, 80)})")

    def _feed_written(self, slot: Any) -> None:
        uri = clean_line(shown_url(slot.uri) if "://" in slot.uri else slot.uri, 200)
        failed = sum(int(count) for name, count in self._crawler.stats.get_stats().items() if name.startswith(_FEED_FAILURES))
        if failed > self._failed:
            self._failed = failed
            self._context.note(f"the feed {uri} could not be stored; see the log of the run")
        else:
            self._context.note(f"{counted(slot.itemcount, 'item')} exported to {uri}")
