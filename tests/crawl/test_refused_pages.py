"""Pages that answer 401 or 403 are counted and reported, and the items that were on them are not gone."""

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
def test_refused_pages_are_counted_and_their_items_are_not_gone(crawls: Crawls, site: PageSite, status: int) -> None:
    site.pages = {"/": Answer("<p>start</p><a href=/1>1</a><a href=/2>2</a><a href=/never>n</a>"),
                  "/1": Answer("<p>1</p>"), "/2": Answer("<p>2</p>"), "/never": Answer("no", 403)}
    place = site.url.partition("://")[2]
    crawls.write(SETTINGS.format(url=site.url))
    first = crawls.run()
    assert (first.outcome, first.complete) == (Outcome.SUCCEEDED, True)  # no earlier pass had this page
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


def test_pages_and_files_that_robots_txt_forbids_are_counted(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/robots.txt": Answer("User-agent: *\nDisallow: /no\n", headers={"Content-Type": "text/plain"}),
                  "/": Answer("<p>start</p><a href=/no/1>1</a><a href=/no/2>2</a><a href=/3>3</a><b data-f=/no/f></b>"),
                  "/3": Answer("oops", 500)}
    crawls.write(SETTINGS.format(url=site.url).replace("robots = false", 'retries = 0\ndownload = ["b::attr(data-f)"]'))
    run = crawls.perform()
    assert f"2 pages forbidden by robots.txt; the first: {site.url}/no/1: robots.txt forbids this URL" in run.error
    assert f"1 of 4 pages failed; the first: HTTP 500 from {site.url}/3" in run.error
    assert "1 file forbidden by robots.txt" in run.error


def test_links_to_hosts_that_no_browser_opens_are_counted(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": Answer("<p>start</p><a href='http://exa mple/'>1</a><a href='//a<b/x'>2</a><a href=mailto:x@y.example>3</a>"
                              "<a href='javascript:go()'>4</a><a href='http://[::1'>5</a><a href='http://127.0.0.1:0/'>6</a>")}
    crawls.write(SETTINGS.format(url=site.url))
    run = crawls.run()
    assert (run.outcome, run.complete) == (Outcome.SUCCEEDED, True)
    assert "4 links were not followed because the host or port is not valid, such as " in run.error


SESSIONS = {
    "query": ("/p?id={n}&sid={session}", True), "PHPSESSID": ("/p?PHPSESSID={session}&id={n}", True), "path": ("/p/{n};jsessionid={session}", True),
    "cookieless": ("/(S({session}))/p/{n}", True), "random": ("/p/{n}?x=4f{session}0c1d2e3f4a5b6c", True), "other name": ("/p/{n}?visit={session}", True),
    "no session": ("/p/{session}/{n}", False)}


@pytest.mark.parametrize(("session", "status"), [*((session, 403) for session in SESSIONS), ("path", 401), ("no session", 401), ("path", 418), ("no session", 418)])
def test_a_refused_page_is_recognised_under_the_url_of_another_session(crawls: Crawls, site: PageSite, session: str, status: int) -> None:
    link, told = SESSIONS[session]

    def pages(session: str, refused: str = "") -> dict[str, Answer]:
        links = {number: link.format(n=number, session=session) for number in "123"}
        return {"/": Answer("<p>start</p>" + "".join(f'<a href="{url}">n</a>' for url in links.values()))} | {
            url: Answer("no", status) if number == refused else Answer(f"<p>{number}</p>") for number, url in links.items()}
    crawls.write(SETTINGS.format(url=site.url).replace("[spiders.s.items.fields]", '[spiders.s.items]\n    key = ["text"]\n    [spiders.s.items.fields]'))
    site.pages = pages("a1")
    assert crawls.run().complete
    site.pages = pages("b2", refused="2")
    run = crawls.run()
    if told:
        assert (run.complete, run.progress.gone) == (False, 0)
        assert f"1 page refused: {status} from " in run.error
    else:
        assert run.complete
        return
    if "visit" not in link:  # with an unknown parameter, only the same URL is recognised
        assert not crawls.run().complete
    site.pages = pages("c3", refused="2")
    assert not crawls.run().complete
    site.pages = pages("d4")
    assert (crawls.run().complete, len(crawls.items())) == (True, 4)


def test_a_new_page_that_is_refused_does_not_make_the_pass_incomplete(crawls: Crawls, site: PageSite) -> None:
    """All pages that had this path before are there."""
    links = ["/p?id=1", "/p?id=2"]
    site.pages = {"/": Answer("<p>start</p>" + "".join(f"<a href='{url}'>n</a>" for url in [*links, "/p?id=3", "/q?id=9"]))} | {
        url: Answer(f"<p>{url}</p>") for url in links} | dict.fromkeys(["/p?id=3", "/q?id=9"], Answer("no such page", 404))
    crawls.write(SETTINGS.format(url=site.url))
    assert crawls.run().complete
    site.pages |= {"/p?id=3": Answer("no", 403), "/q?id=9": Answer("no", 403)}
    run = crawls.run()
    assert (run.complete, "2 pages refused" in run.error) == (True, True)


def test_a_page_that_comes_empty_under_the_url_of_another_session_makes_the_pass_incomplete(crawls: Crawls, site: PageSite) -> None:
    for session, body in (("a", "<p>1</p>"), ("b", "")):
        site.pages = {"/": Answer(f"<p>start</p><a href='/p?sid={session}'>n</a>"), f"/p?sid={session}": Answer(body)}
        crawls.write(SETTINGS.format(url=site.url))
        run = crawls.run()
        assert (run.complete, run.progress.gone) == (session == "a", 0)
    assert f"1 page that had items before came back empty or as binary data; the first: {site.url}/p?sid=b" in run.error


CHALLENGES = {
    "a title": ("<title>Just a moment...</title><script src=/c.js></script><div id=x></div>", True),
    "a sentence": ("<p>Please enable JavaScript to continue.</p><script>go()</script>", True),
    "nothing but noscript": ("<div id=root></div><noscript>You need to enable JavaScript to run this app.</noscript>", True),
    "checking": ("<h1>Checking your browser before you visit</h1><script>go()</script>", True),
    "binary data": (b"%PDF-1.4\n\x00\x01\x02", True), "text of an unknown type": (b"moved: elsewhere", False),
    "a page of the site": ("<h1>Nothing here</h1><script>var javascript = 1</script>", False),
    "a long text about scripts": ("<div>" + "how to enable JavaScript in a browser " * 80 + "</div><script>x()</script>", False)}


@pytest.mark.parametrize(("body", "challenge"), CHALLENGES.values(), ids=CHALLENGES.keys())
def test_items_of_a_page_that_comes_as_a_challenge_for_browsers_are_not_gone(crawls: Crawls, site: PageSite, body: str | bytes, challenge: bool) -> None:
    site.pages = {"/": Answer("<li>start<a href=/2>n</a>"), "/2": Answer("<li>1<li>2")}
    crawls.write(SETTINGS.format(url=site.url).replace("[spiders.s.items.fields]", '[spiders.s.items]\n    each = "li"\n    key = ["text"]\n'
                                                       "    [spiders.s.items.fields]").replace('text = "p"', 'text = "::text"'))
    assert crawls.run().progress.new == 3
    site.pages["/2"] = Answer(body, headers={"Content-Type": "application/x-unknown"} if isinstance(body, bytes) else {})
    run = crawls.run()
    assert (run.complete, run.progress.gone) == ((False, 0) if challenge else (True, 2))
    said = ("the challenge of a bot protection", "builds its content with JavaScript", "came back empty or as binary data")
    assert any(reason in run.error for reason in said) is challenge


def test_a_start_page_of_binary_data_is_reported(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": Answer(b"%PDF-1.4\n\x00\x01", headers={"Content-Type": "application/pdf"})}
    crawls.write(SETTINGS.format(url=site.url))
    assert f"{site.url}/ is not text, but application/pdf: nothing is extracted from the page" in crawls.run().error
