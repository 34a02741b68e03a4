"""Exceptions of spider middlewares and callbacks.

Each page is committed once, and what is sure about it is said.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import NamedTuple

from tests.crawl.scrapy.project.conftest import Project
from tests.servers.pages import Answer

MIDDLEWARES = """
    from urllib.parse import parse_qsl, urlsplit

    from scrapy.exceptions import IgnoreRequest

    class Middleware:
        def process_spider_input(self, response):
            case = case_of(response)
            if case.get("in") == type(self).__name__:
                if case["raises"] == "a coroutine":
                    return self.coroutine()
                raise {"ValueError": ValueError, "IgnoreRequest": IgnoreRequest}[case["raises"]]("not this page")

        async def coroutine(self):
            pass

        async def process_spider_output(self, response, result):
            async for each in result:
                yield each
            if case_of(response).get("in") == f"output of {type(self).__name__}":
                raise ValueError("not this page")

        def process_spider_exception(self, response, exception):
            if case_of(response).get("handled by") == type(self).__name__:
                return [{"url": f"{response.url}&more", "title": "handled"}] if case_of(response)["with"] == "an item" else []

    class First(Middleware): pass
    class Middle(Middleware): pass
    class Last(Middleware): pass

    def case_of(response):
        return dict(parse_qsl(urlsplit(response.url).query)) if FAILS else {}
"""
SETTINGS = """
    SPIDER_MIDDLEWARES = {"shop.middlewares.First": 20, "shop.middlewares.Middle": 543, "shop.middlewares.Last": 543}
"""
SPIDER = """
    import scrapy
    from shop.middlewares import case_of

    class Products(scrapy.Spider):
        name = "products"
        start_urls = ["SITE/"]

        def parse(self, response):
            for url in CASES:
                yield scrapy.Request(url, self.page, errback={"silent": self.silent, "an+item": self.item}.get(url.partition("errback=")[2]))

        def page(self, response):
            yield {"url": response.url, "title": "page"}
            if case_of(response).get("in") == "callback":
                raise ValueError("not this page")

        def silent(self, failure):
            self.logger.info("errback %s", type(failure.value).__name__)

        def item(self, failure):
            yield {"url": f"{failure.request.url}&more", "title": "errback"}
"""


class Case(NamedTuple):
    """What happens to a page, what becomes of it, and the title of a further item that it has."""

    query: str
    becomes: str
    more: str = ""


CASES = (
    Case("in=First&raises=ValueError", "failed"),
    Case("in=Middle&raises=ValueError", "failed"),
    Case("in=Last&raises=ValueError", "failed"),
    Case("in=Last&raises=a coroutine", "failed"),
    Case("in=Middle&raises=ValueError&errback=silent", "failed"),
    Case("in=Middle&raises=ValueError&errback=an item", "handled", "errback"),
    Case("in=First&raises=ValueError&handled by=First&with=nothing", "handled"),
    Case("in=Middle&raises=ValueError&handled by=Last&with=an item", "handled", "handled"),
    Case("in=Last&raises=ValueError&handled by=Middle&with=an item", "handled", "handled"),
    Case("in=Middle&raises=IgnoreRequest", "ignored"),
    Case("in=Middle&raises=IgnoreRequest&errback=silent", "ignored"),
    Case("in=Middle&raises=IgnoreRequest&handled by=First&with=nothing", "ignored"),
    Case("in=Middle&raises=IgnoreRequest&handled by=First&with=an item", "handled", "handled"),
    Case("in=callback", "failed"),
    Case("in=callback&handled by=First&with=nothing", "handled"),
    Case("in=callback&handled by=Last&with=an item", "handled", "handled"),
    Case("in=output of Last", "failed"),
    Case("in=output of Last&handled by=Middle&with=an item", "handled", "handled"),
    Case("in=output of Middle&handled by=First&with=nothing", "handled"),
    Case("in=output of Last&handled by=Last&with=nothing", "failed"),
    Case("missing=404", "failed"),
    Case("missing=404&handled by=Middle&with=an item", "done", "handled"),
    Case("missing=404&errback=an item", "done", "errback"),
)


def test_a_page_with_an_exception_of_a_middleware_is_committed_once(project: Project) -> None:
    queries = {case: case.query.replace(" ", "+") for case in CASES}
    urls = {f"{project.site.url}/{number}?{query}": case for number, (case, query) in enumerate(queries.items())}
    paths = [url.removeprefix(project.site.url) for url in urls]
    project.site.pages = {"/": "start"} | dict.fromkeys(paths, "page")
    project.settings(SETTINGS)
    project.write("shop/spiders/products.py", SPIDER.replace("CASES", repr(list(urls))))
    project.toml()
    project.write("shop/middlewares.py", MIDDLEWARES.replace("FAILS", "False"))
    assert f"({len(CASES) + 1} pages, {len(CASES)} items, {len(CASES)} new)" in project.run()

    project.site.pages |= {path: Answer("missing", 404) for path in paths if "missing" in path}
    project.write("shop/middlewares.py", MIDDLEWARES.replace("FAILS", "True"))
    line = project.run()
    assert f"({len(CASES) + 1} pages" in line, line
    assert " gone" not in line, line
    assert "empty" not in line, line
    numbers = {becomes: sum(case.becomes == becomes for case in CASES) for becomes in ("failed", "ignored", "handled")}
    assert f"{numbers['failed']} of {len(CASES) + 1} pages failed; the first: " in line, line
    assert f"{numbers['ignored']} requests ignored by middlewares of the spider; the first: " in line, line
    assert f"{numbers['handled']} pages with exceptions that the spider has handled; the first: {project.site.url}/" in line, line
    assert {item["url"]: item["title"] for item in project.items()} == dict.fromkeys(urls, "page") | {
        f"{url}&more": case.more for url, case in urls.items() if case.more}

    with closing(sqlite3.connect(project.program.data / "pipeline.sqlite3")) as database:
        fetched = dict(database.execute("SELECT url, count(*) FROM pages WHERE run_id = 2 GROUP BY url"))
        errors = dict(database.execute("SELECT url, error FROM frontier WHERE pass_id = 2"))
    assert fetched == dict.fromkeys([f"{project.site.url}/", *urls], 1)
    assert {url: bool(errors[url]) for url in urls} == {url: case.becomes == "failed" for url, case in urls.items()}
    log = project.log()
    assert "errback ValueError" in log
    assert "errback IgnoreRequest" in log
