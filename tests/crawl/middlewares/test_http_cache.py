"""Conditional requests and the page cache: unchanged pages cost a 304, and nothing of them is gone."""

from __future__ import annotations

import base64
import gzip
import random
import sqlite3
import time
import zlib
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.crawl.middlewares.page_cache import CachedPage, PageCache
from pipeline.model import Outcome
from tests.crawl.conftest import Crawls
from tests.servers.pages import Answer, Asked, PageSite

ITEM = '\n[spiders.s.items.fields]\nx = "p"'


def test_an_unchanged_page_costs_a_304_and_none_of_its_items_is_gone(crawls: Crawls, site: PageSite) -> None:
    def list_page(asked: Asked) -> Answer:
        if asked.headers.get("If-None-Match") == '"v1"':
            return Answer(status=304, headers={"ETag": '"v1"'})
        return Answer("<p>list</p><a href=/1>1</a><a class=d href=/f.pdf>f</a>", headers={"ETag": '"v1"'})
    modified = "Sun, 01 Mar 2026 10:00:00 GMT"
    body = {"/1": "<p>one</p>"}

    def dated(asked: Asked) -> Answer:
        if asked.headers.get("If-Modified-Since") == modified and body["/1"] == "<p>one</p>":
            return Answer(status=304)
        return Answer(body["/1"], headers={"Last-Modified": modified})
    site.pages = {"/": list_page, "/1": dated}
    rules = f'[spiders.s]\nstart = "{site.url}/"\nfollow = ["a:not(.d)"]\ndownload = ["a.d"]\nrobots = false{ITEM}'
    crawls.write(rules)
    crawls.run()
    again = crawls.run()
    assert (again.complete, again.progress.unchanged, again.progress.gone, again.progress.pages) == (True, 2, 0, 2)
    assert "If-None-Match" in site.asked[2].headers
    assert {item["x"] for item in crawls.items().values()} == {"list", "one"}
    body["/1"] = "<p>two</p>"
    third = crawls.run()
    assert {change.kind for change in crawls.changes(third)} == {"new", "gone"}
    crawls.write(rules.replace('x = "p"', 'x = "a"'))  # changed rules apply to unchanged pages too
    crawls.run()
    assert {item["x"] for item in crawls.items().values() if item["x"]} == {"1"}
    (cached,) = (crawls.folder / "data/cache").iterdir()
    assert cached.stat().st_mode & 0o777 == 0o600


def test_pages_are_fetched_whole_with_revalidate_off_or_a_damaged_cache(crawls: Crawls, site: PageSite) -> None:
    def page(asked: Asked) -> Answer:
        return Answer(status=304) if "If-None-Match" in asked.headers else Answer("<p>x</p>", headers={"ETag": '"1"'})
    site.pages = {"/": page}
    rules = f'[spiders.s]\nstart = "{site.url}/"\nrobots = false{ITEM}'
    crawls.write(rules)
    crawls.run()
    kept = crawls.folder / "data/cache/s.sqlite3"
    with closing(sqlite3.connect(kept)) as database, database:
        database.execute("UPDATE pages SET body = x'00'")  # noticed when the site answers 304
    assert crawls.run().progress.unchanged == 1
    assert ["If-None-Match" in asked.headers for asked in site.asked] == [False, True, False]
    kept.write_bytes(b"\0damaged" * 1000)
    del site.asked[:]
    assert crawls.run().progress.unchanged == 1
    crawls.write(rules.replace("robots", "revalidate = false\nrobots"))
    assert crawls.run().outcome is Outcome.SUCCEEDED
    assert not any("If-None-Match" in asked.headers for asked in site.asked)


def test_pages_that_vary_or_forbid_storing_are_not_cached(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/a": Answer("<p>x</p>", headers={"ETag": '"1"', "Vary": "*"}),
                  "/b": Answer("<p>x</p>", headers={"ETag": '"1"', "Cache-Control": "no-store"}),
                  "/c": Answer("<p>x</p>", headers={"ETag": '"1"', "Vary": "Cookie"})}
    crawls.write(f'[spiders.s]\nstart = ["{site.url}/a", "{site.url}/b", '
                 f'{{ url = "{site.url}/c", cookies = {{ who = "a" }} }}]\nrobots = false{ITEM}')
    crawls.run()
    crawls.write(f'[spiders.s]\nstart = ["{site.url}/a", "{site.url}/b", '
                 f'{{ url = "{site.url}/c", cookies = {{ who = "b" }} }}]\nrobots = false{ITEM}')
    crawls.run()
    assert not any("If-None-Match" in asked.headers for asked in site.asked)


def test_cached_pages_are_limited_in_size_and_age(tmp_path: Path) -> None:
    cache = PageCache(tmp_path / "cache.sqlite3", 5000)
    for number in range(10):
        cache.put(f"http://a.example/{number}", CachedPage([("ETag", '"1"')], "", random.Random(number).randbytes(1000)))
    now = time.time()
    cache.prune(1e6, now)
    assert 3 <= sum(cache.get(f"http://a.example/{number}") is not None for number in range(10)) <= 5
    cache.prune(10, now + 100)
    assert not any(cache.get(f"http://a.example/{number}") for number in range(10))
    cache.close()


def test_cached_pages_are_compressed_and_read_back_unchanged(tmp_path: Path) -> None:
    bodies = {"text": b"<p>some words</p>" * 10_000, "packed": gzip.compress(random.Random(1).randbytes(10_000)), "": b"", "short": b"x"}
    cache = PageCache(tmp_path / "cache.sqlite3", 10**6)
    for name, body in bodies.items():
        cache.put(name, CachedPage([], "", body))
    cache.flush()
    assert {name: cache.get(name) for name in bodies} == {name: CachedPage([], "", body) for name, body in bodies.items()}
    cache.close()
    assert (tmp_path / "cache.sqlite3").stat().st_size < 50_000


def test_pages_cached_by_an_earlier_version_are_read(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "cache.sqlite3")) as database, database:
        database.execute("CREATE TABLE pages (url TEXT PRIMARY KEY, head TEXT NOT NULL, crc INTEGER NOT NULL, used_at REAL NOT NULL, "
                         "body BLOB NOT NULL)")
        database.execute("INSERT INTO pages VALUES ('u', '[[], \"\"]', ?, 0, ?)", [zlib.crc32(b"<p>x</p>"), b"<p>x</p>"])
    cache = PageCache(tmp_path / "cache.sqlite3", 10**6)
    assert cache.get("u") == CachedPage([], "", b"<p>x</p>")
    cache.close()


def test_pages_that_do_not_fit_into_the_cache_are_fetched_whole_and_counted_in_the_log(
        crawls: Crawls, site: PageSite, caplog: pytest.LogCaptureFixture) -> None:
    def page(asked: Asked) -> Answer:
        if "If-None-Match" in asked.headers:
            return Answer(status=304)
        noise = base64.b64encode(random.Random(asked.path).randbytes(100_000)).decode()
        return Answer(f"<p>x</p><!-- {noise} -->", headers={"ETag": '"1"'})
    site.pages = {f"/{number}": page for number in range(40)}
    starts = [f"{site.url}/{number}" for number in range(40)]
    crawls.write(f'[spiders.s]\nstart = {starts}\nrobots = false\npage_cache = "1MB"{ITEM}')
    first = crawls.run()
    size = (crawls.folder / "data/cache/s.sqlite3").stat().st_size
    again = crawls.run()
    assert size < 1_200_000
    assert (first.progress.pages, again.progress.pages, again.progress.unchanged) == (40, 40, 1)
    assert 5 <= sum("If-None-Match" in asked.headers for asked in site.asked) < 40
    assert "increase the `page_cache` setting" in caplog.text


def test_a_crawl_succeeds_without_a_writable_page_cache(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": Answer("<p>x</p>", headers={"ETag": '"1"'})}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\nrobots = false{ITEM}')
    (crawls.folder / "data").mkdir(exist_ok=True)
    (crawls.folder / "data" / "cache").write_text("a file where the folder should be")
    assert crawls.run().outcome is Outcome.SUCCEEDED


def test_headers_of_a_cached_page_keep_their_octets_and_its_validator_is_sent_whatever_it_is(crawls: Crawls, site: PageSite) -> None:
    def page(asked: Asked) -> Answer:
        headers = {"ETag": '"caf\xe9"', "X-Name": "caf\xe9"}
        return Answer(status=304, headers=headers) if "If-None-Match" in asked.headers else Answer("<p>x</p>", headers=headers)
    site.pages = {"/": page}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\nrobots = false{ITEM}\nname = {{ header = "X-Name" }}')
    for _ in range(2):
        run = crawls.run()
        assert (run.outcome, [item["name"] for item in crawls.items().values()]) == (Outcome.SUCCEEDED, ["caf\xe9"])
    assert "If-None-Match" in site.asked[1].headers
