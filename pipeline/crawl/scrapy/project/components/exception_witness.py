"""A spider middleware that notes which exceptions the middlewares of a spider may handle.

So each page is committed once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from scrapy.crawler import Crawler
from scrapy.http import Response

from pipeline.crawl.context import context_of
from pipeline.crawl.page_in_progress import PagesInProgress


class ExceptionWitness:
    """Notes each exception before the next middleware may handle it, and handles none itself."""

    def __init__(self, pages: PagesInProgress) -> None:
        self._pages = pages

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        return cls(context_of(crawler).pages)

    def process_spider_exception(self, response: Response, exception: Exception) -> None:
        self._pages.of(response).offered(exception)


def with_witnesses(middlewares: Mapping[Any, float]) -> dict[Any, int]:
    """Return spider middlewares in the same order, with a witness behind each of them.

    An exception of a callback is offered to all middlewares, the last one first; an exception of a middleware, to those in front of it.
    Each witness is a class of its own, since the setting SPIDER_MIDDLEWARES may name a class once.
    """
    ordered = sorted(middlewares, key=lambda each: middlewares[each])
    return {each: 2 * number for number, each in enumerate(ordered)} | {
        type(f"ExceptionWitness{number}", (ExceptionWitness,), {}): 2 * number + 1 for number in range(len(ordered))}
