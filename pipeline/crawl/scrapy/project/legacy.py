"""Spiders that were written for older versions of Scrapy: start_requests()."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import scrapy
from scrapy import Spider
from scrapy.utils.asyncgen import as_async_generator

START_REQUESTS = ("the spider has start_requests(), which Scrapy itself no longer calls; replace it by `async def start(self)`, which yields the same "
                  "requests")


def is_legacy(spidercls: type[Spider]) -> bool:
    """Return whether a spider has start_requests() and no start() of its own, so that Scrapy would ignore its start requests."""
    return spidercls.start is Spider.start and callable(getattr(spidercls, "start_requests", None))


class StartRequests:
    """The method start_requests() of older versions of Scrapy, for spiders that call super().start_requests().

    A subclass of a spider has this class as its last base class.
    """

    start_urls: list[str]

    def start_requests(self) -> Iterator[scrapy.Request]:
        for url in self.start_urls:
            yield scrapy.Request(url, dont_filter=True)


async def start(spider: Any) -> AsyncIterator[Any]:
    """Yield what start_requests() of a spider returns; this becomes the start() of the spider."""
    async for each in as_async_generator(spider.start_requests() or ()):
        yield each
