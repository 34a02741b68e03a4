"""What a page yields is treated as in Scrapy.

Requests outside allowed_domains, failed callbacks, pipelines that return nothing.
"""

from __future__ import annotations

from tests.crawl.scrapy.project.conftest import Project
from tests.crawl.scrapy.project.test_project import PAGES, SPIDER


def test_requests_outside_allowed_domains_are_not_sent_and_no_pages_of_the_run(project: Project) -> None:
    project.site.pages = PAGES | {"/2": "<h1>two</h1><a href=/1>1</a>"}
    project.settings('EXTENSIONS = {"shop.extensions.Requests": 1}\n')
    project.write("shop/extensions.py", """
        from pathlib import Path
        from scrapy import signals

        class Requests:
            @classmethod
            def from_crawler(cls, crawler):
                made = cls()
                crawler.signals.connect(made.scheduled, signals.request_scheduled)
                return made
            def scheduled(self, request):
                with Path("scheduled.txt").open("a") as file:
                    file.write(request.url + "\\n")
    """)
    project.write("shop/spiders/products.py", """
        from urllib.parse import urlsplit
        import scrapy
        from scrapy.linkextractors import LinkExtractor
        from scrapy.spiders import CrawlSpider, Rule

        class Products(CrawlSpider):
            name = "products"
            start_urls = ["SITE/"]
            allowed_domains = ["127.0.0.1"]
            rules = [Rule(LinkExtractor(), callback="parse_product", follow=True)]

            def parse_product(self, response):
                yield {"url": response.url, "title": response.css("h1::text").get()}
                yield scrapy.Request("http://localhost:%s/0" % urlsplit("SITE").port, self.parse_product)
    """)
    project.toml()
    checked = project.program.run("check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    line = project.run()
    assert {each.path for each in project.site.asked} == {"/", "/1", "/2"}
    assert "(3 pages, 2 items" in line, line
    scheduled = project.file("scheduled.txt").read_text("utf-8").split()
    assert {"/", "/1", "/2", "/0"} == {"/" + each.rpartition("/")[2] for each in scheduled}


def test_failed_callbacks_are_counted_by_closespider_errorcount(project: Project) -> None:
    project.site.pages = PAGES
    project.settings("CLOSESPIDER_ERRORCOUNT = 1\nCONCURRENT_REQUESTS_PER_DOMAIN = 1\n")
    for statement in ("yield {}['x']", "raise ValueError"):
        project.write("shop/spiders/products.py", SPIDER.replace("            yield {\"url\"", f"            {statement}\n            yield {{\"url\""))
        project.toml()
        line = project.run()
        assert "closed early (closespider_errorcount)" in line, line
    assert "spider_exceptions/ValueError" in project.log()


def test_items_of_a_pipeline_that_returns_nothing_are_kept(project: Project) -> None:
    project.site.pages = PAGES
    project.settings('ITEM_PIPELINES = {"shop.pipelines.Upper": 1}\nFEEDS = {"items.jsonl": {"format": "jsonlines"}}\n')
    project.write("shop/pipelines.py", """
        class Upper:
            def process_item(self, item):
                item["title"] = item["title"].upper()
    """)
    project.write("shop/spiders/products.py", SPIDER)
    project.toml()
    line = project.run()
    assert "an item pipeline of the spider returns nothing" in line, line
    assert sorted(item["title"] for item in project.items()) == ["ONE", "TWO"]
    assert project.file("items.jsonl").read_text("utf-8").count("\n") == 2
