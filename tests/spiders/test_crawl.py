"""The built-in spider `crawl`: it fetches, follows, extracts and downloads what settings.toml says."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import sqlite3

import pytest

from pipeline.model import Outcome
from tests.crawl.conftest import Crawls
from tests.servers.pages import Answer, Asked, PageSite

SHOP = """
    <div class=p><h3><a href="/i/1" title="One">x</a></h3><p class=price> £1,234.50 </p></div>
    <div class=p><h3><a href="/i/2" title="Zwei &amp; Drei">y</a></h3><p class=price>2,5 €</p></div>
    <ul><li class=next><a href="/page/2#top">more</a></li><li><a href="http://elsewhere.example/">no</a></li></ul>"""
ITEMS = """
    [spiders.s.items]
    each = "div.p"
    key = ["url"]
    [spiders.s.items.fields]
    title = "h3 a::attr(title)"
    url = "h3 a::attr(href)"
    price = { css = ".price", type = "number" }
"""


def test_items_are_extracted_and_links_followed_on_the_same_host(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": SHOP, "/page/2": "<div class=p><h3><a href=/i/3 title=Three></a></h3></div>"}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\nfollow = ["a"]\n' + ITEMS)
    run = crawls.run()
    assert run.outcome is Outcome.SUCCEEDED
    # /i/1 and /i/2 are links, too, and are not there: a 404 is an answer.
    assert sorted(site.paths()) == ["/", "/i/1", "/i/2", "/i/3", "/page/2"]
    assert crawls.items() == {
        f"{site.url}/i/1": {"title": "One", "url": f"{site.url}/i/1", "price": 1234.5},
        f"{site.url}/i/2": {"title": "Zwei & Drei", "url": f"{site.url}/i/2", "price": 2.5},
        f"{site.url}/i/3": {"title": "Three", "url": f"{site.url}/i/3", "price": None},
    }
    assert run.complete


@pytest.mark.parametrize(("rules", "expected"), [
    ('title = "//h1/text()"\nkey = ".//@data-id"', {"title": "Hi there", "key": "7"}),
    ('title = "h1"\nkey = "h1::attr(data-id)"', {"title": "Hi there you", "key": "7"}),
    ('title = "h1::text"\nkey = { css = "h1", regex = "(\\\\w+) you" }', {"title": "Hi there", "key": "there"}),
    ('title = { css = "h2", default = "none" }\nkey = { css = "b", many = true }', {"title": "none", "key": ["you", "me"]}),
    ('title = { page = "title" }\nkey = { page = "status" }', {"title": "T", "key": 200}),
    ('title = { header = "X-Made" }\nkey = { page = "url" }', {"title": "by me", "key": "URL"}),
    ('title = { css = "b", type = "html" }\nkey = "(//b)[last()]"', {"title": "<b>you</b>", "key": "me"}),
])
def test_rules_of_each_kind_are_extracted(crawls: Crawls, site: PageSite, rules: str, expected: dict[str, object]) -> None:
    site.pages = {"/": Answer("<title>T</title><h1 data-id=7> Hi\n there <b>you</b></h1><b>me</b>",
                              headers={"X-Made": "by me"})}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\n[spiders.s.items.fields]\n{rules}')
    crawls.run()
    ((item,),) = [list(crawls.items().values())]
    assert item == {name: f"{site.url}/" if value == "URL" else value for name, value in expected.items()}


def test_json_is_read_with_jmespath(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": Answer('{"rows": [{"id": 1, "n": {"x": "a"}}, {"id": 2, "n": {"x": "b"}}], "next": "/2"}',
                              headers={"Content-Type": "application/json"}), "/2": Answer('{"rows": []}', headers={
                                  "Content-Type": "application/json"})}
    crawls.write(f"""
        [spiders.s]
        start = "{site.url}/"
        follow = [{{ jmes = "next" }}]
        [spiders.s.items]
        each = {{ jmes = "rows" }}
        key = ["id"]
        [spiders.s.items.fields]
        id = {{ jmes = "id", type = "number" }}
        x = {{ jmes = "n.x" }}
    """)
    crawls.run()
    assert list(crawls.items().values()) == [{"id": 1, "x": "a"}, {"id": 2, "x": "b"}]
    assert site.paths() == ["/", "/2"]


def test_start_requests_are_sent_with_their_method_body_headers_and_cookies(crawls: Crawls, site: PageSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "s3cret-token")
    site.pages = dict.fromkeys(("/get", "/form", "/json", "/empty", "/auth"), "<p>ok</p>")
    crawls.write(f"""
        [spiders.s]
        start = [
            {{ url = "{site.url}/get", params = {{ a = "1", none = "", list = ["x", "y"] }}, cookies = {{ k = "v" }} }},
            {{ url = "{site.url}/form", method = "POST", form = [["a", "1"], ["a", "2"], ["ü", "é"]] }},
            {{ url = "{site.url}/json", method = "POST", json = {{ a = [1, 2] }}, headers = {{ X-Own = "yes" }} }},
            {{ url = "{site.url}/empty", method = "POST" }},
            {{ url = "{site.url}/auth", auth = {{ type = "bearer", token = {{ env = "TOKEN" }} }} }},
        ]
        [spiders.s.items.fields]
        text = "p"
    """)
    run = crawls.run()
    by_path = {asked.path.partition("?")[0]: asked for asked in site.asked}
    assert by_path["/get"].path == "/get?a=1&list=x&list=y"
    assert by_path["/get"].headers["Cookie"] == "k=v"
    assert "Content-Length" not in by_path["/get"].headers
    assert by_path["/empty"].headers["Content-Length"] == "0"
    assert (by_path["/form"].method, by_path["/form"].body) == ("POST", b"a=1&a=2&%C3%BC=%C3%A9")
    assert by_path["/json"].body in (b'{"a": [1, 2]}', b'{"a":[1,2]}')
    assert by_path["/json"].headers["X-Own"] == "yes"
    assert by_path["/auth"].headers["Authorization"] == "Bearer s3cret-token"
    assert run.progress.pages == 5
    database = b"".join(path.read_bytes() for path in (crawls.folder / "data").glob("pipeline.sqlite3*"))
    assert b"s3cret-token" not in database


def test_cookies_are_sent_back_and_saved_for_the_next_run(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": Answer("<a href=/2>2</a>", headers={"Set-Cookie": "seen=1; Path=/; Max-Age=600"}), "/2": "<p>x</p>"}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\nfollow = ["a"]\nrobots = false\n[spiders.s.items.fields]\nx = "p"')
    crawls.run()
    crawls.run()
    assert [asked.headers.get("Cookie") for asked in site.asked] == [None, "seen=1", "seen=1", "seen=1"]
    jar = crawls.folder / "data" / "jars" / "s.txt"
    assert jar.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("encoding", "text"), [("gbk", "价格 5元"), ("gb18030", "价格 ¥5 \U0001f4b0"), ("shift_jis", "価格 5円")])
def test_pages_are_decoded_by_header_by_meta_and_by_setting(crawls: Crawls, site: PageSite, encoding: str, text: str) -> None:
    page = f"<meta charset={{}}><p>{text}</p>"
    site.pages = {
        "/header": Answer(f"<p>{text}</p>".encode(encoding), headers={"Content-Type": f"text/html; charset={encoding}"}),
        "/meta": Answer(page.format(encoding).encode(encoding), headers={"Content-Type": "text/html"}),
        "/hand": Answer(page.format("utf-8").encode(encoding), headers={"Content-Type": "text/html; charset=utf-8"}),
        "/gzip": Answer(gzip.compress(f"<p>{text}</p>".encode()), headers={"Content-Encoding": "gzip"}),
    }
    crawls.write(f"""
        [spiders.s]
        start = ["{site.url}/header", "{site.url}/meta", "{site.url}/gzip",
                 {{ url = "{site.url}/hand", encoding = "{encoding}" }}]
        [spiders.s.items.fields]
        url = {{ page = "url" }}
        text = "p"
    """)
    crawls.run()
    assert {item["text"] for item in crawls.items().values()} == {text}
    assert len(crawls.items()) == 4


@pytest.mark.parametrize(("encoding", "text"), [
    ("cp1252", "Le café était à côté du théâtre."), ("cp1252", "é"), ("cp1252", "« Été »"), ("cp1252", "“Größe” – 12 €"),
    ("cp1252", "São João não é irmão"), ("cp1251", "Магазин: цена 100 руб"), ("gb18030", "商店，价格 100 元"),
    ("shift_jis", "価格は100円です"), ("euc_jp", "価格は100円です"), ("euc_kr", "가게 가격 100원"), ("big5", "商店，價格 100 元"),
    ("utf-8", "Köln – März"), ("utf-8", None)])
def test_a_page_without_a_declared_encoding_is_read_as_browsers_read_it(
        crawls: Crawls, site: PageSite, encoding: str, text: str | None) -> None:
    if text is None:  # UTF-8 with one wrong byte
        body, text = "Köln – März".encode() + b"\xe9", "Köln – März\ufffd"
    else:
        body = text.encode(encoding)
    site.pages = {"/html": Answer(b"<p>" + body, headers={"Content-Type": "text/html"}),
                  "/gzip": Answer(gzip.compress(b"<p>" + body), headers={"Content-Type": "text/html", "Content-Encoding": "gzip"}),
                  "/text": Answer(b"<p>" + body, headers={"Content-Type": "application/octet-stream"})}
    crawls.write(f"""
        [spiders.s]
        start = ["{site.url}/html", "{site.url}/gzip", "{site.url}/text"]
        [spiders.s.items.fields]
        url = {{ page = "url" }}
        text = "p"
    """)
    crawls.run()
    assert [item["text"] for item in crawls.items().values()] == [text] * 3


def test_redirects_are_followed_up_to_a_limit(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": Answer(status=302, headers={"Location": "/there"}), "/there": "<p>here</p>",
                  "/loop": Answer(status=302, headers={"Location": "/loop"})}
    crawls.write(f'[spiders.s]\nstart = ["{site.url}/", "{site.url}/loop"]\n[spiders.s.items.fields]\nx = "p"')
    run = crawls.run()
    assert [item["x"] for item in crawls.items().values()] == ["here"]
    assert run.progress.pages_failed == 1
    assert site.paths().count("/loop") <= 21


def test_a_run_that_reaches_max_pages_is_not_complete(crawls: Crawls, site: PageSite) -> None:
    def page(asked: Asked) -> Answer:
        number = int(asked.path[1:])
        return Answer(f"<p>{number}</p>" + "".join(f"<a href=/{number * 3 + n}>n</a>" for n in range(3)))

    site.pages = {f"/{number}": page for number in range(1000)}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/1"\nfollow = ["a"]\nmax_pages = 7\n[spiders.s.items.fields]\nx = "p"')
    run = crawls.run()
    assert (run.outcome, run.complete, run.progress.pages) == (Outcome.SUCCEEDED, False, 7)
    assert "max_pages = 7" in run.error


def test_links_are_followed_up_to_max_depth(crawls: Crawls, site: PageSite) -> None:
    site.pages = {f"/{number}": f"<p>{number}</p><a href=/{number + 1}>n</a>" for number in range(9)}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/0"\nfollow = ["a"]\nmax_depth = 2\n[spiders.s.items.fields]\nx = "p"')
    assert crawls.run().progress.pages == 3


def test_a_run_that_is_stopped_at_its_start_fetches_nothing(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": SHOP}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\n' + ITEMS)

    async def at_once(stop: asyncio.Event) -> None:
        stop.set()

    run = crawls.run(while_running=at_once)
    assert (run.outcome, run.error) == (Outcome.STOPPED, "stopped with 1 page left to fetch")
    assert not site.paths()
    assert crawls.run().complete


def test_a_store_that_fails_at_the_first_write_fails_the_run_and_does_not_block_it(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": SHOP}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\n' + ITEMS)
    broken = sqlite3.connect(crawls.store.data_dir / "pipeline.sqlite3", isolation_level=None)
    with contextlib.closing(broken):
        broken.execute("CREATE TRIGGER full BEFORE INSERT ON frontier BEGIN SELECT RAISE(ABORT, 'no room'); END")
        run = crawls.run()
        broken.execute("DROP TRIGGER full")
    assert run.outcome is Outcome.FAILED
    assert "no room" in run.error
    assert crawls.run().complete


def test_robots_txt_is_obeyed_and_reported(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/robots.txt": Answer("User-agent: *\nDisallow: /private\n", headers={"Content-Type": "text/plain"}),
                  "/": "<p>x</p><a href=/private>p</a>", "/private": "<p>y</p>"}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\nfollow = ["a"]\n[spiders.s.items.fields]\nx = "p"')
    run = crawls.run()
    assert site.paths() == ["/"]
    assert "robots.txt forbids this URL" in run.error


def test_an_error_status_of_the_only_page_fails_the_run(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": Answer("oops", 500)}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\nretries = 1\n[spiders.s.items.fields]\nx = "p"')
    run = crawls.run()
    assert (run.outcome, run.error_kind) == (Outcome.FAILED, "FetchError")
    assert "HTTP 500" in run.error
    assert site.paths() == ["/", "/"]
    site.pages = {"/": "<p>well again</p>"}
    assert crawls.run().outcome is Outcome.SUCCEEDED


def test_a_site_that_is_down_fails_the_run_and_the_next_run_succeeds(crawls: Crawls, free_port: int) -> None:
    crawls.write(f'[spiders.s]\nstart = "http://127.0.0.1:{free_port}/"\nretries = 0\n[spiders.s.items.fields]\nx = "p"')
    run = crawls.run()
    assert (run.outcome, run.error_kind) == (Outcome.FAILED, "FetchError")
    assert str(free_port) in run.error


def test_some_failed_pages_make_a_run_incomplete_and_mark_nothing_gone(crawls: Crawls, site: PageSite) -> None:
    good = {"/": "<a href=/1>1</a><a href=/2>2</a>", "/1": "<p>1</p>", "/2": "<p>2</p>"}
    site.pages = dict(good)
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\nfollow = ["a"]\nretries = 0\n[spiders.s.items.fields]\nx = "p"')
    crawls.run()
    site.pages = good | {"/2": Answer("down", 503)}
    second = crawls.run()
    assert (second.outcome, second.complete) == (Outcome.SUCCEEDED, False)
    assert crawls.changes(second) == []
    site.pages = good | {"/2": Answer("gone", 404)}
    third = crawls.run()
    assert [change.kind for change in crawls.changes(third)] == ["gone"]


@pytest.mark.parametrize("status", [400, 401, 402, 403, 405, 406, 407, 418, 421, 451, 304])
def test_nothing_is_gone_when_a_page_is_refused_that_was_fetched_before(crawls: Crawls, site: PageSite, status: int) -> None:
    site.pages = {"/": "<a href=/1></a><a href=/2></a>", "/1": "<p>one</p>", "/2": "<p>two</p>"}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\nfollow = ["a"]\nretries = 0\n[spiders.s.items]\neach = "p"\n'
                 'key = ["x"]\nfields = { x = "::text" }')
    crawls.run()
    site.pages["/2"] = Answer("" if status == 304 else "<h1>no</h1>", status)
    second = crawls.run()
    assert (second.outcome, second.complete) == (Outcome.SUCCEEDED, False)
    assert crawls.changes(second) == []
    assert str(status) in second.error


@pytest.mark.parametrize("status", [200, 204, 205, 300])
def test_nothing_is_gone_when_a_page_comes_empty_that_had_items(crawls: Crawls, site: PageSite, status: int) -> None:
    site.pages = {"/": "<a href=/1></a><a href=/2></a>", "/1": "<p>one</p>", "/2": "<p>two</p>"}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\nfollow = ["a"]\nretries = 0\n[spiders.s.items]\neach = "p"\n'
                 'key = ["x"]\nfields = { x = "::text" }')
    crawls.run()
    site.pages["/2"] = Answer("", status)
    second = crawls.run()
    assert (second.outcome, second.complete) == (Outcome.SUCCEEDED, False)
    assert crawls.changes(second) == []
    assert f"1 page that had items before came back empty or as binary data; the first: {site.url}/2" in second.error
    site.pages["/2"] = Answer("<h1>Nothing in stock</h1>")
    assert [change.kind for change in crawls.changes(crawls.run())] == ["gone"]


def test_an_item_without_its_key_is_rejected_and_counted(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": "<div class=p><b>no link</b></div><div class=p><b>t</b><h3><a href=/i/1></a></h3></div>"}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\n' + ITEMS.replace("h3 a::attr(title)", "b"))
    run = crawls.run()
    assert (run.progress.items, run.progress.rejected) == (1, 1)


def test_a_page_larger_than_max_page_size_fails(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": Answer(gzip.compress(b"<p>" + b"x" * 5_000_000), headers={"Content-Encoding": "gzip"})}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\nmax_page_size = "1MB"\nretries = 0\n[spiders.s.items.fields]\nx = "p"')
    assert crawls.run().outcome is Outcome.FAILED


def test_downloads_are_queued_with_the_page(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": "<a class=d href='/f/a.pdf'>a</a><a class=d href='/f/b.pdf#p2'>b</a><a class=d href='mailto:x'>c</a>"
                       "<a class=d href='ftp://h/c.pdf'>it is told that it will not be fetched</a>"}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\ndownload = ["a.d"]')
    run = crawls.run()
    from pipeline.store.runs.runs import work_left
    assert work_left(crawls.store, run.pass_id) == (0, 3)
    assert site.paths() == ["/"]


def test_a_download_belongs_to_the_item_with_its_url_or_to_the_only_item_of_its_page(crawls: Crawls, site: PageSite) -> None:
    rows = "".join(f"<li><b>{name}</b><a href='/f/{name}.pdf'>x</a></li>" for name in ("one", "two"))
    site.pages = {"/": f"<ul>{rows}</ul><a href='/f/terms.pdf'>x</a><p><a href=/only>x</a></p>",
                  "/only": "<ul><li><b>alone</b></li></ul><a href='/f/three.pdf'>x</a>"}
    site.pages |= {f"/f/{name}.pdf": name for name in ("one", "two", "terms", "three")}
    crawls.write(f"""
        [spiders.s]
        start = "{site.url}/"
        follow = ["p a"]
        download = ["a[href$='.pdf']"]
        [spiders.s.items]
        each = "li"
        key = ["title"]
        [spiders.s.items.fields]
        title = "b"
        file = "a::attr(href)"
        [spiders.s.downloads]
        path = "{{item.title}}/{{name}}"
    """)
    assert crawls.perform().progress.downloads == 4
    landed = crawls.store.data_dir / "downloads" / "s"
    assert sorted(str(path.relative_to(landed)) for path in landed.rglob("*.pdf")) == [
        "alone/three.pdf", "one/one.pdf", "two/two.pdf", "unsorted/terms.pdf"]


def test_headers_of_a_spider_go_to_its_own_hosts_only(crawls: Crawls, site: PageSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "s3cret-key")
    with PageSite({"/there": "<p>there</p>"}) as other:
        away = other.url.replace("127.0.0.1", "localhost") + "/there"
        site.pages = {"/": Answer(status=302, headers={"Location": away})}
        crawls.write(f"""
            [spiders.s]
            start = {{ url = "{site.url}/", headers = {{ X-Start = "mine" }} }}
            hosts = ["{away.split("/")[2]}"]
            headers = {{ X-Key = {{ env = "API_KEY" }} }}
            [spiders.s.items.fields]
            x = "p"
        """)
        crawls.run()
        sent = {name.lower(): value for name, value in site.asked[-1].headers.items()}
        assert (sent["x-key"], sent["x-start"]) == ("s3cret-key", "mine")
        received = {name.lower() for asked in other.asked for name in asked.headers}
        assert received
        assert not received & {"x-key", "x-start"}
