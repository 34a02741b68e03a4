"""Pages that are cut on the way: whatever they are, they never count as complete."""

from __future__ import annotations

import gzip
import re

import pytest

from tests.crawl.browser.conftest import failed_pages, toml
from tests.crawl.conftest import Crawls
from tests.servers.authority import Authority
from tests.servers.pages import Answer, PageSite

pytestmark = pytest.mark.needs("chromium")

LINES = "name,price\n" + "".join(f"thing {number},{number}\n" for number in range(500))
JSON = "[" + ", ".join(f'{{"name": "thing {number}"}}' for number in range(500)) + "]"
HTML = "<html><h1>Whole</h1>" + "<p>text</p>" * 500 + "</html>"
RULES = "items.each = 'html'\nitems.key = ['url']\nitems.fields.url = { page = 'url' }\n"


def packed(body: str, kind: str, *, cut: int | None = None) -> Answer:
    """A compressed answer. cut: how many bytes of it are sent; the Content-Length is that of the whole."""
    return Answer(gzip.compress(body.encode()), headers={"Content-Type": kind, "Content-Encoding": "gzip"}, cut=cut)


CUT = {
    "/cut.csv": Answer(LINES, headers={"Content-Type": "text/csv"}, cut=2000),
    "/cut.json": Answer(JSON, headers={"Content-Type": "application/json"}, cut=2000),
    "/cut.txt": Answer(LINES, headers={"Content-Type": "text/plain"}, cut=2000),
    "/cut.html": Answer(HTML, cut=2000),
    "/packed.csv": packed(LINES, "text/csv", cut=300),
    "/packed.json": packed(JSON, "application/json", cut=300),
    "/packed.html": packed(HTML, "text/html", cut=40),
}
WHOLE = {
    "/whole.csv": Answer(LINES, headers={"Content-Type": "text/csv"}),
    "/whole.json": Answer(JSON, headers={"Content-Type": "application/json"}),
    "/whole-packed.csv": packed(LINES, "text/csv"),
    "/whole.html": Answer(HTML),
}
OVER_TLS = {"/cut.csv", "/cut.html", "/packed.json", "/whole.html"}
"""One of each kind also comes over TLS, where the guard proxy reads it from another stream."""


def test_a_cut_body_of_any_kind_fails_its_page_and_no_other(crawls: Crawls, authority: Authority) -> None:
    """Four pages are loaded at once, so the failure of one must not be taken for that of another."""
    over_tls = {path: answer for path, answer in (CUT | WHOLE).items() if path in OVER_TLS}
    with PageSite(CUT | WHOLE) as plain, PageSite(over_tls, tls=authority.context()) as secured:
        urls = [served.url + path for served in (plain, secured) for path in served.pages]
        crawls.write(f"[spiders.s]\nstart = {toml(sorted(urls, key=lambda url: url[::-1]))}\nrender = 'browser'\n"
                     f"concurrency = 4\nretries = 0\ninsecure_tls = true\n{RULES}")
        run = crawls.run()
        assert not run.complete
        assert sorted(path for path, _ in failed_pages(crawls)) == sorted([*CUT, *(OVER_TLS - WHOLE.keys())]), failed_pages(crawls)
        assert run.progress.items == len(WHOLE) + len(OVER_TLS & WHOLE.keys())


def test_what_is_not_html_is_requested_again_without_the_browser(quick_crawls: Crawls, site: PageSite) -> None:
    site.pages |= WHOLE
    quick_crawls.write(f"[spiders.s]\nstart = ['{site.url}/whole.csv']\nrender = 'browser'\n{RULES}")
    assert quick_crawls.run().complete
    by = ["Sec-Fetch-Mode" in asked.headers for asked in site.asked if asked.path == "/whole.csv"]
    assert by == [True, False]


def test_the_error_of_a_page_that_never_shows_what_it_should_names_the_requests_that_failed(quick_crawls: Crawls, site: PageSite) -> None:
    asks = "<h1>Loading</h1><script>fetch('/{0}?token=hidden').then(async answer => document.body.append(await answer.text()))</script>"
    site.pages |= {"/refused": asks.format("refused.json"), "/step": asks.format("refused.json"), "/cut": asks.format("cut.json"),
                   "/refused.json?token=hidden": Answer("no", status=403), "/cut.json?token=hidden": Answer("x" * 1000, cut=10)}
    starts = [{"url": f"{site.url}/refused", "render": {"wait_for": "#list"}}, {"url": f"{site.url}/cut", "render": {"wait_for": "#list"}},
              *({"url": f"{site.url}/{path}", "render": {"steps": [{"click": "#more"}]}} for path in ("step", "covered"))]
    site.pages["/covered"] = "<div id=banner style='position: fixed; inset: 0'><p>Accept?</div><button id=more>more</button>"
    quick_crawls.write(f"[spiders.s]\nstart = {toml(starts)}\ntimeout = '3s'\nretries = 0\n{RULES}")
    assert not quick_crawls.run().complete
    errors, refused = dict(failed_pages(quick_crawls)), f"HTTP 403 from {site.url}/refused.json?token=•••; check"
    assert f"the selector '#list' did not appear within 3 s; {refused}" in errors["/refused"]
    assert re.search(r"step 1 \(click '#more'\) failed: the element is covered by (div#banner|p); check", errors["/covered"])
    assert re.search(rf"step 1 \(click '#more'\) failed: the element did not appear within \d s; {re.escape(refused)}", errors["/step"])
    assert "the selector '#list' did not appear within 3 s; a request of a page to 127.0.0.1 failed: the body was cut short" in errors["/cut"]


def test_data_that_a_site_refuses_to_a_page_makes_the_pass_incomplete_unless_a_condition_holds(quick_crawls: Crawls, site: PageSite) -> None:
    page = "<html><h1>Fine</h1><script>const asked = new XMLHttpRequest(); asked.open('GET', '/{0}.json', false); asked.send();</script></html>"
    site.pages |= {f"/{data}": page.format(data) for data in ("busy", "missing")}
    site.pages |= {"/busy.json": Answer("{}", status=503), "/missing.json": Answer("{}", status=404)}
    quick_crawls.write(f"[spiders.s]\nstart = ['{site.url}/busy']\nrender = 'browser'\n{RULES}")
    refused = quick_crawls.run()
    assert not refused.complete
    assert "a request of a page to 127.0.0.1 failed: HTTP 503, so the page may lack content" in refused.error
    starts = [{"url": f"{site.url}/missing"}, {"url": f"{site.url}/busy", "render": {"wait_for": "h1"}}]
    quick_crawls.write(f"[spiders.s]\nstart = {toml(starts)}\nrender = 'browser'\n{RULES}")
    assert quick_crawls.run().complete
