"""The limit of requests to one host can change during a crawl, on both engines."""

from __future__ import annotations

import threading

import pytest

from tests.crawl.conftest import Crawls
from tests.servers.pages import Answer, Asked, PageSite

SPIDER = """
import scrapy

class Limits(scrapy.Spider):
    key = "id"

    def parse(self, response):
        self.crawler.engine.scheduler.limit_requests(2)
        for number in range(1, 20):
            yield response.follow(f"/{number}", self.parse_page)

    def parse_page(self, response):
        yield {"id": response.url}
"""


@pytest.mark.parametrize("fast", [True, False])
def test_a_lower_limit_of_requests_to_one_host_holds_as_soon_as_it_is_set(crawls: Crawls, fast: bool) -> None:
    lock, in_flight, most = threading.Lock(), 0, 0
    pairs = threading.Barrier(2)

    def page(_: Asked) -> Answer:
        nonlocal in_flight, most
        with lock:
            in_flight += 1
            most = max(most, in_flight)
        pairs.wait(30)  # so that two are always in flight, and a third would be seen
        with lock:
            in_flight -= 1
        return Answer("<p>one</p>")

    with PageSite({f"/{number}": page for number in range(1, 19)} | {"/0": "", "/19": ""}) as site:
        (crawls.folder / "own.py").write_text(SPIDER)
        crawls.write(f"""fast_engine = {str(fast).lower()}
            [spiders.s]
            spider = "own:Limits"
            start = "{site.url}/0"
            robots = false
            concurrency = 8
        """)
        run = crawls.run()
        assert (run.complete, run.progress.items) == (True, 19), run.error
        assert most == 2
