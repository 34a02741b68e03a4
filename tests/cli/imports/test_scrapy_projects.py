"""`pipeline import-scrapy`: the spiders of a project, with the schedules and arguments of a crontab."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.cli.imports.formats.crontab import read_crontab
from pipeline.cli.imports.formats.scrapy_project import read_project
from pipeline.cli.imports.imported import Imported
from pipeline.errors import SpiderError, UsageError
from tests.cli.imports.conftest import Importer
from tests.servers.pages import PageSite

BOOKS = """
import scrapy

print("a module that prints when it is imported")

class BooksSpider(scrapy.Spider):
    name = "books"
    start_urls = ["http://site.example/"]

    def __init__(self, category="all", *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.category = category

    def parse(self, response):
        yield {"url": response.url, "category": self.category, "title": response.css("title::text").get()}
"""
AUTHORS = """
import scrapy

class AuthorsSpider(scrapy.Spider):
    name = "authors"
    start_urls = ["http://site.example/"]

    def parse(self, response):
        yield {"url": response.url, "letter": self.letter, "title": response.css("title::text").get()}
"""
CRONTAB = r"""# crontab of the crawler
MAILTO=me@site.example
CRON_TZ=Europe/Berlin
0 7 * * 1-5 cd /srv/shop && /srv/venv/bin/scrapy crawl books -a category=travel -a since="2026-01-01" -o "out-$(date +\%F).json" >> log 2>&1
30 19 * * * cd /srv/shop; scrapy crawl books -a since=2026-01-01 -a category=travel
@hourly www-data flock -n /tmp/lock scrapy crawl books -a category=sf -a api_key=s3cret -s LOG_LEVEL=INFO
*/15 * * * * curl -s http://localhost:6800/schedule.json -d project=shop -d spider=authors -d setting=DOWNLOAD_DELAY=2 -d jobid=7 -d letter=a
@reboot scrapy crawl authors
0 3 * * * scrapy crawl films
0 4 * * * cd /srv/other && scrapy crawl books
0 5 * * * curl http://localhost:6800/schedule.json -d "project=news&spider=authors"
0 6 * * * scrapyd-client schedule -p shop authors --arg letter=b
1 * * * * scrapy check
61 * * * * scrapy crawl authors
2 * * * * backup --all "unclosed
3 * * * * scrapy crawl "unclosed
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    (folder / "shop" / "spiders").mkdir(parents=True)
    (folder / "scrapy.cfg").write_text("[settings]\ndefault = shop.settings\n[deploy]\nproject = shop\n")
    for name, text in (("__init__.py", ""), ("settings.py", 'BOT_NAME = "shop"\nSPIDER_MODULES = ["shop.spiders"]\n'), ("spiders/__init__.py", ""),
                       ("spiders/books.py", BOOKS), ("spiders/authors.py", AUTHORS)):
        (folder / "shop" / name).write_text(text)
    return folder


def read(project: Path, crontab: str | None = None) -> Imported:
    imported = Imported("scrapy", "shop")
    if crontab is not None:
        (project.parent / "crontab.txt").write_text(crontab)
    read_project(project, project.parent / "crontab.txt" if crontab is not None else None, imported, settings_folder=project.parent, schedule="@daily")
    return imported


def test_every_spider_that_scrapy_list_shows_gets_a_table(project: Path) -> None:
    imported = read(project)
    assert {spider.name: spider.table for spider in imported.spiders} == {
        "authors": {"project": "shop", "spider": "authors", "schedule": "@daily"},
        "books": {"project": "shop", "spider": "books", "schedule": "@daily"}}
    assert [key for spider in imported.spiders for key, why in spider.left_out if "declares the arguments category" in why] == ["args"]


def test_a_crontab_gives_schedules_and_arguments(project: Path) -> None:
    imported = read(project, CRONTAB)
    assert [spider.table for spider in imported.spiders] == [
        {"project": "shop", "spider": "authors", "schedule": {"when": "*/15 * * * *", "timezone": "Europe/Berlin"}, "args": {"letter": "a"}},
        {"project": "shop", "spider": "authors"},
        {"project": "shop", "spider": "authors", "schedule": {"when": "0 6 * * *", "timezone": "Europe/Berlin"}, "args": {"letter": "b"}},
        {"project": "shop", "spider": "books", "args": {"category": "travel", "since": "2026-01-01"}, "schedule": [
            {"when": "0 7 * * 1-5", "timezone": "Europe/Berlin"}, {"when": "30 19 * * *", "timezone": "Europe/Berlin"}]},
        {"project": "shop", "spider": "books", "args": {"category": "sf"}, "schedule": {"when": "@hourly", "timezone": "Europe/Berlin"}}]
    assert [spider.name for spider in imported.spiders] == ["authors", "authors-2", "authors-3", "books", "books-2"]
    left_out = {key: why for spider in imported.spiders for key, why in spider.left_out}
    assert left_out.pop("line 8, @reboot") == "the boot of the machine starts no spider here; the spider has no schedule: add one, or start it with `pipeline run authors-2`"
    assert "not between 0 and 59" in left_out.pop("line 14, 61 * * * *")
    assert set(left_out) == {"-s DOWNLOAD_DELAY=2", "jobid=7", "-o out-$(date +%F).json", "-a api_key", "-s LOG_LEVEL=INFO"}


def test_lines_that_start_no_spider_of_the_project_are_named(project: Path) -> None:
    assert dict(read(project, CRONTAB).skipped) == {
        "crontab.txt line 13": "it mentions Scrapy, but neither `scrapy crawl NAME` nor schedule.json of scrapyd is in it",
        "crontab.txt line 16": "the command cannot be read: No closing quotation",
        "crontab.txt line 9 (films)": "the project has no spider of this name",
        "crontab.txt line 10 (books)": "it starts a spider of the project in /srv/other",
        "crontab.txt line 11 (authors)": "it starts a spider of the project news"}


def test_a_schedule_that_cannot_be_carried_over_is_left_out_beside_one_that_can(project: Path) -> None:
    books = next(spider for spider in read(project, "@reboot scrapy crawl books\n@daily scrapy crawl books\n").spiders if spider.name == "books")
    assert (books.table["schedule"], books.left_out) == ("@daily", [("line 1, @reboot", "the boot of the machine starts no spider here")])


@pytest.mark.parametrize(("line", "spider", "args"), [
    ("0 1 * * * scrapy crawl -a x=1 books", "books", {"x": "1"}),
    ("0 1 * * * scrapy crawl books -ax=1 --nolog", "books", {"x": "1"}),
    ("0 1 * * * cd a && python -m scrapy crawl books -L INFO -a 'q=a b'", "books", {"q": "a b"}),
    ("0 1 * * * curl 'http://h:6800/schedule.json?project=p&spider=books&x=1'", "books", {"x": "1"}),
    ("0 1 * * * curl -u me:pw https://h/schedule.json --data-urlencode spider=books --data='x=1'", "books", {"x": "1"}),
    ("0 1 * * * poetry run scrapy crawl books | mail me", "books", {}),
])
def test_a_line_is_read_as_a_shell_reads_it(line: str, spider: str, args: dict[str, str]) -> None:
    (crawl,), problems = read_crontab(line)
    assert (crawl.spider, crawl.args, crawl.schedule, problems) == (spider, args, "0 1 * * *", [])


def test_no_secret_of_a_line_is_listed() -> None:
    (crawl,), _ = read_crontab("0 1 * * * scrapy crawl books -s AWS_SECRET=s3cret -o s3://key:s3cret@bucket/out.json -s PROXY=http://me:s3cret@p.example/")
    assert [key for key, _ in crawl.left_out] == ["-s AWS_SECRET=…", "-o s3://bucket/out.json", "-s PROXY=http://p.example/"]


def test_a_folder_without_a_project_and_code_that_fails_are_named(project: Path) -> None:
    with pytest.raises(UsageError, match=r"has no scrapy.cfg.*; give .*shop"):
        read(project.parent)
    (project / "shop" / "spiders" / "books.py").write_text("import not_there")
    with pytest.raises(SpiderError, match=r"ModuleNotFoundError: No module named 'not_there'.*install what the project requires"):
        read(project)
    (project / "shop" / "settings.py").write_text("import os\nos._exit(3)\n")
    with pytest.raises(SpiderError, match="the process ended with code 3"):
        read(project)


def test_an_imported_spider_is_valid_and_runs(imports: Importer, project: Path, site: PageSite) -> None:
    site.pages = {"/": "<title>A page</title>"}
    for file in (project / "shop" / "spiders").glob("*.py"):
        file.write_text(file.read_text().replace("http://site.example/", f"{site.url}/"))
    (project.parent / "crontab.txt").write_text(CRONTAB)
    tables = imports("scrapy", project, "--crontab", str(project.parent / "crontab.txt"), "--to", "me@site.example")
    assert list(tables["spiders"]) == ["authors", "authors-2", "authors-3", "books", "books-2"]
    assert tables["spiders"]["authors"]["project"] == "shop"
    assert tables["digests"]["scrapy"] == {"spiders": list(tables["spiders"]), "to": ["me@site.example"]}
    assert "spider books, crontab line 6 -> books-2: -a api_key: the argument looks like a secret" in imports.out
    assert "s3cret" not in imports.text + imports.out
    imports.checked()
    imports.ran("authors")
    item, = map(json.loads, imports.program.run("items", "authors").stdout.splitlines())
    assert (item["url"], item["letter"], item["title"]) == (f"{site.url}/", "a", "A page")
