"""Links are requested as browsers request them, as pages and as files.

The URL suite of the web platform tests, end to end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from pathlib import Path

import pytest

from pipeline.session.login.http_auth import basic
from pipeline.urls import bare
from tests.crawl.conftest import Crawls
from tests.servers.pages import Answer, PageSite
from tests.servers.proxies import start_socks_proxy
from tests.servers.recorder import Recorder

CASES = json.loads((Path(__file__).parents[2] / "data" / "urltestdata-http.json").read_text())["cases"]
PAGE = "http://suite.test/"


def expected(case: dict[str, str]) -> str | None:
    """The URL in the request line to a proxy, or for https the host in the CONNECT. None when nothing is requested."""
    if case["base"] == "http://[0:0:0:0:0:0:0:0":
        return authority(case["input"])  # HTML ignores a <base> that is no URL
    if case["failure"] or not case["href"].startswith("http"):
        return None
    url = bare(case["href"])
    return url if url.startswith("http:") else authority(url)


def authority(url: str) -> str:
    host = url.split("/")[2]
    return host if host.rpartition(":")[2].isdigit() else f"{host}:443"


def page(url: str) -> str | None:
    if url == PAGE:
        return "".join(f'<a class=case href="/case/{number}">x</a>' for number in range(len(CASES)))
    if not url.startswith(f"{PAGE}case/"):
        return None
    case = CASES[int(url.rpartition("/")[2])]
    base = f'<base href="{escape(case["base"])}">' if case["base"] else ""
    return f'{base}<a class=tried href="{escape(case["input"])}">x</a>'


@pytest.fixture
def proxy() -> Iterator[Recorder]:
    with Recorder(page) as started:
        yield started


@pytest.mark.parametrize("rules", ['follow = ["a"]', 'follow = ["a.case"]\ndownload = ["a.tried"]'], ids=["pages", "files"])
def test_links_of_the_url_suite_are_requested_as_browsers_request_them(crawls: Crawls, proxy: Recorder, rules: str) -> None:
    hosts = sorted({bare(case["href"]).split("/")[2] for case in CASES if case["href"] and expected(case)} - {"f:0"})  # a port no setting names
    crawls.write(f'[proxies]\np = "{proxy.url}"\n[spiders.s]\nstart = "{PAGE}"\nproxy = "p"\nrobots = false\nretries = 0\n'
                 f'concurrency = 16\nhosts = {json.dumps([*hosts, "www.google.com"])}\n{rules}\n'
                 '[spiders.s.items]\nkey = ["t"]\nfields = { t = "p" }')
    crawls.perform()
    asked = {url for url in proxy.asked if not url.startswith(PAGE)}
    right = [case for case in CASES if expected(case) is None or expected(case) in asked]
    wrong = [(case["input"], expected(case)) for case in CASES if case not in right]
    assert not asked - {expected(case) for case in CASES}, "nothing else is asked for"
    assert len(right) >= 201, wrong


AUTHORIZED = {"u:p": "u:p", "u": "u:", ":p": ":p", "ü:中": "ü:中", "a%40b:c%3Ad": "a@b:c:d", "%FC:x": "\udcfc:x", "": None}
"""User info in a link, and what of it is sent (Fetch Standard, 4.6; RFC 7617)."""


@pytest.mark.parametrize("own", [False, True], ids=["alone", "beside the spider's own"])
def test_user_info_of_links_and_redirects_is_sent_as_browsers_send_it(crawls: Crawls, site: PageSite, monkeypatch: pytest.MonkeyPatch, own: bool) -> None:
    monkeypatch.setenv("SITE_PASSWORD", "geheim")
    links = [f"//{info}@{site.host}/{kind}{number}" for kind in ("p", "f", "r") for number, info in enumerate(AUTHORIZED)]
    site.pages = {f"/{kind}{number}": "<p>x</p>" for kind in "pf" for number in range(len(AUTHORIZED))}
    site.pages |= {f"/{number}": Answer("", 302, {"Location": f"http://{info}@{site.host}/r{number}".encode().decode("latin-1")})
                   for number, info in enumerate(AUTHORIZED)}
    site.pages["/"] = "".join(f'<{"a href" if "/p" in link else "i data-src"}="{link}">x</a>' for link in links if "/r" not in link) + "".join(
        f"<a href=/{number}>x</a><i data-src=/{number}>x</i>" for number in range(len(AUTHORIZED)))
    auth = 'auth = { user = "me", password = { env = "SITE_PASSWORD" } }\n' if own else ""
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\nrobots = false\nretries = 0\n{auth}follow = ["a"]\ndownload = ["i"]\n'
                 '[spiders.s.items]\nkey = ["t"]\nfields = { t = "p" }')
    crawls.perform()
    for number, sent in enumerate(AUTHORIZED.values()):
        expected = basic("me", "geheim") if own else basic(*sent.split(":", 1)) if sent else None
        headers = [(asked.path, asked.headers.get("Authorization")) for asked in site.asked if asked.path[1:] in (f"p{number}", f"f{number}", f"r{number}")]
        assert len(headers) == (4 if f"/r{number}" else 3)
        assert {header for _, header in headers} == {expected}, headers


def test_an_empty_query_is_sent_and_a_fragment_is_not(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": "".join(f'<a href="{link}">x</a>' for link in ("?", "#", "x?", "y?#f", "z", "z?", "z??", "/r")) + "<i data-src='f?'>x</i>",
                  "/r": Answer("", 302, {"Location": "/t?"})}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\nrobots = false\nretries = 0\nfollow = ["a"]\ndownload = ["i"]\n'
                 '[spiders.s.items]\nkey = ["t"]\nfields = { t = "p" }')
    crawls.perform()
    assert sorted(site.paths()) == ["/", "/?", "/f?", "/r", "/t?", "/x?", "/y?", "/z", "/z?", "/z??"]


def test_a_redirect_is_followed_as_browsers_follow_it_or_its_page_fails(crawls: Crawls, site: PageSite) -> None:
    utf8, latin1 = "/é?é".encode().decode("latin-1"), "/é?é"
    locations = {"/1": utf8, "/2": latin1, "/3": "\\back?x='%7e|", "/4": "?q=1#f", "/5": "//[", "/6": "http://256.256.256.256/",
                 "/7": "mailto:x@y.example", "/8": "http:/rel", "/9": "http://h:99x90/", "/10": f"{site.url.replace('http:', 'HTTP:')}/A/../b"}
    site.pages = {path: Answer("", 302, {"Location": location}) for path, location in locations.items()}
    site.pages["/"] = "".join(f"<a href={path}>x</a><i href={path}?file>x</i>" for path in locations)
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\nrobots = false\nretries = 0\nfollow = ["a"]\ndownload = ["i"]\n'
                 '[spiders.s.items]\nkey = ["t"]\nfields = { t = "p" }')
    run = crawls.perform()
    reached = sorted({path for path in site.paths() if path.partition("?")[0] not in locations} - {"/"})
    assert reached == sorted(["/%C3%A9?%C3%A9", "/%E9?%E9", "/back?x=%27%7e|", "/rel", "/b"])
    for query in ("q=1", ""):
        assert [path for path in site.paths() if path.startswith("/4")].count(f"/4?{query}" if query else "/4")
    assert run.progress.pages_failed == 10  # five are not found, five have no valid target
    assert run.progress.downloads_failed == 10


def test_queries_are_sent_in_the_encoding_of_their_page_as_page_and_file(crawls: Crawls, site: PageSite) -> None:
    """scrapy/scrapy#1913: what is percent-encoded already is not changed."""
    _crawl_in_windows_1251(crawls, site)


@pytest.mark.needs("microsocks")
def test_queries_are_sent_in_the_encoding_of_their_page_through_socks_too(crawls: Crawls, site: PageSite) -> None:
    with start_socks_proxy() as place:
        _crawl_in_windows_1251(crawls, site, f'[proxies]\np = "socks5h://{place}"\n', 'proxy = "p"\n')


def _crawl_in_windows_1251(crawls: Crawls, site: PageSite, before: str = "", more: str = "") -> None:
    body = ('<a href="/ä/x?q=книги&e=%c3%a9">p</a><a href="/two?q=日">p</a><i data-src="/file?q=книги \'x\' %7e">f</i>')
    html = {"Content-Type": "text/html; charset=windows-1251"}
    site.pages = {"/": Answer(body.encode("cp1251", "xmlcharrefreplace"), headers=html)}
    crawls.write(f'{before}[spiders.s]\nstart = "{site.url}/"\nrobots = false\nretries = 0\nfollow = ["a"]\ndownload = ["i"]\n'
                 f'{more}[spiders.s.items]\nkey = ["t"]\nfields = {{ t = "p" }}')
    crawls.perform()
    cyrillic = "%EA%ED%E8%E3%E8"
    assert sorted(site.paths()[1:]) == sorted([
        f"/%C3%A4/x?q={cyrillic}&e=%c3%a9", "/two?q=%26%2326085%3B", f"/file?q={cyrillic}%20%27x%27%20%7e"])
