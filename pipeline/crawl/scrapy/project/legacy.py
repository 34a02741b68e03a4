"""Adapt code for older versions of Scrapy: start_requests() and synchronous spider middlewares."""

from __future__ import annotations

import inspect
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


def takes_lists(middleware: Any) -> bool:
    """Return whether process_spider_output() of a spider middleware is no asynchronous generator, so that Scrapy would refuse the middleware."""
    method = getattr(middleware, "process_spider_output", None)
    return inspect.isfunction(method) and not (inspect.isasyncgenfunction(method) or inspect.iscoroutinefunction(method)
                                               or hasattr(middleware, "process_spider_output_async"))


def with_lists(middleware: type) -> type:
    """Return a subclass of such a middleware that Scrapy accepts. Its process_spider_output() gets the whole output of a callback as a list."""
    method: Any = middleware.process_spider_output  # type: ignore[attr-defined]
    wants_spider = "spider" in inspect.signature(method).parameters

    async def process_spider_output(self: Any, response: Any, result: AsyncIterator[Any]) -> AsyncIterator[Any]:
        for each in method(self, response, [found async for found in result]) or ():
            yield each

    async def with_spider(self: Any, response: Any, result: AsyncIterator[Any], spider: Any) -> AsyncIterator[Any]:
        for each in method(self, response, [found async for found in result], spider) or ():
            yield each

    return type(middleware.__name__, (middleware,), {"__module__": middleware.__module__, "__qualname__": middleware.__qualname__,
                                                     "process_spider_output": with_spider if wants_spider else process_spider_output})
