"""The report of `pipeline try` for each kind of spider."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.crawl.built_in import BuiltInSpider
from pipeline.crawl.extract import Document
from pipeline.crawl.extract.try_rules import try_spider
from pipeline.crawl.spider_import import spider_class
from pipeline.errors import SpiderError
from pipeline.settings import load
from tests.spiders.test_feed import ATOM, JSON_FEED, RSS

URL = "http://site.example/"


def tried(folder: Path, table: str, body: str | bytes, content_type: str = "text/html", url: str = URL) -> Any:
    (folder / "settings.toml").write_text(f'[spiders.s]\nstart = "{URL}"\n{table}')
    settings = load(folder / "settings.toml")
    spider, body = settings.spiders["s"], body.encode() if isinstance(body, str) else body
    document = Document(url=url, status=200, text=body.decode("utf-8", "replace"), headers=lambda: {"content-type": content_type})
    spidercls = spider_class(spider.spider, folder)
    assert issubclass(spidercls, BuiltInSpider)
    return try_spider(spider, document, body, spidercls)


def rules(found: Any) -> dict[str, tuple[int, list[str]]]:
    return {rule["name"]: (rule["count"], rule["first"]) for rule in found["rules"]}


def test_a_watched_page_shows_its_part_its_noise_and_its_text(tmp_path: Path) -> None:
    table = 'spider = "watch"\nwatch = { part = "#a", name = "h1", ignore = ["\\\\d+ visitors|seen"] }\n'
    found = tried(tmp_path, table, "<h1>It</h1><nav>menu</nav><div id=a><p>one<p>7 visitors</div>")
    assert rules(found) == {"watch.part": (1, ["'one7 visitors'"]), "watch.name": (1, ["'It'"]),
                            "watch.ignore[0]": (1, ["'7 visitors'"])}
    assert found["items"] == [{"url": URL, "name": "It", "text": "one"}]
    missed = tried(tmp_path, table, "<h1>error</h1>")
    assert rules(missed)["watch.part"] == (0, [])
    assert missed["rejected"][0]["reason"] == "the watched part was not found on the page"


@pytest.mark.parametrize(("feed", "content_type"), [(RSS, "application/rss+xml"), (ATOM, "text/xml"), (JSON_FEED, "application/json")])
def test_a_feed_shows_its_entries(tmp_path: Path, feed: str, content_type: str) -> None:
    (item,) = tried(tmp_path, 'spider = "feed"\n', feed, content_type)["items"]
    assert item["title"] == "A & B"


def test_a_page_that_is_no_feed_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SpiderError, match="is not a feed"):
        tried(tmp_path, 'spider = "feed"\n', "<h1>not found</h1>")


def test_a_sitemap_shows_its_urls_and_a_robots_txt_its_sitemaps(tmp_path: Path) -> None:
    table = 'spider = "sitemap"\ndeny = ["/private"]\n'
    body = f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"><url><loc>{URL}a</loc></url><url><loc>{URL}private</loc></url></urlset>'
    assert [item["url"] for item in tried(tmp_path, table, body, "application/xml")["items"]] == [f"{URL}a"]
    assert tried(tmp_path, table, f"User-agent: *\nSitemap: {URL}map.xml\n", "text/plain")["links"] == [f"{URL}map.xml"]


def test_nested_fields_show_their_matches_and_follow_the_links_that_remain(tmp_path: Path) -> None:
    table = """follow = ["a"]
deny = ["/print"]
[spiders.s.items]
each = "article"
[spiders.s.items.fields]
seller = { fields = { name = ".who" } }
offers = { each = ".offer", fields = { price = { css = "i", type = "number" } } }
"""
    page = """<a href=/next>n</a><a href=/print>p</a><a href=http://other.example/>o</a>
        <article><b class=who>Bob</b><p class=offer><i>1</i></p><p class=offer><i>2</i></p></article><article></article>"""
    found = tried(tmp_path, table, page)
    assert rules(found) == {
        "follow[0]": (3, [f"'{URL}next'", f"'{URL}print'", "'http://other.example/'"]), "items.each": (2, []),
        "items.fields.seller.fields.name": (1, ["'Bob'"]), "items.fields.offers.each": (2, []),
        "items.fields.offers.fields.price": (2, ["1", "2"])}
    assert found["links"] == [f"{URL}next"]
