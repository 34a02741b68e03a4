"""The window of a frontier that is read from the store in parts."""

from __future__ import annotations

import time
from typing import Any

import pytest

from pipeline.crawl.frontier import scheduler
from pipeline.store.crawl.frontier import Queued
from tests.crawl.conftest import Crawls
from tests.servers.pages import PageSite

PAGES = 40


@pytest.mark.parametrize(("before_s", "after_s"), [(0.0, 0.0), (0.1, 0.0), (0.0, 0.1), (0.05, 0.2)])
def test_each_page_is_fetched_once_even_when_the_store_returns_its_row_late(crawls: Crawls, site: PageSite, before_s: float, after_s: float,
                                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that the store returns late may have been queued, fetched and committed meanwhile."""
    waiting = scheduler.stored_frontier.waiting

    def wait_slowly(*arguments: Any, **options: Any) -> list[Queued]:
        time.sleep(before_s)
        found = waiting(*arguments, **options)
        time.sleep(after_s)
        return found
    monkeypatch.setattr(scheduler.stored_frontier, "waiting", wait_slowly)
    monkeypatch.setattr(scheduler, "WINDOW", 4)
    monkeypatch.setattr(scheduler.FrontierScheduler, "refill_below", 4)
    site.pages["/"] = "<a class=n href=/p/0>0</a>"
    for number in range(PAGES):
        site.pages[f"/p/{number}"] = "".join(f"<a class=n href=/p/{after}>next</a>" for after in range(number + 1, min(number + 6, PAGES)))
    crawls.write(f"""
        [spiders.s]
        start = "{site.url}/"
        follow = ["a.n"]
        robots = false
        """)
    assert crawls.run().complete
    asked = [asked.path for asked in site.asked if asked.path.startswith("/p/")]
    assert sorted(asked) == sorted(f"/p/{number}" for number in range(PAGES))
