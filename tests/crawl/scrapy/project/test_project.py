"""A Scrapy project runs as it is: settings, components and items of a project that has all of it."""

from __future__ import annotations

from tests.crawl.scrapy.project.conftest import Project

PAGES = {"/": "<a href=/1>1</a><a href=/2>2</a>", "/1": "<h1>one</h1>", "/2": "<h1>two</h1>"}
SPIDER = """
    import scrapy

    class Products(scrapy.Spider):
        name = "products"
        start_urls = ["SITE/"]

        def parse(self, response):
            for link in response.css("a"):
                yield response.follow(link, self.parse_product)

        def parse_product(self, response):
            yield {"url": response.url, "title": response.css("h1::text").get()}
"""


def test_a_spider_is_named_as_scrapy_list_shows_it(project: Project) -> None:
    project.site.pages = PAGES
    project.settings()
    project.write("shop/spiders/products.py", SPIDER)
    project.toml()
    project.run()
    assert sorted(item["title"] for item in project.items()) == ["one", "two"]


def test_everything_that_a_project_brings_is_used(project: Project) -> None:
    project.site.pages = PAGES
    project.settings("""
        USER_AGENT = "shop-bot/7"
        DEFAULT_REQUEST_HEADERS = {"X-Default": "yes"}
        ITEM_PIPELINES = {"shop.pipelines.Second": 800, "shop.pipelines.First": 100}
        DOWNLOADER_MIDDLEWARES = {"shop.middlewares.Header": 543, "scrapy.downloadermiddlewares.defaultheaders.DefaultHeadersMiddleware": 410}
        SPIDER_MIDDLEWARES = {"shop.middlewares.Doubled": 1}
        EXTENSIONS = {"shop.extensions.Events": 500, "scrapy.extensions.telnet.TelnetConsole": None}
        ADDONS = {"shop.addons.Renamed": 10}
        FEEDS = {"out/%(name)s-%(kind)s.csv": {"format": "csv", "fields": ["title", "order"], "overwrite": True},
                 "out/items.shout": {"format": "shout"}}
        FEED_EXPORTERS = {"shout": "shop.exporters.Shout"}
        STATS_CLASS = "shop.extensions.Stats"
        MINE = "passed on"
    """)
    project.write("shop/pipelines.py", """
        from pathlib import Path
        from scrapy.exceptions import DropItem

        class First:
            def open_spider(self, spider):
                self.file = open("opened.txt", "w")
            def process_item(self, item, spider):
                item.order = ["first"]
                return item
            def close_spider(self, spider):
                self.file.write("closed " + spider.name)
                self.file.close()

        class Second:
            @classmethod
            def from_crawler(cls, crawler):
                made = cls()
                made.mine, made.crawler = crawler.settings["MINE"], crawler
                return made
            async def process_item(self, item):
                item.order.append("second")
                item.mine = self.mine
                self.crawler.stats.inc_value("shop/seen")
                if item.title == "two":
                    raise DropItem("no twos")
                return item
    """)
    project.write("shop/middlewares.py", """
        class Header:
            def process_request(self, request, spider):
                request.headers["X-Mine"] = spider.name
        class Doubled:
            async def process_spider_output(self, response, result):
                async for each in result:
                    if hasattr(each, "title"):
                        each.title_twice = each.title * 2
                    yield each
    """)
    project.write("shop/items.py", """
        from dataclasses import dataclass, field
        @dataclass
        class Product:
            url: str
            title: str
            title_twice: str = ""
            mine: str = ""
            order: list = field(default_factory=list)
    """)
    project.write("shop/addons.py", """
        class Renamed:
            def update_settings(self, settings):
                settings.set("MINE", settings["MINE"] + ", with an add-on", "spider")
                settings["DOWNLOADER_MIDDLEWARES"]["shop.middlewares.Header"] = 500
    """)
    project.write("shop/extensions.py", """
        from scrapy import signals
        from scrapy.statscollectors import MemoryStatsCollector

        class Stats(MemoryStatsCollector):
            pass

        class Events:
            def __init__(self, crawler):
                self.crawler, self.seen = crawler, []
                for name in ("engine_started", "spider_opened", "item_scraped", "item_dropped", "response_received", "spider_closed"):
                    def note(name=name, **more):
                        self.seen.append(name)
                    setattr(self, "on_" + name, note)
                    crawler.signals.connect(note, signal=getattr(signals, name))
                crawler.signals.connect(self.ended, signal=signals.spider_closed)
            @classmethod
            def from_crawler(cls, crawler):
                return cls(crawler)
            def ended(self, spider, reason):
                stats = self.crawler.stats
                print("EVENTS", reason, type(stats).__name__, *(f"{name}={self.seen.count(name)}" for name in sorted(set(self.seen))),
                      "scraped", stats.get_value("item_scraped_count"), "dropped", stats.get_value("item_dropped_count"),
                      "pages", stats.get_value("response_received_count"), "seen", stats.get_value("shop/seen"), flush=True)
    """)
    project.write("shop/exporters.py", """
        from scrapy.exporters import BaseItemExporter
        class Shout(BaseItemExporter):
            def __init__(self, file, **options):
                super().__init__(**options)
                self.file = file
            def export_item(self, item):
                self.file.write((item.title.upper() + "!").encode())
    """)
    project.write("shop/spiders/products.py", SPIDER.replace('yield {"url": response.url, "title": response.css("h1::text").get()}', """
            assert self.kind == "all" and self.pages == "3"
            yield Product(response.url, response.css("h1::text").get())
    """.strip()).replace("import scrapy", "import scrapy\n    from shop.items import Product"))
    project.toml('args = { kind = "all", pages = 3 }')
    line = project.run()
    (item,) = project.items()
    assert (item["title"], item["title_twice"], item["order"], item["mine"]) == ("one", "oneone", ["first", "second"], "passed on, with an add-on")
    assert project.file("opened.txt").read_text() == "closed products"
    assert project.file("out/products-all.csv").read_text().split() == ["title,order", 'one,"first,second"']
    assert project.file("out/items.shout").read_text() == "ONE!"
    assert "1 item exported to out/products-all.csv" in line
    headers = project.site.asked[-1].headers
    assert (headers["User-Agent"], headers["X-Default"], headers["X-Mine"]) == ("shop-bot/7", "yes", "products")
    log = project.log()
    assert ("EVENTS finished Stats engine_started=1 item_dropped=1 item_scraped=1 response_received=3 spider_closed=1 spider_opened=1 "
            "scraped 1 dropped 1 pages 3 seen 2") in log, log
    assert "Dumping Scrapy stats" in log
    assert "Scrapy settings" not in line, line
    for feed in project.file("out").iterdir():
        feed.unlink()
    assert project.program.run("run", "s", "--dry-run").returncode == 0
    assert list(project.file("out").iterdir()) == []
