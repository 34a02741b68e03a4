"""Ask a project's own duplicate filter (DUPEFILTER_CLASS) before requests enter the frontier."""

from __future__ import annotations

import scrapy
from scrapy import signals
from scrapy.crawler import Crawler
from scrapy.dupefilters import BaseDupeFilter
from scrapy.utils.defer import ensure_awaitable
from scrapy.utils.misc import build_from_crawler, load_object

FILTERED = "pipeline_filtered"
"""The meta key of requests that the filter of the project has let through: their dont_filter means only that the frontier compares them with none."""
_SCRAPYS = "scrapy.dupefilters.RFPDupeFilter"


class ProjectDupeFilter:
    """The duplicate filter of a project. It is in memory: after a kill, the next run of the pass starts with an empty filter."""

    def __init__(self, crawler: Crawler, found: BaseDupeFilter) -> None:
        self._crawler = crawler
        self._filter = found
        crawler.signals.connect(self._opened, signal=signals.spider_opened)
        crawler.signals.connect(self._closed, signal=signals.spider_closed)

    @classmethod
    def of(cls, crawler: Crawler) -> ProjectDupeFilter | None:
        """Return the filter of the settings; None if it is Scrapy's own, whose work the frontier does."""
        name = crawler.settings["DUPEFILTER_CLASS"]
        if load_object(name) is load_object(_SCRAPYS):
            return None
        return cls(crawler, build_from_crawler(load_object(name), crawler))

    def new(self, request: scrapy.Request) -> scrapy.Request | None:
        """Return the request as it is put into the frontier, which then compares it with no other; None if the filter has seen it."""
        if request.dont_filter:  # the spider may have copied the meta of a response
            return request if FILTERED not in request.meta else request.replace(meta={k: v for k, v in request.meta.items() if k != FILTERED})
        if self._filter.request_seen(request):
            assert self._crawler.spider is not None
            self._filter.log(request, self._crawler.spider)
            return None
        return request.replace(dont_filter=True, meta={**request.meta, FILTERED: True})

    async def _opened(self) -> None:
        if hasattr(self._filter, "open"):
            await ensure_awaitable(self._filter.open())

    async def _closed(self, reason: str) -> None:
        if hasattr(self._filter, "close"):
            await ensure_awaitable(self._filter.close(reason))
