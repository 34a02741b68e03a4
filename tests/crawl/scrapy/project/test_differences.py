"""What a project may not change, and what is not used as in Scrapy, is said by name."""

from __future__ import annotations

from tests.crawl.scrapy.project.conftest import Project
from tests.crawl.scrapy.project.test_project import PAGES, SPIDER


def test_what_is_replaced_or_without_effect_is_named_by_check_and_in_the_runs_line(project: Project) -> None:
    project.site.pages = PAGES
    project.settings("""
        ROBOTSTXT_OBEY = True
        DOWNLOAD_DELAY = 0.2
        DOWNLOAD_TIMEOUT = 7
        SCHEDULER = "scrapy.core.scheduler.Scheduler"
        JOBDIR = "crawls/1"
        TELNETCONSOLE_ENABLED = True
        COOKIES_ENABLED = False
        MINE = 1
    """)
    project.write("shop/spiders/products.py", SPIDER + """
        custom_settings = {"LOG_FILE": "own.log", "DEPTH_LIMIT": 5, "CONCURRENT_REQUESTS": 3}
    """)
    project.toml('delay = "0s"\n')
    wanted = ("settings.toml is used instead of these Scrapy settings: DOWNLOAD_DELAY (delay), DOWNLOAD_TIMEOUT (timeout), ROBOTSTXT_OBEY (robots)",
              ("these Scrapy settings have no effect: JOBDIR (the frontier is in the store, so a killed run is continued without it), LOG_FILE (each "
              "run has its own log in data_dir), SCHEDULER (requests wait in the frontier in the store), TELNETCONSOLE_ENABLED (it would let other "
              "programs execute code in the run)"))
    checked = project.program.run("check")
    assert checked.returncode == 0, checked.stdout
    line = project.run()
    for sentence in wanted:
        assert f"warning: spiders.s.spider: {sentence}\n" in checked.stdout + checked.stderr, checked
        assert sentence in line, line
    second = project.run()
    assert not [sentence for sentence in wanted if sentence in second], "the line of a run says once what was said before"
    project.write("shop/settings.py", project.file("shop/settings.py").read_text() + "LOG_STDOUT = True\n")
    assert "LOG_STDOUT" in project.run(), "a change is said"
    assert not project.file("crawls").exists()
    assert not project.file("own.log").exists()


def test_values_of_the_project_are_used_where_settings_toml_has_none(project: Project) -> None:
    project.site.pages = PAGES
    project.settings("""
        DEPTH_LIMIT = 1
        CLOSESPIDER_PAGECOUNT = 1
        ROBOTSTXT_OBEY = False
    """)
    project.write("shop/spiders/products.py", SPIDER)
    project.toml()
    assert "closed early (closespider_pagecount)" in project.run()
    project.settings("DEPTH_LIMIT = 1\n")
    project.write("shop/spiders/products.py", SPIDER.replace("parse_product)", "parse)").replace("self.parse_product", "self.parse"))
    project.run()
    assert {each.path for each in project.site.asked} == {"/", "/1", "/2"}


def test_an_error_names_the_spiders_of_the_project(project: Project) -> None:
    project.settings()
    project.write("shop/spiders/products.py", SPIDER)
    project.write("shop/spiders/books.py", SPIDER.replace('"products"', '"books"'))
    project.toml(spider="product")
    checked = project.program.run("check")
    assert checked.returncode == 2
    assert "the Scrapy project has no spider 'product' (did you mean 'products'?); set `spider` to one of: books, products" in checked.stdout + checked.stderr


def test_check_imports_the_components_and_names_the_setting(project: Project) -> None:
    project.settings('ITEM_PIPELINES = {"shop.pipelines.Missing": 1}\n')
    project.write("shop/pipelines.py", "import no_such_package\n")
    project.write("shop/spiders/products.py", SPIDER)
    project.toml()
    checked = project.program.run("check")
    text = checked.stdout + checked.stderr
    assert ("shop.pipelines.Missing in ITEM_PIPELINES: the Scrapy project could not be imported: shop/pipelines.py, line 1: it imports "
            "no_such_package, which is not installed") in text, text


def test_what_is_wrong_with_a_project_is_said(project: Project) -> None:
    project.settings()
    project.write("shop/spiders/products.py", SPIDER)
    for change, said in (({"project": "elsewhere.py/x"}, "the folder of the Scrapy project does not exist"),
                         ({"project": "."}, 'the folder has no scrapy.cfg; set project = "project"'),
                         ({"project": "no.such_settings"}, "it imports no, which is not installed")):
        project.program.write(f'[spiders.s]\nproject = "{change["project"]}"\nspider = "products"\n')
        checked = project.program.run("check")
        assert checked.returncode == 2
        assert said in checked.stdout + checked.stderr, checked
    project.program.write('[spiders.s]\nproject = "project"\n')
    assert "`project` needs `spider`" in project.program.run("check").stderr + project.program.run("check").stdout
    project.write("scrapy.cfg", "[settings]\nother = shop.settings\n")
    project.toml()
    checked = project.program.run("check")
    assert "scrapy.cfg names no module with settings for the project default" in checked.stdout + checked.stderr


def test_the_table_has_every_setting_of_scrapy() -> None:
    from scrapy.settings import default_settings

    from pipeline.crawl.scrapy.project.settings.setting_table import SETTING_TABLE
    names = {name for name in dir(default_settings) if name.isupper()}
    assert names - set(SETTING_TABLE) == set()
    assert set(SETTING_TABLE) - names == {"CONCURRENT_REQUESTS_PER_IP"}


def test_middlewares_that_protect_stay(project: Project) -> None:
    project.site.pages = PAGES | {"/robots.txt": "User-agent: *\nDisallow: /2"}
    project.settings("""
        DOWNLOADER_MIDDLEWARES = {
            "scrapy.downloadermiddlewares.robotstxt.RobotsTxtMiddleware": None,
            "scrapy.downloadermiddlewares.cookies.CookiesMiddleware": None,
            "pipeline.crawl.middlewares.cookies_and_headers.RefusePrivateAddresses": None,
            "shop.middlewares.Private": 1,
        }
    """)
    project.write("shop/middlewares.py", """
        class Private:
            def process_request(self, request):
                if request.url.endswith("/1") and not request.meta.get("moved"):
                    return request.replace(url="http://10.1.2.3/secret", meta={**request.meta, "moved": True})
    """)
    project.write("shop/spiders/products.py", SPIDER)
    project.program.write('[spiders.s]\nproject = "project"\nspider = "products"\n')
    line = project.run()
    assert "RobotsTxtMiddleware cannot be switched off: the key `robots` decides" in line
    assert "10.1.2.3" in line
    assert {each.path for each in project.site.asked} == {"/", "/robots.txt"}
