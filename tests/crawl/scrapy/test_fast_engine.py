"""The shorter versions of Scrapy's parts do what Scrapy's own do."""

from __future__ import annotations

import pytest
from scrapy.core.downloader import Downloader
from scrapy.core.downloader.middleware import DownloaderMiddlewareManager
from scrapy.core.engine import ExecutionEngine
from scrapy.core.scraper import Scraper
from scrapy.crawler import Crawler
from scrapy.http import Headers, Response
from scrapy.utils.test import get_crawler

from pipeline.crawl.scrapy.engine import crawler_class, is_tested
from pipeline.crawl.scrapy.fast_engine import FastCrawler
from pipeline.crawl.scrapy.octet_headers import received_headers
from tests.crawl.conftest import Crawls
from tests.servers.pages import Answer, PageSite

OWN_MIDDLEWARES = """
import scrapy

class WantsTheSpider:
    def process_request(self, request, spider):
        request.headers["X-Spider"] = spider.name

    def process_response(self, request, response, spider):
        return response.replace(body=response.body + b"<b>seen by " + spider.name.encode() + b"</b>")

class AwaitsSomething:
    async def process_request(self, request):
        request.headers["X-Awaited"] = "yes"

class Own(scrapy.Spider):
    key = "name"
    custom_settings = {"DOWNLOADER_MIDDLEWARES": {WantsTheSpider: 610, AwaitsSomething: 620}}

    def parse(self, response):
        for name in response.css("b::text").getall():
            yield {"name": name}
"""


@pytest.mark.filterwarnings("ignore::scrapy.exceptions.ScrapyDeprecationWarning")
def test_a_spiders_own_middlewares_are_called_whether_they_want_the_spider_or_are_awaited(crawls: Crawls):
    (crawls.folder / "own_middlewares.py").write_text(OWN_MIDDLEWARES)
    with PageSite({"/": lambda asked: Answer(f"<b>{asked.headers['X-Spider']}</b><b>{asked.headers['X-Awaited']}</b>")}) as site:
        crawls.write(f"""
            [spiders.s]
            spider = "own_middlewares:Own"
            start = ["{site.url}/"]
            robots = false
            """)
        run = crawls.run()
    assert set(crawls.items()) == {"s", "yes", "seen by s"}, run


def test_received_headers_are_those_that_scrapy_makes_itself_also_in_its_copies():
    fields = [(b"content-type", b"text/html"), (b"Set-Cookie", b"a=1"), (b"ETag", b'"1"'), (b"set-cookie", b"b=\xe9"), (b"X-Empty", b"")]
    own, scrapys = received_headers(fields), Headers(fields)
    for headers in (own, own.copy(), Response("http://site.example/", headers=own).headers):
        assert headers == scrapys
        assert list(headers.items()) == list(scrapys.items())
        assert headers.to_string() == scrapys.to_string()
        assert (headers["CONTENT-TYPE"], headers.getlist("set-cookie")) == (b"text/html", [b"a=1", b"b=\xe9"])


def test_the_fast_engine_is_used_with_versions_it_was_tested_with_only():
    assert crawler_class(fast=True) is FastCrawler
    assert crawler_class(fast=False) is Crawler
    assert [version for version in ("2.18.2", "2.19.0", "2.19.3", "2.20.0", "2.190.0", "3.0.0") if is_tested(version)] == ["2.19.0", "2.19.3"]


def test_every_private_name_of_scrapy_that_is_used_is_there():
    """The day one goes, this version of Scrapy is none that the fast engine can run on."""
    for owner, names in {
            Crawler: ["_create_engine"], ExecutionEngine: ["_start_scheduled_request"],
            Downloader: ["_get_slot", "_enqueue_request", "_download"], Scraper: ["_scrape", "_check_if_closing", "_process_spidermw_output_async"],
            DownloaderMiddlewareManager: ["_process_request", "_process_response", "_handle_mw_method"]}.items():
        assert [name for name in names if not hasattr(owner, name)] == []
    crawler = get_crawler()
    engine = ExecutionEngine(crawler, lambda _: None)
    assert hasattr(engine, "_slot")  # engine_control.py
    assert hasattr(engine.downloader.middleware, "_mw_methods_requiring_spider")


@pytest.mark.parametrize("fast", [True, False])
def test_both_engines_crawl_alike(crawls: Crawls, fast: bool):
    pages = {"/": "<a href=1>1</a><a href=2>2</a><a href=gone>gone</a>", "/1": "<p>1</p>", "/2": "<p>2</p>"}
    with PageSite(pages) as site:
        crawls.write(f"""
            fast_engine = {str(fast).lower()}
            [spiders.s]
            start = "{site.url}/"
            follow = ["a"]
            [spiders.s.items]
            each = "p"
            key = ["n"]
            fields = {{ n = "::text" }}
            """)
        run = crawls.run()
    assert (set(crawls.items()), run.progress.pages, run.progress.pages_failed, run.complete) == ({"1", "2"}, 4, 1, True)
    assert "/gone" in run.error
