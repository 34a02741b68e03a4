"""Whole runs through real proxies. The logs of the sites show that every request came through them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from pipeline.model import Outcome
from tests.crawl.conftest import Crawls
from tests.servers.authority import Authority
from tests.servers.pages import Answer, Asked, PageSite
from tests.servers.proxies import OUTGOING, start_socks_proxy, start_squid, start_tinyproxy

PASSWORD = "pr0xy-pass"
FILE = bytes(range(256)) * 2000


@contextmanager
def proxy_of(kind: str) -> Iterator[str]:
    """Start a proxy with credentials. Returns its URL, without them."""
    start = {"squid": start_squid, "tinyproxy": start_tinyproxy}.get(kind, start_socks_proxy)
    with start("me", PASSWORD) as place:
        yield f"{kind if kind.startswith('socks') else 'http'}://{place}"


def login(asked: Asked) -> Answer:
    if asked.method == "POST":
        return Answer("<a href=/logout>out</a>", headers={"Set-Cookie": "sid=1; Path=/"})
    return Answer("<form method=post><input name=user><input type=password name=pass></form>")


OUT = "<a href=/logout>out</a>"


def behind(body: bytes | str) -> Callable[[Asked], Answer]:
    """A page that needs the login."""
    return lambda asked: Answer(body if asked.headers.get("Cookie") == "sid=1" else "wall")


def settings(proxy: str, start: list[str], site: PageSite, more: str = "") -> str:
    return f"""
        [proxies.p]
        url = "{proxy}"
        user = "me"
        password = {{ env = "PROXY_PASSWORD" }}
        [spiders.s]
        start = {json.dumps(start)}
        follow = ["a:not(.d)"]
        download = ["a.d"]
        proxy = "p"
        retries = 0
        downloads.attempts = 1
        {more}
        items.fields.text = "p"
        [spiders.s.login]
        url = "{site.url}/login"
        check = "a[href*=logout]"
        check_url = "{site.url}/me"
        fields = {{ user = "me", pass = {{ env = "SITE_PASSWORD" }} }}
        """


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXY_PASSWORD", PASSWORD)
    monkeypatch.setenv("SITE_PASSWORD", "geheim")


@pytest.mark.needs("squid", "tinyproxy", "microsocks")
@pytest.mark.parametrize("kind", ["squid", "tinyproxy", "socks5", "socks5h"])
def test_logins_pages_and_files_of_plain_and_tls_sites_all_come_through_the_proxy(crawls: Crawls, authority: Authority,
                                                                            kind: str) -> None:
    with PageSite() as plain, PageSite(tls=authority.context()) as tls, proxy_of(kind) as proxy:
        for site in (plain, tls):
            site.pages = {"/login": login, "/me": behind(OUT), "/": behind("<p>start</p><a href=/1>1</a><a class=d href=/f.bin>f</a>"),
                          "/1": behind("<p>one</p>"), "/f.bin": behind(FILE)}
        for login_site in (plain, tls):  # one login is valid for both, since cookies do not depend on the port
            crawls.write(settings(proxy, [f"{plain.url}/", f"{tls.url}/"], login_site, f'ca_file = "{authority.ca_file}"'))
            run = crawls.perform()
            assert (run.outcome, run.complete, run.progress.pages) == (Outcome.SUCCEEDED, True, 4), run.error
            assert run.progress.downloads_failed == 0
            shutil.rmtree(crawls.store.data_dir / "jars")
        files = [path for path in (crawls.store.data_dir / "downloads" / "s").iterdir() if path.is_file()]
        assert [path.read_bytes() == FILE for path in files] == [True] * 2
        for site in (plain, tls):
            assert {asked.path for asked in site.asked} == {"/login", "/me", "/robots.txt", "/", "/1", "/f.bin"}
            assert {asked.peer for asked in site.asked} == {OUTGOING}
            assert PASSWORD not in str(site.asked)
        assert {item["text"] for item in crawls.items().values()} == {"start", "one"}


@pytest.mark.needs("microsocks", "tinyproxy")
@pytest.mark.parametrize("kind", ["tinyproxy", "socks5h"])
@pytest.mark.parametrize("dies_at", ["", "/", "/f"])
def test_no_request_bypasses_a_proxy_that_dies_at_any_moment(crawls: Crawls, kind: str, dies_at: str) -> None:
    with PageSite() as site, ExitStack() as proxies:
        proxy = proxies.enter_context(proxy_of(kind))
        pages = {"/": "<p>start</p><a href=/1>1</a><a class=d href=/f>f</a><a class=d href=/g>g</a>", "/1": "<p>1</p>",
                 "/f": "a file", "/g": "a file"}

        def dying(asked: Asked) -> Answer:
            proxies.close()
            return Answer(pages[asked.path])
        site.pages = {**pages, "/login": login, "/me": behind(OUT), dies_at: dying}
        if not dies_at:
            proxies.close()
        more = "robots = false\nconcurrency = 1\nmax_pages = 1\ndownloads.workers = 1" if dies_at == "/f" else "robots = false"
        crawls.write(settings(proxy, [f"{site.url}/"], site, more))
        run = crawls.perform()
        assert run.outcome is not Outcome.SUCCEEDED or run.progress.downloads_failed == 2, run.error
        assert [path for path in site.paths() if path != "/me"] == {"": [], "/": ["/login", "/login", "/"], "/f": ["/login", "/login", "/", "/f"]}[dies_at]
        assert {asked.peer for asked in site.asked} == ({OUTGOING} if dies_at else set())
        assert PASSWORD not in run.error
