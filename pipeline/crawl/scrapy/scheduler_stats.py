"""Count in Scrapy's statistics what the frontier does in place of Scrapy's scheduler."""

from __future__ import annotations

from scrapy.crawler import Crawler


class SchedulerStats:
    """The statistics of Scrapy's scheduler and duplicate filter, which extensions and pipelines of spiders read."""

    def __init__(self, crawler: Crawler) -> None:
        assert crawler.stats is not None
        self._stats = crawler.stats

    def added(self, new: int, known: int) -> None:
        """Count requests that were added to the frontier (`new`), and those that were in it already (`known`)."""
        self.enqueued(new)
        if known:
            self._stats.inc_value("dupefilter/filtered", known)

    def enqueued(self, number: int = 1) -> None:
        self._count("enqueued", number)

    def dequeued(self) -> None:
        self._count("dequeued", 1)

    def _count(self, what: str, number: int) -> None:
        if number:
            for name in (f"scheduler/{what}", f"scheduler/{what}/memory"):
                self._stats.inc_value(name, number)
