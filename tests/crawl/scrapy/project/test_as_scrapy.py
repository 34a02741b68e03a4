"""What components of a project see is what `scrapy crawl` shows them.

Exceptions of errbacks, statistics, signals about items.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.crawl.scrapy.project.conftest import Project
from tests.servers.pages import Answer, Asked

SETTINGS = """
    RETRY_TIMES = 1
    RETRY_HTTP_CODES = [500]
    RETRY_EXCEPTIONS = ["scrapy.exceptions.DownloadFailedError"]
    DOWNLOAD_TIMEOUT = 1
    DOWNLOAD_MAXSIZE = 100000
    TELNETCONSOLE_ENABLED = False
    DOWNLOADER_MIDDLEWARES = {"shop.components.Ignoring": 300}
    ITEM_PIPELINES = {"shop.components.Pipeline": 1}
    EXTENSIONS = {"shop.components.Dump": 1}
"""
COMPONENTS = """
    import json
    from scrapy import signals
    from scrapy.exceptions import DropItem, IgnoreRequest

    class Ignoring:
        def process_request(self, request):
            if request.url.endswith("/ignored"):
                raise IgnoreRequest("not this one")
        def process_response(self, request, response):
            if request.url.endswith("/after"):
                raise IgnoreRequest("not that one")
            return response

    class Pipeline:
        def process_item(self, item):
            if item["n"] == 2:
                item["n"] = item["n"] / 0
            if item["n"] == 3:
                raise DropItem("no threes")
            return item

    class Dump:
        @classmethod
        def from_crawler(cls, crawler):
            made = cls()
            made.crawler, made.errors = crawler, []
            crawler.signals.connect(made.failed, signals.item_error)
            crawler.signals.connect(made.ended, signals.spider_closed)
            return made
        def failed(self, item, failure):
            self.errors.append(type(failure.value).__name__)
        def ended(self, spider):
            stats = {name: value for name, value in self.crawler.stats.get_stats().items() if isinstance(value, int)}
            json.dump({"stats": stats, "seen": spider.seen, "errors": self.errors}, open("seen.json", "w"))
"""
SPIDER = """
    import scrapy

    class Products(scrapy.Spider):
        name = "products"
        allowed_domains = ["127.0.0.1"]
        seen = {}

        async def start(self):
            for url in PAGES:
                elsewhere = not url.startswith("SITE")
                yield scrapy.Request(url, self.page, errback=self.failed, meta={"allow_offsite": elsewhere, "dont_obey_robotstxt": elsewhere})
            yield scrapy.Request("SITE/", dont_filter=True)

        def parse(self, response):
            for n in (1, 2, 3, 4):
                yield {"url": f"item {n}", "n": n}
            for path in ("/a", "/a", "/b", "/away", "/moved"):
                yield scrapy.Request("SITE" + path, self.page, errback=self.failed)

        def page(self, response):
            self.seen[response.request.meta.get("redirect_urls", [response.url])[0]] = f"page {response.status}"

        def failed(self, failure):
            error, request = failure.value, failure.request
            self.seen[request.url] = f"{type(error).__module__}.{type(error).__name__} {getattr(getattr(error, 'response', None), 'status', '')}"
            return {"url": request.url, "n": 0}
"""
COMPARED = ("scheduler/", "dupefilter/", "offsite/", "robotstxt/", "item_", "response_received_count", "httperror/", "request_depth_max",
            "downloader/request_count", "downloader/request_method_count", "downloader/exception_type_count", "retry/count", "spider_exceptions/")


def _slowly(asked: Asked) -> Answer:
    time.sleep(1.5)
    return Answer("late")


def _write(project: Project) -> None:
    project.site.pages = {
        "/robots.txt": "User-agent: *\nDisallow: /private", "/": "start", "/a": "a", "/b": "b", "/ignored": "", "/after": "", "/moved-to": "",
        "/500": Answer("", 500), "/moved": Answer("", 301, {"Location": "/moved-to"}), "/away": Answer("", 302, {"Location": "http://localhost:1/"}),
        "/large": b"x" * 200_000, "/cut": Answer("x" * 1000, cut=10), "/slow": _slowly}
    urls = [*(f"{project.site.url}{path}" for path in ("/404", "/500", "/ignored", "/after", "/large", "/cut", "/slow")),
            "http://127.0.0.1:1/refused", "http://name.invalid/"]
    project.settings(SETTINGS)
    project.write("shop/components.py", COMPONENTS)
    project.write("shop/spiders/products.py", SPIDER.replace("PAGES", repr(urls)))


@pytest.fixture
def seen(project: Project) -> tuple[dict[str, Any], dict[str, Any], str]:
    """What the components of the same project saw in Scrapy, and here; and the line of the run."""
    _write(project)
    file = project.file("seen.json")
    scrapy = subprocess.run([Path(sys.executable).with_name("scrapy"), "crawl", "products", "-s", "ROBOTSTXT_OBEY=True", "-L", "ERROR"],
                            cwd=project.folder, capture_output=True, text=True, check=True)
    assert file.exists(), scrapy.stderr
    theirs = json.loads(file.read_text())
    file.unlink()
    project.program.write('[spiders.s]\nproject = "project"\nspider = "products"\ntimeout = "1s"\nmax_page_size = "100KB"\n')
    line = project.run()
    return theirs, json.loads(file.read_text()), line


def test_errbacks_and_statistics_are_those_of_scrapy(project: Project, seen: tuple[dict[str, Any], dict[str, Any], str]) -> None:
    theirs, ours, line = seen
    assert ours["seen"] == theirs["seen"]
    assert ours["errors"] == theirs["errors"] == ["ZeroDivisionError"]
    compared = [{name: value for name, value in each["stats"].items() if name.startswith(COMPARED)} for each in (theirs, ours)]
    assert compared[1] == compared[0]
    assert "3 requests ignored by middlewares of the spider; the first: " in line, line
    assert "http://localhost:1/ is ignored: Filtered offsite request to 'localhost'" in project.log()
    assert "1 item rejected because an item pipeline of the spider failed; the first: shop/components.py, line 18: ZeroDivisionError" in line, line
    assert sorted(item["n"] for item in project.items() if item["n"]) == [1, 4], "the other items of the page are kept"
