"""Pages that answer 401 or 403: how many there were is said, and what was on them is not called gone."""

from __future__ import annotations

import pytest

from pipeline.model import Outcome
from tests.crawl.conftest import Crawls
from tests.servers.pages import Answer, PageSite

SETTINGS = """
    [spiders.s]
    start = "{url}/"
    follow = ["a"]
    robots = false
    [spiders.s.items.fields]
    text = "p"
    """


@pytest.mark.parametrize("status", [401, 403])
def test_refused_pages_are_counted_and_their_items_stay(crawls: Crawls, site: PageSite, status: int) -> None:
    site.pages = {"/": Answer("<p>start</p><a href=/1>1</a><a href=/2>2</a><a href=/never>n</a>"),
                  "/1": Answer("<p>1</p>"), "/2": Answer("<p>2</p>"), "/never": Answer("no", 403)}
    place = site.url.partition("://")[2]
    crawls.write(SETTINGS.format(url=site.url))
    first = crawls.run()
    assert (first.outcome, first.complete) == (Outcome.SUCCEEDED, True)  # no pass was ever given it
    assert f"1 page refused: 403 from {place}" in first.error
    site.pages |= {"/1": Answer("no", status), "/2": Answer("no", status)}
    for _ in range(2):
        run = crawls.run()
        assert (run.outcome, run.complete, run.progress.gone) == (Outcome.SUCCEEDED, False, 0)
        assert "3 pages refused: " in run.error
        assert f"{status} from {place}" in run.error
    assert len(crawls.items()) == 3
    site.pages |= {"/1": Answer("<p>1</p>"), "/2": Answer("no such page", 404)}
    run = crawls.run()
    assert (run.complete, run.progress.gone) == (True, 1)


def test_refused_files_are_counted_by_host(crawls: Crawls, site: PageSite) -> None:
    place = site.url.partition("://")[2]
    site.pages = {"/": Answer("<p>start</p>" + "".join(f"<a class=d href=/{name}>f</a>" for name in ("a", "b", "c", "gone", "ok"))),
                  "/a": Answer("no", 403), "/b": Answer("no", 403), "/c": Answer("no", 401), "/ok": Answer("whole")}
    crawls.write(SETTINGS.format(url=site.url).replace('follow = ["a"]', 'download = ["a.d"]'))
    for _ in range(2):
        run = crawls.perform()
        assert (run.outcome, run.complete, run.progress.downloads_failed) == (Outcome.SUCCEEDED, True, 4)
        assert run.error == (f"3 files refused: 403 from {place}, 401 from {place}; "
                             f"1 file failed; the first: {site.url}/gone: the server answered 404 Not Found")


def test_pages_and_files_kept_out_by_robots_txt_are_counted(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/robots.txt": Answer("User-agent: *\nDisallow: /no\n", headers={"Content-Type": "text/plain"}),
                  "/": Answer("<p>start</p><a href=/no/1>1</a><a href=/no/2>2</a><a href=/3>3</a><b data-f=/no/f></b>"),
                  "/3": Answer("oops", 500)}
    crawls.write(SETTINGS.format(url=site.url).replace("robots = false", 'retries = 0\ndownload = ["b::attr(data-f)"]'))
    run = crawls.perform()
    assert f"2 pages kept out by robots.txt; the first: {site.url}/no/1: robots.txt forbids it" in run.error
    assert f"1 of 4 pages failed; the first: HTTP 500 from {site.url}/3" in run.error
    assert "1 file kept out by robots.txt" in run.error


def test_links_to_no_host_that_browsers_open_are_counted(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": Answer("<p>start</p><a href='http://exa mple/'>1</a><a href='//a<b/x'>2</a><a href=mailto:x@y.example>3</a>"
                              "<a href='javascript:go()'>4</a><a href='http://[::1'>5</a>")}
    crawls.write(SETTINGS.format(url=site.url))
    run = crawls.run()
    assert (run.outcome, run.complete) == (Outcome.SUCCEEDED, True)
    assert "3 links left out: no host that browsers open: " in run.error
