"""The slot of Scrapy's engine: whether its spider is closing, and a call that makes it ask for requests again.

Scrapy has no public interface for either. Without the private name `_slot` a crawl goes on: the engine asks again every five
seconds by itself. A test fails on the day the name changes.
"""

from __future__ import annotations

import asyncio
from typing import Any

from scrapy.core.engine import ExecutionEngine
from scrapy.crawler import Crawler

STARTING_S = 0.01
"""How often a stop checks whether the engine has started."""


def opened_engine(crawler: Crawler) -> ExecutionEngine | None:
    """The engine; None before the crawl has started, and when it could not start."""
    try:
        return crawler.engine
    except RuntimeError:
        return None


async def stop(crawler: Crawler) -> None:
    """Stop the crawl, once its engine runs: Scrapy ignores a stop that comes before, and would wait for requests for ever."""
    while (engine := opened_engine(crawler)) is None or not engine.running:  # noqa: ASYNC110  Scrapy has no event for it
        await asyncio.sleep(STARTING_S)
    await crawler.stop_async()


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
