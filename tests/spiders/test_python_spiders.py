"""Python spiders: session, commits and resumption work with everything that Scrapy allows a spider."""

from __future__ import annotations

import asyncio
import itertools
import textwrap
from datetime import UTC, datetime

import pytest

from pipeline.errors import SpiderError
from pipeline.model import Outcome
from pipeline.store.runs import runs
from pipeline.store.runs.leases import TTL
from tests.crawl.conftest import Crawls
from tests.servers.pages import Answer, PageSite

NUMBERS = itertools.count()


def spider(crawls: Crawls, site: PageSite, code: str, *, more: str = "") -> None:
    """A user's spiders/ folder with one module, with a name that no other test has imported."""
    module = f"own{next(NUMBERS)}"
    folder = crawls.folder / "spiders"
    folder.mkdir(exist_ok=True)
    (folder / f"{module}.py").write_text("import scrapy\nfrom pipeline.model import Download, Request\n"
                                         + textwrap.dedent(code).replace("SITE", site.url))
    crawls.write(f'[spiders.s]\nspider = "spiders.{module}:Own"\nretries = 0\nrobots = false\n' + textwrap.dedent(more))


def test_callbacks_and_meta_are_stored_in_the_frontier(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": "<a href=/1>1</a>", "/1": "<p>one</p>"}
    spider(crawls, site, """
        class Own(scrapy.Spider):
            start_urls = ["SITE/"]

            def parse(self, response):
                yield response.follow("/1", self.parse_one, meta={"from": "start"}, cb_kwargs={"n": 3})

            def parse_one(self, response, n):
                yield {"id": n, "text": response.css("p::text").get(), "from": response.meta["from"]}
                yield Download(response.urljoin("/f"))
        """, more='items = { key = ["id"] }')
    run = crawls.run()
    assert run.outcome is Outcome.SUCCEEDED, run.error
    assert list(crawls.items().values()) == [{"id": 3, "text": "one", "from": "start"}]
    assert runs.work_left(crawls.store, run.pass_id) == (0, 1)


def test_a_spider_gets_its_starts_and_arguments_from_the_settings(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/a": "<p>a</p>"}
    spider(crawls, site, """
        class Own(scrapy.Spider):
            key = "id"

            def parse(self, response):
                yield {"id": self.prefix + response.css("p::text").get()}
        """, more=f'start = "{site.url}/a"\nargs = {{ prefix = "x-" }}')
    assert crawls.run().outcome is Outcome.SUCCEEDED
    assert list(crawls.items()) == ["x-a"]


def test_nothing_is_stored_of_a_page_on_which_the_spider_fails(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": "<a href=/bad></a><a href=/good></a>", "/bad": "<p>b</p>", "/good": "<p>g</p>"}
    spider(crawls, site, """
        class Own(scrapy.Spider):
            start_urls = ["SITE/"]
            key = "id"

            def parse(self, response):
                for link in response.css("a::attr(href)"):
                    yield response.follow(link.get(), self.parse_page)

            def parse_page(self, response):
                yield {"id": response.url}
                if "bad" in response.url:
                    raise ValueError("no such luck")
        """)
    run = crawls.run()
    assert (run.outcome, run.complete, run.progress.pages_failed) == (Outcome.SUCCEEDED, False, 1)
    assert "ValueError: no such luck" in run.error
    assert list(crawls.items()) == [f"{site.url}/good"]


def test_a_callback_that_fails_before_it_yields_fails_the_run_of_one_page(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": "<p>x</p>"}
    spider(crawls, site, """
        class Own(scrapy.Spider):
            start_urls = ["SITE/"]

            def parse(self, response):
                return 1 / 0
        """)
    run = crawls.run()
    assert (run.outcome, run.error_kind) == (Outcome.FAILED, "SpiderError")
    assert "ZeroDivisionError" in run.error


def test_an_exception_in_start_fails_the_run(crawls: Crawls, site: PageSite) -> None:
    spider(crawls, site, """
        class Own(scrapy.Spider):
            async def start(self):
                raise KeyError("nothing to start with")
                yield
        """)
    run = crawls.run()
    assert (run.outcome, run.error_kind) == (Outcome.FAILED, "SpiderError")
    assert "nothing to start with" in run.error


def test_items_of_start_and_of_errbacks_are_stored(crawls: Crawls, site: PageSite, free_port: int) -> None:
    site.pages = {"/": "<p>x</p>"}
    spider(crawls, site, """
        class Own(scrapy.Spider):
            key = "id"

            async def start(self):
                yield {"id": "from start"}
                yield scrapy.Request("SITE/")
                yield scrapy.Request("http://127.0.0.1:PORT/", errback=self.failed)

            def parse(self, response):
                yield {"id": "from a page"}

            def failed(self, failure):
                yield {"id": "from an errback"}
        """.replace("PORT", str(free_port)))
    run = crawls.run()
    assert sorted(crawls.items()) == ["from a page", "from an errback", "from start"]
    assert run.progress.pages_failed == 1


def test_a_spider_may_close_itself_and_its_last_page_is_stored(crawls: Crawls, site: PageSite) -> None:
    site.pages = {f"/{n}": f"<a href=/{n + 1}></a>" for n in range(50)}
    spider(crawls, site, """
        from scrapy.exceptions import CloseSpider

        class Own(scrapy.Spider):
            start_urls = ["SITE/0"]
            key = "id"

            def parse(self, response):
                yield {"id": response.url}
                if response.url.endswith("/3"):
                    raise CloseSpider("enough")
                yield response.follow(response.css("a::attr(href)").get())
        """)
    run = crawls.run()
    assert (run.outcome, run.complete) == (Outcome.SUCCEEDED, False)
    assert len(crawls.items()) == 4


def test_item_pipelines_of_a_spider_are_run(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": "<p>x</p>"}
    spider(crawls, site, """
        from scrapy.exceptions import DropItem

        class Odd:
            def process_item(self, item):
                if item["id"] % 2 == 0:
                    raise DropItem("even")
                return item | {"seen": True}

        class Own(scrapy.Spider):
            start_urls = ["SITE/"]
            key = "id"
            custom_settings = {"ITEM_PIPELINES": {Odd: 1}, "LOG_LEVEL": "ERROR"}

            def parse(self, response):
                yield from ({"id": n} for n in range(4))
        """)
    run = crawls.run()
    assert list(crawls.items().values()) == [{"id": 1, "seen": True}, {"id": 3, "seen": True}]
    assert run.progress.rejected == 2


def test_custom_settings_cannot_turn_safety_off(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": "<p>x</p>", "/robots.txt": Answer("User-agent: *\nDisallow: /", headers={
        "Content-Type": "text/plain"})}
    spider(crawls, site, """
        class Own(scrapy.Spider):
            start_urls = ["SITE/"]
            custom_settings = {"ROBOTSTXT_OBEY": False, "DOWNLOAD_VERIFY_CERTIFICATES": False}

            def parse(self, response):
                yield {"id": 1}
        """)
    toml = (crawls.folder / "settings.toml").read_text().replace("robots = false", "robots = true")
    crawls.write(toml.replace('[pipeline]\ndata_dir = "data"\n', ""))
    assert "robots.txt" in crawls.run().error
    assert site.paths() == []


def test_the_next_run_continues_a_killed_pass(crawls: Crawls, site: PageSite) -> None:
    site.pages = {f"/{n}": f"<p>{n}</p><a href=/{n + 1}></a>" for n in range(20)}
    code = """
        class Own(scrapy.Spider):
            start_urls = ["SITE/0"]
            key = "id"

            def parse(self, response):
                yield {"id": response.css("p::text").get()}
                if response.css("a"):
                    yield response.follow(response.css("a::attr(href)").get(), meta=META)
        """
    spider(crawls, site, code.replace("META", "{'kept': 1}"))

    async def stop_soon(stop: asyncio.Event) -> None:
        while len(site.paths()) < 6:
            await asyncio.sleep(0.001)
        stop.set()

    killed = crawls.run(while_running=stop_soon, die=True)
    fetched = len(site.paths())
    assert 6 <= fetched < 20
    runs.abandon_expired(crawls.store, now=datetime.now(UTC) + TTL)
    again = crawls.run()
    assert again.pass_id == killed.pass_id
    assert again.outcome is Outcome.SUCCEEDED
    assert again.complete
    assert len(crawls.items()) == 20
    again_fetched = len(site.paths()) - len(set(site.paths()))
    assert again_fetched <= 1  # the page that was under way


def test_with_requests_that_cannot_be_stored_the_next_run_starts_from_the_beginning(crawls: Crawls, site: PageSite) -> None:
    site.pages = {f"/{n}": f"<p>/{n}</p>" for n in range(20)}
    spider(crawls, site, """
        class Own(scrapy.Spider):
            start_urls = ["SITE/0"]
            key = "id"

            def parse(self, response):
                for n in range(1, 20):
                    yield response.follow(f"/{n}", lambda r: {"id": r.css("p::text").get()}, errback=None)
        """)

    async def stop_soon(stop: asyncio.Event) -> None:
        while len(site.paths()) < 4:
            await asyncio.sleep(0.001)
        stop.set()

    first = crawls.run(while_running=stop_soon, die=True)
    runs.abandon_expired(crawls.store, now=datetime.now(UTC) + TTL)
    second = crawls.run()
    assert second.pass_id == first.pass_id
    assert len(crawls.items()) == 19


@pytest.mark.parametrize(("name", "words"), [
    ("spiders.missing_one:Own", "there is no module spiders.missing_one"),
    ("spiders.broken:Own", "the module could not be imported: SyntaxError"),
    ("spiders.empty:Own", "has no spider class Own")])
def test_a_spider_that_cannot_be_imported_is_an_error_with_the_reason(crawls: Crawls, name: str, words: str) -> None:
    folder = crawls.folder / "spiders"
    folder.mkdir()
    (folder / "broken.py").write_text("def f(:\n")
    (folder / "empty.py").write_text("")
    crawls.write(f'[spiders.s]\nspider = "{name}"')
    with pytest.raises(SpiderError, match=words):
        crawls.run()


def test_links_of_a_python_spider_are_requested_as_browsers_request_them(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": "<p>x</p>"}
    spider(crawls, site, """
        class Own(scrapy.Spider):
            start_urls = ["SITE/"]

            def parse(self, response):
                yield {"url": response.url}
                yield response.follow("/%7e?q=%c3%a9é", self.parse_nothing)
                yield scrapy.Request("SITE/ö ö?ö", self.parse_nothing, meta=response.meta)
                yield Request("SITE/a/../ü", callback="parse_nothing")
                yield scrapy.Request("SITE/x/../%7e?q=%c3%a9%C3%A9".replace("http:", "HTTP:"), self.parse_nothing)  # the same as above
                yield Request("http://256.256.256.256/", callback="parse_nothing")
                for url in ("SITE/ä b", "SITE/%7ef|", "http://[foo/", "http://host:99x90/", "HTTP:\\\\a%zz/", "ftp://h/x", ""):
                    yield Download(url)

            def parse_nothing(self, response):
                pass
        """, more='items = { key = ["url"] }\ndownloads.attempts = 1')
    run = crawls.perform()
    assert sorted(site.paths()) == sorted([
        "/", "/%7e?q=%c3%a9%C3%A9", "/%C3%B6%20%C3%B6?%C3%B6", "/%C3%BC", "/%C3%A4%20b", "/%7ef|"])
    assert run.outcome is Outcome.SUCCEEDED, run.error
    assert run.progress.downloads_failed == 7
