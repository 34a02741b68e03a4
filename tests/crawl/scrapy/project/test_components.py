"""Components that need more than signals.

Files, Twisted's threads, duplicate filters, HTTP caches and download handlers.
"""

from __future__ import annotations

from tests.crawl.scrapy.project.conftest import Project
from tests.crawl.scrapy.project.test_project import SPIDER


def test_files_threads_a_cache_a_duplicate_filter_and_a_feed_that_fails(project: Project) -> None:
    project.site.pages = {"/robots.txt": "User-agent: *\nDisallow: /private", "/": "<a href=/1?x=1>1</a><a href=/1?x=2>1</a>",
                          "/1": "<h1>one</h1>", "/a.bin": b"\x00file", "/private.bin": b"secret"}
    project.settings("""
        ITEM_PIPELINES = {"scrapy.pipelines.files.FilesPipeline": 1, "shop.pipelines.Threaded": 2}
        FILES_STORE = "files"
        DUPEFILTER_CLASS = "shop.filters.ByPath"
        HTTPCACHE_ENABLED = True
        FEEDS = {"broken://nowhere/items.json": {"format": "json"}}
        FEED_STORAGES = {"broken": "shop.pipelines.Broken"}
    """)
    project.write("shop/pipelines.py", """
        from scrapy.extensions.feedexport import BlockingFeedStorage
        from twisted.internet.threads import deferToThread

        class Threaded:
            def process_item(self, item, spider):
                return deferToThread(lambda: {**item, "by": "thread"})

        class Broken(BlockingFeedStorage):
            def __init__(self, uri, *, feed_options=None):
                pass
            def _store_in_thread(self, file):
                raise OSError("no such place")
    """)
    project.write("shop/filters.py", """
        from urllib.parse import urlsplit
        from scrapy.dupefilters import BaseDupeFilter

        class ByPath(BaseDupeFilter):
            def open(self):
                self.seen = set()
            def request_seen(self, request):
                path = urlsplit(request.url).path
                return path in self.seen or self.seen.add(path) or False
            def close(self, reason):
                open("filter.txt", "w").write(reason)
    """)
    project.write("shop/spiders/products.py", SPIDER.replace('"title": response', '"file_urls": ["SITE/a.bin", "SITE/private.bin"], "title": response'))
    project.program.write('[spiders.s]\nproject = "project"\nspider = "products"\nrevalidate = false\n')
    line = project.run()
    (item,) = project.items()
    assert item["by"] == "thread"
    assert [file["url"] for file in item["files"]] == [f"{project.site.url}/a.bin"]  # type: ignore[attr-defined]  JSON
    assert [file.read_bytes() for file in project.file("files/full").iterdir()] == [b"\x00file"]
    assert sorted(asked.path for asked in project.site.asked) == ["/", "/1?x=1", "/a.bin", "/robots.txt"]
    assert project.file("filter.txt").read_text() == "finished"
    assert "the feed broken://nowhere/items.json could not be stored" in line
    assert any((project.folder / ".scrapy/httpcache").rglob("response_body"))
    project.site.pages["/1"] = "<h1>changed</h1>"
    project.run()
    assert [item["title"] for item in project.items()] == ["one"], "the page comes from the project's cache"


def test_a_download_handler_of_the_project_keeps_the_limits_of_the_host(project: Project) -> None:
    project.settings('DOWNLOAD_HANDLERS = {"http": "shop.handlers.Own"}\nDOWNLOADER_MIDDLEWARES = {"scrapy.downloadermiddlewares.retry.RetryMiddleware": None}\n')
    project.write("shop/handlers.py", """
        from scrapy.http import HtmlResponse
        from twisted.internet import reactor

        class Own:
            lazy = False
            def __init__(self, crawler):
                self.running = 0
            @classmethod
            def from_crawler(cls, crawler):
                return cls(crawler)
            async def download_request(self, request):
                assert reactor.running
                if request.url.endswith("/large"):
                    return HtmlResponse(request.url, body=b"x" * 2_000_000)
                return HtmlResponse(request.url, body=b"<h1>by the handler</h1><a href=http://localhost:1/></a><a href=/large></a>")
            async def close(self):
                open("closed.txt", "w").write("closed")
    """)
    project.write("shop/spiders/products.py", """
        import scrapy

        class Products(scrapy.Spider):
            name = "products"
            start_urls = ["http://127.0.0.1:9/"]

            def parse(self, response):
                yield {"url": response.url, "title": response.css("h1::text").get()}
                for link in response.css("a"):
                    yield response.follow(link)
    """)
    project.toml('max_page_size = "1MB"\n')
    line = project.run()
    assert [item["title"] for item in project.items()] == ["by the handler"]
    assert "the project's own download handler fetches http: whether it uses the session's proxy is unknown" in line
    assert "2 of 3 pages failed" in line
    assert "private addresses are not fetched" in project.log()
    assert "the page is larger than 1.0 MB" in project.log()
    assert project.file("closed.txt").read_text() == "closed"
