"""Crawls with what a session brings: pools of proxies, bans, digest auth, httpbin's endpoints."""

from __future__ import annotations

import json
import re

import pytest

from pipeline.model import Outcome
from tests.crawl.conftest import Crawls
from tests.servers.pages import Answer, Asked, PageSite
from tests.servers.proxies import free_port, start_http_proxy
from tests.servers.wsgi import start_wsgi

ITEM = '\n[spiders.s.items.fields]\nx = "p"'
PAGES = {"/": "<p>start</p><a href=/1>1</a><a href=/2>2</a>", "/1": "<p>one</p>", "/2": "<p>two</p>"}


@pytest.mark.parametrize("kind", ["http", "socks5h"])
def test_a_crawl_goes_on_with_the_pools_next_proxy(crawls: Crawls, site: PageSite, kind: str) -> None:
    site.pages = dict(PAGES)
    dead = [f"{kind}://me:geheim@127.0.0.1:{free_port()}" for _ in range(4)]
    with start_http_proxy("me:geheim") as place:
        pool = json.dumps([*dead, f"http://me:geheim@{place}"])
        crawls.write(f'[proxies]\np = {pool}\n[spiders.s]\nstart = "{site.url}/"\nfollow = ["a"]\nproxy = "p"\nretries = 0{ITEM}')
        run = crawls.run()
    assert (run.outcome, run.complete, run.progress.pages_failed) == (Outcome.SUCCEEDED, True, 0)
    health = json.loads((crawls.folder / "data/jars/s.proxy").read_text())
    assert len(health["health"]) == 4
    assert health["current"] == f"http://{place}"


def test_a_proxy_that_refuses_us_gives_way_to_the_next(crawls: Crawls, site: PageSite) -> None:
    site.pages = dict(PAGES)
    with start_http_proxy("me:other") as strict, start_http_proxy("me:geheim") as place:
        pool = json.dumps([f"http://me:geheim@{strict}", f"http://me:geheim@{place}"])
        crawls.write(f'[proxies]\np = {pool}\n[spiders.s]\nstart = "{site.url}/"\nfollow = ["a"]\nproxy = "p"{ITEM}')
        assert crawls.run().complete
    assert json.loads((crawls.folder / "data/jars/s.proxy").read_text())["current"] == f"http://{place}"


def test_a_pool_that_is_down_leaks_nothing(crawls: Crawls, site: PageSite) -> None:
    site.pages = dict(PAGES)
    pool = json.dumps([f"http://127.0.0.1:{free_port()}", f"socks5://127.0.0.1:{free_port()}"])
    crawls.write(f'[proxies]\np = {pool}\n[spiders.s]\nstart = "{site.url}/"\nproxy = "p"\nretries = 0\nrobots = false{ITEM}')
    run = crawls.run()
    assert (run.outcome, run.error_kind, site.asked) == (Outcome.FAILED, "ProxyError", [])


@pytest.mark.parametrize("rule", ["status = [403]", 'present = "#banned"'])
def test_a_banned_proxy_rests_and_the_page_comes_through_another(crawls: Crawls, site: PageSite, rule: str) -> None:
    with start_http_proxy("one:geheim") as first, start_http_proxy("two:geheim") as second:
        count = 0

        def page(asked: Asked) -> Answer:
            nonlocal count
            count += 1
            banned = Answer("<b id=banned>no</b>", 403 if "status" in rule else 200)
            return banned if count == 1 else Answer("<p>yes</p>")
        site.pages = {"/": page}
        crawls.write(f'[proxies]\np = ["http://one:geheim@{first}", "http://two:geheim@{second}"]\n[spiders.s]\n'
                     f'start = "{site.url}/"\nproxy = "p"\nrobots = false\nbanned = {{ {rule} }}{ITEM}')
        run = crawls.run()
        assert (run.outcome, count) == (Outcome.SUCCEEDED, 2)
        assert [item["x"] for item in crawls.items().values()] == ["yes"]
        health = json.loads((crawls.folder / "data/jars/s.proxy").read_text())
        assert (list(health["health"]), health["current"]) == ([f"http://{first}"], f"http://{second}")


def test_the_environments_proxies_are_used_when_told(crawls: Crawls, site: PageSite, monkeypatch: pytest.MonkeyPatch) -> None:
    site.pages = dict(PAGES)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    spider = f'[spiders.s]\nstart = "{site.url}/"\nretries = 0\nrobots = false{ITEM}'
    crawls.write(spider)
    assert crawls.run().outcome is Outcome.SUCCEEDED
    crawls.write(spider.replace("retries", 'proxy = "environment"\nretries'))
    asked = len(site.asked)
    run = crawls.run()
    assert (run.error_kind, len(site.asked)) == ("ProxyError", asked)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert crawls.run().outcome is Outcome.SUCCEEDED


def test_httpbin_as_declared_in_settings(crawls: Crawls, monkeypatch: pytest.MonkeyPatch) -> None:
    import httpbin
    monkeypatch.setenv("BIN_PASSWORD", "pa:ss w")
    monkeypatch.setenv("BIN_DIGEST", "secret")
    with start_wsgi(httpbin.app) as url:
        crawls.write(f"""
            [spiders.s]
            robots = false
            retries = 0
            start = [
                "{url}/cookies/set/sessioncookie/123456789", "{url}/redirect/3", "{url}/absolute-redirect/2",
                "{url}/gzip", "{url}/deflate", "{url}/brotli", "{url}/encoding/utf8", "{url}/status/418", "{url}/status/204",
                {{ url = "{url}/cookies?own=1", cookies = {{ own = "1" }} }},
                {{ url = "{url}/basic-auth/me/pa:ss w", auth = {{ user = "me", password = {{ env = "BIN_PASSWORD" }} }} }},
                {{ url = "{url}/digest-auth/auth/me/secret", auth = {{ type = "digest", user = "me", password = {{ env = "BIN_DIGEST" }} }} }},
                {{ url = "{url}/digest-auth/auth/me/secret/SHA-256", auth = {{ type = "digest", user = "me", password = {{ env = "BIN_DIGEST" }} }} }},
            ]
            [spiders.s.items]
            key = ["url"]
            [spiders.s.items.fields]
            url = {{ page = "url" }}
            status = {{ page = "status" }}
            body = {{ jmes = "@" }}
            title = "h1"
            """)
        run = crawls.run()
        found = {re.sub(r"%20", " ", item["url"].removeprefix(url)): item for item in crawls.items().values()}
    bodies = {path: json.loads(item["body"]) for path, item in found.items() if item["body"]}
    assert bodies["/cookies"]["cookies"]["sessioncookie"] == "123456789"
    assert bodies["/cookies?own=1"]["cookies"]["own"] == "1"
    assert bodies["/gzip"]["gzipped"] is True
    assert bodies["/deflate"]["deflated"] is True
    assert bodies["/brotli"]["brotli"] is True
    assert "/get" in bodies
    assert "Unicode Demo" in found["/encoding/utf8"]["title"]
    assert bodies["/basic-auth/me/pa:ss w"]["authenticated"] is True
    assert bodies["/digest-auth/auth/me/secret"]["authenticated"] is True, run.error
    assert bodies["/digest-auth/auth/me/secret/SHA-256"]["authenticated"] is True
    assert run.outcome is Outcome.SUCCEEDED
