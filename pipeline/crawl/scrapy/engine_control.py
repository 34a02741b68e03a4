"""Control Scrapy's engine from outside: stop a crawl, wake the engine, limit its requests.

Scrapy has no public interface to wake its engine, or to find out whether its spider is being closed. If Scrapy renames the
private attribute `_slot`, the engine can no longer be woken: it looks for requests only every five seconds, follower processes get no pages, and a test
fails.
"""

from __future__ import annotations

import asyncio
from typing import Any

from scrapy.core.engine import ExecutionEngine
from scrapy.crawler import Crawler

STARTING_S = 0.01
"""The seconds between two checks whether the engine has started, before a crawl can be stopped."""


def opened_engine(crawler: Crawler) -> ExecutionEngine | None:
    """Return the engine, or None if the crawl has not started or could not start."""
    try:
        return crawler.engine
    except RuntimeError:
        return None


async def stop(crawler: Crawler) -> None:
    """Stop the crawl. If the engine is not running yet, wait until it is running.

    Scrapy would ignore a stop that is requested before its engine runs, and then wait for requests for ever.
    """
    while (engine := opened_engine(crawler)) is None or not engine.running:  # noqa: ASYNC110  Scrapy has no event for it
        await asyncio.sleep(STARTING_S)
    await crawler.stop_async()


def is_open(crawler: Crawler) -> bool:
    """Return whether the engine still sends requests: its spider is open and is not being closed."""
    slot = _slot(crawler)
    return slot is not None and not slot.closing


def wake(crawler: Crawler) -> None:
    """Make the engine ask its scheduler for requests again."""
    slot = _slot(crawler)
    if slot is not None:
        slot.nextcall.schedule()


def limit_requests(crawler: Crawler, per_host: int) -> None:
    """Change how many requests to one host the engine sends at the same time."""
    assert crawler.engine is not None
    downloader = crawler.engine.downloader
    downloader.domain_concurrency = per_host  # for hosts that have no slot yet
    for slot in downloader.slots.values():
        slot.concurrency = per_host
    wake(crawler)


def _slot(crawler: Crawler) -> Any:
    return getattr(crawler.engine, "_slot", None)
