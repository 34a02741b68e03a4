"""Cookies are returned as browsers return them, with pages and files.

The suite of the IETF working group, end to end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import pytest

from pipeline.model import Outcome
from tests.crawl.conftest import Crawls
from tests.servers.cookies import CookieHosts, Reply
from tests.servers.pages import Answer, PageSite

CASES = json.loads((Path(__file__).parents[2] / "data" / "http-state-cookies.json").read_text())["cases"]
PAGE = "http://suite.test/"
NAMELESS = {
    "0004": "foo", "0023": "foo", "0024": "foo", "0025": "foo", "0026": "foo", "0027": "bar", "0028": "foo",
    "CHROMIUM0009": "BLAHHH", "CHROMIUM0010": '"BLA\\"HHH"', "MOZILLA0012": 'test="fubar! = foo; five', "MOZILLA0014": "six",
    "MOZILLA0015": "seven", "MOZILLA0016": "seven", "MOZILLA0017": "seven; test=six", "NAME0023": "foo", "NAME0031": '"foo',
    "NAME0032": '"foo\\"bar', "NAME0033": "aaa"}
"""Where the suite, which is older, loses a cookie without a name: RFC 6265bis and browsers keep one at each path."""


def own(text: str, number: int) -> str:
    """The case with hosts of its own, so that one jar serves all cases: home.example.org becomes home.c7.example."""
    text = re.sub(r"example\.org", lambda match: f"{'c' if match[0].islower() else 'C'}{number}.example", text, flags=re.IGNORECASE)
    return re.sub(r"\.org\b", ".example", text)


@pytest.fixture
def hosts() -> Iterator[CookieHosts]:
    with CookieHosts() as started:
        yield started


def crawl(crawls: Crawls, hosts: CookieHosts, urls: list[str], rule: str) -> None:
    """One run whose start links to `urls`, through a proxy that serves all hosts. Links of those pages are followed too."""
    names = sorted({url.split("/")[2] for url in [*hosts.replies, *urls, *(urljoin(url, reply.location) for url, reply in hosts.replies.items())]})
    hosts.replies[PAGE] = Reply("".join(f'<a class=d href="{url}">x</a>' for url in urls))
    crawls.write(f'[proxies]\np = "{hosts.url}"\n[spiders.s]\nstart = "{PAGE}"\nproxy = "p"\nrobots = false\nretries = 0\n'
                 f'hosts = {json.dumps(names)}\n{rule}\n[spiders.s.items]\nkey = ["t"]\nfields = {{ t = "p" }}')
    run = crawls.perform()
    assert (run.outcome, run.progress.pages_failed, run.progress.downloads_failed) == (Outcome.SUCCEEDED, 0, 0), run.error


@pytest.mark.parametrize(("rule", "every"), [('follow = ["a"]', 1), ('download = ["a"]', 6)], ids=["pages", "files"])
def test_each_case_of_the_suite_gets_the_cookies_it_expects(crawls: Crawls, hosts: CookieHosts, rule: str, every: int) -> None:
    """Requests of files take the cookies of the same jar, so that each sixth case is enough for them."""
    asked, expected = {}, {}
    for number, case in enumerate(CASES[::every]):
        name = case["test"]
        url = own(f"http://home.example.org:8888/cookie-parser?{name.lower()}", number)
        asked[name] = urljoin(url, own(case["sent_to"], number)).replace("hoMe.eXaMplE", "home.example")
        expected[name] = NAMELESS.get(name, case["expected"])
        hosts.replies[url] = Reply(cookies=[own(line, number).encode() for line in case["received"]], location=asked[name])
    crawl(crawls, hosts, list(hosts.replies), rule)
    lowered = {url.lower(): sent for url, sent in hosts.sent.items()}
    sent = {name: b" | ".join(lowered.get(url.lower(), [b"never asked"])).decode() for name, url in asked.items()}
    assert {name: (sent[name], wanted) for name, wanted in expected.items() if sent[name] != wanted} == {}


VALUES = {
    "UTF-8": "José-名-Å…".encode(), "Latin-1": "José".encode("latin-1"), "Windows-1251": "Мария".encode("cp1251"),
    "Shift-JIS": "名前".encode("shift-jis"), "quotes": b'"a, b"', "JSON": b'{"a":[1,"b"],"c":"\xc3\xa9"}', "base64": b"YWJj+/==",
    "percent": b"a%20%C3%A9+b", "colons": b"a:b|c@d", "a comma": b"a,b c", "nothing": b"", "a tab": b"a\tb", "a C1 octet": b"a\x85b"}


@pytest.mark.parametrize("rule", ['follow = ["a"]', 'download = ["a"]'], ids=["pages", "files"])
def test_the_octets_of_a_cookie_are_returned_unchanged_in_this_and_the_next_run(crawls: Crawls, hosts: CookieHosts, rule: str) -> None:
    names = [f"http://v{number}.test/" for number in range(len(VALUES))]
    for name, value in zip(names, VALUES.values(), strict=True):
        hosts.replies[name] = Reply(cookies=[b"v=" + value + b"; Path=/", "名é=1".encode("latin-1", "replace")], location=f"{name}back")
    crawl(crawls, hosts, names, rule)
    wanted = {f"{name}back": [b"v=" + value + b"; ?\xe9=1"] for name, value in zip(names, VALUES.values(), strict=True)}
    assert {url: sent for url, sent in hosts.sent.items() if url in wanted} == wanted
    hosts.sent.clear()
    for name in names:
        hosts.replies[name] = Reply()
    crawl(crawls, hosts, names, rule)
    assert [hosts.sent[name] for name in names] == list(wanted.values())


@pytest.mark.parametrize("size", [0, 10, 300_000])
def test_a_request_with_a_cookie_that_is_not_utf_8_still_has_its_body(crawls: Crawls, site: PageSite, size: int) -> None:
    body = "ä" * size
    site.pages["/"] = Answer("<p>x</p>", headers={"Set-Cookie": "v=José; Path=/"})
    crawls.write(f'[spiders.s]\nstart = {{ url = "{site.url}/", method = "POST", body = "{body}", headers = {{ X-Town = "Köln" }} }}\n'
                 'robots = false\nretries = 0\n[spiders.s.items]\nkey = ["t"]\nfields = { t = "p" }')
    for _ in range(2):
        assert crawls.run().outcome is Outcome.SUCCEEDED
    first, second = site.asked
    assert second.headers["Cookie"] == "v=José"
    assert first.body == second.body == body.encode()
    assert first.headers["X-Town"] == second.headers["X-Town"] == "Köln".encode().decode("latin-1")
