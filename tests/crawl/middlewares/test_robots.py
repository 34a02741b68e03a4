"""robots.txt in a crawl: it holds for pages and files, with its Crawl-delay.

It forbids all when it cannot be read.
"""

from __future__ import annotations

import gzip
import time

import pytest

from pipeline.model import Outcome
from pipeline.store.console.lists import downloads_page
from tests.crawl.conftest import Crawls
from tests.crawl.middlewares.test_throttling import Timed
from tests.servers.pages import Answer, PageSite

ITEM = '\n[spiders.s.items.fields]\nx = "p"'


def test_the_crawl_delay_of_robots_txt_is_applied(crawls: Crawls, site: PageSite) -> None:
    page = Timed(Answer("<p>x</p>"))
    site.pages = {"/robots.txt": Answer("User-agent: *\nCrawl-delay: 0.3\n", headers={"Content-Type": "text/plain"}),
                  "/": page, "/1": page, "/2": page}
    crawls.write(f'[spiders.s]\nstart = ["{site.url}/", "{site.url}/1", "{site.url}/2"]{ITEM}')
    began = time.monotonic()
    assert crawls.run().outcome is Outcome.SUCCEEDED
    assert [at >= began + number * 0.3 for number, at in enumerate(page.at)] == [True] * 3


@pytest.mark.parametrize("text", [
    b"\xef\xbb\xbfUser-agent: *\nDisallow: /no", b"User-agent: crawl-to-inbox BAR\nDisallow: /no\n\nUser-agent: *\nAllow: /",
    b"User-agent: crawl-to-inbox\nUnknown: x\nUser-agent: other\nDisallow: /no", b"User-agent: *\nDisallow: /%6e%6f"])
def test_robots_txt_is_read_alike_for_pages_and_files(crawls: Crawls, site: PageSite, text: bytes) -> None:
    site.pages = {"/robots.txt": Answer(text, headers={"Content-Type": "text/plain"}), "/yes": "y", "/no": "x",
                  "/": "<p>x</p><a href=/no/1>p</a><a href=/yes>p</a><i data-src=/no/2>f</i><i data-src=/yes?file>f</i>"}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\nfollow = ["a"]\ndownload = ["i"]\ndownloads.attempts = 1{ITEM}')
    run = crawls.perform()
    assert sorted(site.paths()) == ["/", "/yes", "/yes?file"]
    assert (run.progress.pages_failed, run.progress.downloads_failed) == (1, 1)


@pytest.mark.parametrize(("robots", "fetched"), [
    (Answer(b"no", 404), True), (Answer(b"no", 403), True), (Answer(b"no", 401), True), (Answer(b"", 204), True), (Answer(b"", 410), True),
    (Answer(status=301, headers={"Location": "/robots.txt"}), True), (Answer(b"<html>not found</html>"), True),
    (Answer(b"no", 500), False), (Answer(b"no", 503, headers={"Retry-After": "0"}), False), (Answer(b"no", 599), False),
    (Answer(b"User-agent: *\nDisallow: /x\n", cut=10), False),
    (Answer(gzip.compress(b"User-agent: *\nAllow: /")[:-9], headers={"Content-Encoding": "gzip"}), False)])
def test_a_robots_txt_that_cannot_be_read_forbids_everything_for_this_run(
        crawls: Crawls, site: PageSite, robots: Answer, fetched: bool) -> None:
    with PageSite({"/robots.txt": robots, "/file": "f"}) as other:
        site.pages = {"/": f"<p>x</p><a href=/page>p</a><i data-src={other.url}/file>f</i>", "/page": "<p>y</p>"}
        rules = (f'[spiders.s]\nstart = "{site.url}/"\nfollow = ["a"]\ndownload = ["i"]\nhosts = ["{other.host}"]\n'
                 f'retries = 0\ndownloads.attempts = 1{ITEM}')
        crawls.write(rules)
        run = crawls.perform()
        assert (run.progress.pages, run.progress.downloads, "/file" in other.paths()) == (2, fetched, fetched)
        site.pages["/robots.txt"] = robots
        site.asked.clear()
        run = crawls.perform()
        assert (run.complete, "/page" in site.paths(), run.progress.gone) == (fetched, fetched, 0), run.error
        if not fetched:
            assert "robots.txt cannot be read, so this run fetches nothing from the host" in run.error
            assert "this run fetches nothing from the host" in {row.error for row in downloads_page(crawls.store, "s", limit=100)}.pop()
            del site.pages["/robots.txt"], other.pages["/robots.txt"]
            run = crawls.perform()
            assert (run.complete, run.progress.downloads) == (True, 1)


def test_robots_txt_holds_for_files_of_this_and_of_other_hosts(crawls: Crawls, site: PageSite) -> None:
    text = {"Content-Type": "text/plain"}
    with PageSite({"/robots.txt": Answer("User-agent: crawl-to-inbox\nDisallow: /no", headers=text), "/no": "x", "/yes": "y"}) as other:
        site.pages = {"/robots.txt": Answer("User-agent: *\nDisallow: /no", headers=text), "/no": "x", "/yes": "y",
                      "/": "<p>x</p>" + "".join(f"<a class=d href={place}/{name}>f</a>" for place in ("", other.url)
                                                for name in ("no", "yes"))}
        spider = (f'[spiders.s]\nstart = "{site.url}/"\ndownload = [".d"]\nhosts = ["{other.host}"]\n'
                  f'downloads.attempts = 1{ITEM}')
        crawls.write(spider)
        run = crawls.perform()
        assert (run.progress.downloads, run.progress.downloads_failed) == (2, 2)
        for each in (site, other):
            assert sorted(set(each.paths()) - {"/"}) == ["/yes"]
            assert [asked.path for asked in each.asked].count("/robots.txt") == 1
        errors = {row.error for row in downloads_page(crawls.store, "s", limit=100) if row.error}
        assert all("robots.txt forbids this URL; set robots = false" in error for error in errors), errors
        crawls.write(spider.replace("download =", "robots = false\ndownload ="))
        assert crawls.perform().progress.downloads_failed == 0
        assert "/no" in other.paths()
