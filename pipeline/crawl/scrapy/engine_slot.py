"""The slot of Scrapy's engine: whether its spider is closing, and a call that makes it ask for requests again.

Scrapy has no public interface for either. Without the private name `_slot` a crawl goes on: the engine asks again every five
seconds by itself. A test fails on the day the name changes.
"""

from __future__ import annotations

from typing import Any

from scrapy.core.engine import ExecutionEngine
from scrapy.crawler import Crawler


def opened_engine(crawler: Crawler) -> ExecutionEngine | None:
    """The engine; None before the crawl has started, and when it could not start."""
    try:
        return crawler.engine
    except RuntimeError:
        return None


def is_open(crawler: Crawler) -> bool:
    """Whether the engine still issues requests: its spider is open and is not being closed."""
    slot = _slot(crawler)
    return slot is not None and not slot.closing


def wake(crawler: Crawler) -> None:
    """Make the engine ask its scheduler for requests again."""
    slot = _slot(crawler)
    if slot is not None:
        slot.nextcall.schedule()


def _slot(crawler: Crawler) -> Any:
    return getattr(crawler.engine, "_slot", None)
