"""Choose the engine of a crawl: the fast engine with tested versions of Scrapy, else Scrapy's own."""

from __future__ import annotations

import logging

import scrapy
from scrapy.crawler import Crawler

TESTED = ("2.19",)
"""The versions of Scrapy with which tests/crawl/scrapy/test_fast_engine.py passes. fast_engine.py uses private names of Scrapy."""

logger = logging.getLogger(__name__)


def crawler_class(*, fast: bool) -> type[Crawler]:
    """Return FastCrawler, or Scrapy's own class if `fast` is False or the installed version of Scrapy was not tested."""
    if fast and is_tested(scrapy.__version__):
        from pipeline.crawl.scrapy.fast_engine import FastCrawler  # noqa: PLC0415  may fail with a version that was not tested
        return FastCrawler
    logger.debug("this crawl uses the engine of Scrapy %s instead of the faster engine", scrapy.__version__)
    return Crawler


def is_tested(version: str) -> bool:
    return ".".join(version.split(".")[:2]) in TESTED
