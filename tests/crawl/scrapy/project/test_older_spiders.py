"""Spiders of older versions of Scrapy.

Some have odd file names, a login of their own, several jars or proxies of their own.
"""

from __future__ import annotations

from tests.crawl.scrapy.project.conftest import Project
from tests.crawl.scrapy.project.test_project import PAGES, SPIDER
from tests.servers.pages import Answer, Asked


def test_start_requests_is_called_and_what_scrapy_wants_now_is_said(project: Project) -> None:
    project.site.pages = PAGES
    project.settings()
    project.write("shop/spiders/products.py", SPIDER + """
        def start_requests(self):
            yield scrapy.Request("SITE/1", self.parse_product)
            yield from super().start_requests()
    """)
    project.toml()
    assert "the spider has start_requests(), which Scrapy itself no longer calls" in project.run()
    assert len(project.items()) == 2
    assert "warning: spiders.s.spider: the spider has start_requests()" in project.program.run("check").stderr


def test_a_spider_middleware_that_is_no_asynchronous_generator_gets_lists(project: Project) -> None:
    project.site.pages = PAGES
    project.settings('SPIDER_MIDDLEWARES = {"shop.middlewares.Classic": 543, "shop.middlewares.WithoutSpider": 700, "shop.middlewares.Modern": 800}')
    project.write("shop/middlewares.py", """
        class Classic:
            def __init__(self, word):
                self.word = word

            @classmethod
            def from_crawler(cls, crawler):
                return cls(crawler.settings["BOT_NAME"])

            def process_spider_output(self, response, result, spider):
                for each in result:
                    yield {**each, "by": self.word + " " + spider.name} if isinstance(each, dict) else each

        class WithoutSpider:
            def process_spider_output(self, response, result):
                return [{**each, "all": len(result)} if isinstance(each, dict) else each for each in result]

        class Modern:
            async def process_spider_output(self, response, result):
                async for each in result:
                    yield each
    """)
    project.write("shop/spiders/products.py", SPIDER)
    project.toml()
    line = project.run()
    assert "Classic.process_spider_output() is not an asynchronous generator" in line
    assert "Modern" not in line
    assert [(item["by"], item["all"]) for item in project.items()] == [("shop products", 1)] * 2
    assert "warning: spiders.s.spider: WithoutSpider.process_spider_output() is not" in project.program.run("check").stderr


def test_a_module_with_an_odd_name_is_loaded_by_its_path(project: Project) -> None:
    project.site.pages = PAGES
    project.settings()
    project.write("shop/spiders/to-scrape.v2.py", SPIDER)
    project.write("shop/spiders/to-scrape.py", SPIDER.replace("import scrapy", "import scrapy\n    from . import base"))
    project.write("shop/spiders/base.py", "")
    for spider in ("shop/spiders/to-scrape.v2.py:Products", "shop/spiders/to-scrape.py:Products", "shop.spiders.to-scrape:Products"):
        project.toml(spider=spider)
        project.run()
    assert len(project.items()) == 2
    project.program.write('[spiders.s]\nspider = "project/shop/spiders/to-scrape.v2.py:Products"\nrobots = false\n')
    project.run()


LOGIN = """
    import scrapy

    class Members(scrapy.Spider):
        name = "members"
        start_urls = ["SITE/login"]

        def parse(self, response):
            yield scrapy.FormRequest.from_response(response, formdata={"user": "me"}, callback=self.members)

        def members(self, response):
            yield {"url": response.url, "title": response.css("h1::text").get()}
"""


def _login(asked: Asked) -> Answer:
    if "session=in" in asked.headers.get("Cookie", ""):
        return Answer("<h1>you are logged in</h1>")
    if asked.method == "POST":
        return Answer("<h1>welcome</h1>", headers={"Set-Cookie": "session=in; Max-Age=999"})
    return Answer('<form method="post"><input name="user"></form>')


def test_a_fresh_jar_lets_a_spider_log_in_each_time(project: Project) -> None:
    project.site.pages = {"/login": _login}
    project.settings()
    project.write("shop/spiders/members.py", LOGIN)
    project.toml(spider="members")
    project.run()
    assert "ValueError: No <form> element found" in project.run(succeeds=False)
    assert "1 cookie removed" in project.program.run("cookies", "clear", "s").stdout
    project.run()
    project.toml('jar = "fresh"\n', spider="members")
    project.run()
    assert [item["title"] for item in project.items()] == ["welcome"]


def test_several_jars_and_a_proxy_of_a_request(project: Project) -> None:
    project.site.pages = {"/": lambda asked: Answer("<p>1</p>", headers={"Set-Cookie": "visit=" + asked.headers.get("X-Who", "")}),
                          "/again": lambda asked: Answer(f"<h1>{asked.headers.get('Cookie', '')}</h1>"),
                          "http://elsewhere.example/": "<h1>by proxy</h1>"}
    project.settings()
    project.write("shop/spiders/products.py", """
        import scrapy

        class Products(scrapy.Spider):
            name = "products"

            async def start(self):
                for who in ("a", "b"):
                    yield scrapy.Request("SITE/?" + who, headers={"X-Who": who}, meta={"cookiejar": who}, cb_kwargs={"who": who})
                yield scrapy.Request("http://elsewhere.example/", self.title, meta={"proxy": "SITE"})

            def parse(self, response, who):
                yield scrapy.Request("SITE/again?" + who, self.title, meta={"cookiejar": who})

            def title(self, response):
                yield {"url": response.url, "title": response.css("h1::text").get()}
    """)
    project.toml()
    project.run()
    assert sorted(str(item["title"]) for item in project.items()) == ["by proxy", "visit=a", "visit=b"]
    project.program.write(f'[proxies]\nours = "{project.site.url}"\n[spiders.s]\nproject = "project"\nspider = "products"\nrobots = false\nproxy = "ours"\n')
    assert "the meta key proxy of the spider's requests has no effect" in project.run()
