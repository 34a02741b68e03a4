"""Crawls through pools of proxies, with bans; and httpbin's endpoints."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from pipeline.model import Outcome
from pipeline.store.console.lists import downloads_page
from tests.crawl.conftest import Crawls
from tests.servers.pages import Answer, Asked, PageSite
from tests.servers.ports import free_port
from tests.servers.proxies import start_tinyproxy
from tests.servers.wsgi import start_wsgi

ITEM = '\n[spiders.s.items.fields]\nx = "p"'
PAGES = {"/": "<p>start</p><a href=/1>1</a><a href=/2>2</a>", "/1": "<p>one</p>", "/2": "<p>two</p>"}


@pytest.mark.needs("tinyproxy")
@pytest.mark.parametrize("kind", ["http", "socks5h"])
def test_a_crawl_continues_with_the_next_proxy_of_the_pool(crawls: Crawls, site: PageSite, kind: str) -> None:
    site.pages = dict(PAGES)
    dead = [f"{kind}://me:geheim@127.0.0.1:{free_port()}" for _ in range(4)]
    with start_tinyproxy("me", "geheim") as place:
        pool = json.dumps([*dead, f"http://me:geheim@{place}"])
        crawls.write(f'[proxies]\np = {pool}\n[spiders.s]\nstart = "{site.url}/"\nfollow = ["a"]\nproxy = "p"\nretries = 0{ITEM}')
        run = crawls.run()
    assert (run.outcome, run.complete, run.progress.pages_failed) == (Outcome.SUCCEEDED, True, 0)
    health = json.loads((crawls.folder / "data/jars/s.proxy").read_text())
    assert len(health["health"]) == 4
    assert health["current"] == f"http://{place}"


@pytest.mark.needs("tinyproxy")
def test_the_next_proxy_is_used_when_one_refuses_the_password(crawls: Crawls, site: PageSite) -> None:
    site.pages = dict(PAGES)
    with start_tinyproxy("me", "other") as strict, start_tinyproxy("me", "geheim") as place:
        pool = json.dumps([f"http://me:geheim@{strict}", f"http://me:geheim@{place}"])
        crawls.write(f'[proxies]\np = {pool}\n[spiders.s]\nstart = "{site.url}/"\nfollow = ["a"]\nproxy = "p"{ITEM}')
        assert crawls.run().complete
    assert json.loads((crawls.folder / "data/jars/s.proxy").read_text())["current"] == f"http://{place}"


def test_no_request_is_sent_without_a_proxy_when_the_whole_pool_is_down(crawls: Crawls, site: PageSite) -> None:
    site.pages = dict(PAGES)
    pool = json.dumps([f"http://127.0.0.1:{free_port()}", f"socks5://127.0.0.1:{free_port()}"])
    crawls.write(f'[proxies]\np = {pool}\n[spiders.s]\nstart = "{site.url}/"\nproxy = "p"\nretries = 0\nrobots = false{ITEM}')
    run = crawls.run()
    assert (run.outcome, run.error_kind, site.asked) == (Outcome.FAILED, "ProxyError", [])


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITE_PASSWORD", "geheim")


@pytest.fixture(scope="module")
def two_proxies() -> Iterator[tuple[str, str]]:
    with start_tinyproxy("one", "geheim") as first, start_tinyproxy("two", "geheim") as second:
        yield first, second


@pytest.mark.needs("tinyproxy")
@pytest.mark.parametrize("rule", ["status = [403]", 'present = "#banned"'])
@pytest.mark.parametrize("where", ["/", "/login", "/file"])
def test_pages_logins_and_files_come_through_another_proxy_when_one_is_banned(
        crawls: Crawls, site: PageSite, two_proxies: tuple[str, str], where: str, rule: str) -> None:
    first, second = two_proxies
    met = False

    def banned_once(asked: Asked) -> Answer:
        nonlocal met
        if asked.path == where and not met and (where != "/login" or asked.method == "POST"):
            met = True
            return Answer("<b id=banned>no</b>", 403 if "status" in rule else 200)
        if asked.path == "/file":
            return Answer(b"%PDF-1.7 the file", headers={"Content-Type": "application/pdf"})
        form = "<form method=post><input name=user><input type=password name=pass></form>"
        return Answer(form if asked.path == "/login" and asked.method == "GET" else
                      "<p>yes</p><a href=/logout>out</a><a class=d href=/file>f</a>")
    site.pages = dict.fromkeys(["/", "/login", "/file", "/me"], banned_once)
    crawls.write(f"""
        [proxies]
        p = ["http://one:geheim@{first}", "http://two:geheim@{second}"]
        [spiders.s]
        start = "{site.url}/"
        download = [".d"]
        proxy = "p"
        robots = false
        banned = {{ {rule} }}
        items.fields.x = "p"
        [spiders.s.login]
        url = "{site.url}/login"
        check = "a[href*=logout]"
        check_url = "{site.url}/me"
        fields = {{ user = "me", pass = {{ env = "SITE_PASSWORD" }} }}
        """)
    run = crawls.perform()
    assert (run.outcome, met, run.progress.downloads) == (Outcome.SUCCEEDED, True, 1), run.error
    assert [item["x"] for item in crawls.items().values()] == ["yes"]
    again = {"/": ["/", "/"], "/file": ["/file", "/file"], "/login": ["/login"] * 4}[where]  # a login is repeated as a whole
    assert [path for path in site.paths() if path == where] == again
    assert "#banned" not in str(list((crawls.store.data_dir / "downloads/s").iterdir()))
    health = json.loads((crawls.folder / "data/jars/s.proxy").read_text())
    assert health["current"] == f"http://{second}"


@pytest.mark.needs("tinyproxy")
def test_a_file_fails_with_the_reason_when_the_only_proxy_is_banned(crawls: Crawls, site: PageSite,
                                                                   two_proxies: tuple[str, str]) -> None:
    site.pages = {"/": "<p>x</p><a class=d href=/file>f</a>", "/file": Answer("no", 403)}
    crawls.write(f'[proxies]\np = "http://one:geheim@{two_proxies[0]}"\n[spiders.s]\nstart = "{site.url}/"\nproxy = "p"\n'
                 f'download = [".d"]\nrobots = false\nbanned.status = [403]\ndownloads.attempts = 1{ITEM}')
    run = crawls.perform()
    assert run.progress.downloads_failed == 1
    (row,) = downloads_page(crawls.store, "s", limit=100)
    assert f"the proxy is banned by {site.url}/file" in row.error


def test_the_proxies_of_the_environment_are_used_when_set(crawls: Crawls, site: PageSite, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_every_httpbin_endpoint_is_crawled_as_the_settings_say(crawls: Crawls, monkeypatch: pytest.MonkeyPatch) -> None:
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
