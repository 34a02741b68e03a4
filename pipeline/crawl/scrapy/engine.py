"""Which engine a crawl runs on: the fast one where this version of Scrapy was tested with it, otherwise Scrapy's own."""

from __future__ import annotations

import logging

import scrapy
from scrapy.crawler import Crawler

TESTED = ("2.19",)
"""Versions of Scrapy on which tests/crawl/scrapy/test_fast_engine.py passed: fast_engine.py knows private names of theirs."""

logger = logging.getLogger(__name__)


def crawler_class(*, fast: bool) -> type[Crawler]:
    """FastCrawler, or Scrapy's own where `fast` is false or this version was not tested."""
    if fast and is_tested(scrapy.__version__):
        from pipeline.crawl.scrapy.fast_engine import FastCrawler  # noqa: PLC0415  may fail with a version that was not tested
        return FastCrawler
    logger.debug("crawling with the engine of Scrapy %s", scrapy.__version__)
    return Crawler


def is_tested(version: str) -> bool:
    return ".".join(version.split(".")[:2]) in TESTED
