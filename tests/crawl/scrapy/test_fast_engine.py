"""The shorter versions of Scrapy's parts do what Scrapy's own do."""

from __future__ import annotations

import pytest
from scrapy.http import Headers, Response

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
