"""<meta http-equiv=refresh> and the Refresh header are followed like redirects, and limited like them."""

from __future__ import annotations

import pytest

from pipeline.documents import Document
from pipeline.documents.refresh import refresh_target
from pipeline.errors import FetchError
from pipeline.model import Outcome
from tests.crawl.conftest import Crawls
from tests.crawl.middlewares.test_login_expiry import Walled, expire_once_at, settings
from tests.servers.pages import Answer, Asked, PageSite

URL = "https://site.example/a/b?c"


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITE_PASSWORD", "geheim")


def target(text: str, url: str = URL, header: str = "") -> str:
    return refresh_target(Document(url=url, status=200, text=text, headers=lambda: {"Refresh": header} if header else {}))


@pytest.mark.parametrize(("value", "found"), [
    ("0;url=/x", "https://site.example/x"), ("0; URL='x y'", "https://site.example/a/x%20y"),
    ('10 ; Url = "/x"z', "https://site.example/x"), ("0.5;/x", "https://site.example/x"), (".5,/x", "https://site.example/x"),
    ("3 /x", "https://site.example/x"), ("0;url=/x#part", "https://site.example/x"), ("0;url", "https://site.example/a/url"),
    ("0; url=https://other.example", "https://other.example/"), ("0;url='/x", "https://site.example/x"),
    ("0;URL=?d", "https://site.example/a/b?d"), ("0;url=//other.example/y", "https://other.example/y"),
    ("11;url=/x", ""), ("0", ""), ("5;", ""), ("", ""), ("now;url=/x", ""), ("-1;url=/x", ""), ("0url=/x", ""),
    ("0;url=javascript:x()", ""), ("0;url=data:text/html,x", ""), ("0;url=http://site.example/x", ""),
    ("0;url=http://[", "")])
def test_a_refresh_is_read_as_browsers_read_it(value: str, found: str) -> None:
    escaped = value.replace('"', "&quot;")
    assert target(f'<META content="{escaped}" HTTP-EQUIV=Refresh>') == found
    assert target("<p>on we go", header=value) == found


@pytest.mark.parametrize("text", [
    '<noscript><meta http-equiv=refresh content="0;url=/x"></noscript>', '<!--<meta http-equiv=refresh content="0;url=/x">-->',
    '<template><meta http-equiv=refresh content="0;url=/x"></template>', '<meta name=refresh content="0;url=/x">',
    '<script>"<meta http-equiv=refresh content=\'0;url=/x\'>"</script>', "<p>refresh"])
def test_a_value_that_is_no_refresh_is_not_followed(text: str) -> None:
    assert target(text) == ""


def test_the_target_of_a_refresh_is_relative_to_the_base_of_its_page() -> None:
    assert target('<base href="/app/"><body><meta http-equiv="refresh" content="1;url=in">') == "https://site.example/app/in"


def test_a_login_that_is_answered_with_a_refresh_succeeds(crawls: Crawls, site: PageSite) -> None:
    walled = Walled(site, 3)
    site.pages["/start"] = '<meta http-equiv="refresh" content="0; url=/login">'

    def enter(asked: Asked) -> Answer:
        answer = walled.login(asked)
        if asked.method == "GET":
            return answer
        return Answer('<p>Redirecting…<meta http-equiv="refresh" content="3; url=/hop">', headers={
            "Set-Cookie": answer.headers["Set-Cookie"]})
    site.pages["/login"] = enter
    site.pages["/hop"] = Answer("", headers={"Refresh": "0; url=/in"})
    crawls.write(settings(site).replace(f'check_url = "{site.url}/in"', "").replace(f'"{site.url}/login"', f'"{site.url}/start"'))
    run = crawls.run()
    assert (run.outcome, run.complete, walled.logins) == (Outcome.SUCCEEDED, True, 1)
    assert [asked.path for asked in site.asked][:5] == ["/start", "/login", "/login", "/hop", "/in"]


def test_a_login_page_that_refreshes_to_itself_is_used_as_it_is(crawls: Crawls, site: PageSite) -> None:
    walled = Walled(site, 1)

    def login(asked: Asked) -> Answer:
        answer = walled.login(asked)
        return Answer(f'<meta http-equiv=refresh content="10;url=/timeout">{answer.body!s}') if asked.method == "GET" else answer
    site.pages["/login"] = login
    crawls.write(settings(site))
    assert crawls.run().outcome is Outcome.SUCCEEDED


def test_a_login_that_refreshes_in_a_loop_fails(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/login": '<meta http-equiv=refresh content="0;url=/other">',
                  "/other": '<meta http-equiv=refresh content="0;url=/login">'}
    crawls.write(settings(site))
    with pytest.raises(FetchError, match="the server redirected the request too many times"):
        crawls.run()
    assert len(site.asked) == 21


def test_a_crawl_follows_a_refresh_and_counts_it_as_a_redirect(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": '<meta http-equiv="refresh" content="0; url=/home"><p>wait</p>',
                  "/home": Answer("<p>home</p><a class=n href=/circle>c</a><a class=n href=/self>s</a><a class=n href=/hdr>h</a>"),
                  "/circle": '<meta http-equiv="refresh" content="0; url=/circle2"><p>circle</p>',
                  "/circle2": '<meta http-equiv="refresh" content="0; url=/circle?2"><p>circle</p>',
                  "/self": '<meta http-equiv="refresh" content="5; url=/self"><p>dashboard</p>',
                  "/hdr": Answer("<p>no</p>", headers={"Refresh": "0;url=/late"}), "/late": "<p>late</p>"}
    counter = iter(range(1000))
    site.pages["/circle"] = lambda asked: Answer(f'<meta http-equiv="refresh" content="0;url=/circle?{next(counter)}"><p>x</p>')
    crawls.write(f"""
        [spiders.s]
        start = "{site.url}/"
        follow = ["a.n"]
        robots = false
        retries = 0
        [spiders.s.items.fields]
        text = "p"
        """)
    run = crawls.run()
    assert {item["text"] for item in crawls.items().values()} == {"home", "dashboard", "late"}
    assert run.progress.pages_failed == 1
    assert sum(asked.path.startswith("/circle") for asked in site.asked) == 21


@pytest.mark.parametrize("answer", [
    Answer('<p>wall</p><meta http-equiv="refresh" content="0; url=/login?next=x">'),
    Answer("<p>wall</p>", headers={"Refresh": "0; url=/login"})])
def test_a_page_that_refreshes_to_the_login_shows_an_expired_login(crawls: Crawls, site: PageSite, answer: Answer) -> None:
    walled = Walled(site, 20, wall=answer)
    expire_once_at(walled, "/p/7")
    crawls.write(settings(site))
    run = crawls.run()
    assert (run.outcome, run.complete, run.progress.pages_failed, walled.logins) == (Outcome.SUCCEEDED, True, 0, 2)
    assert {item["text"] for item in crawls.items().values()} == {"start", *(str(number) for number in range(20))}


def test_a_file_answered_with_a_refresh_to_the_login_is_fetched_again(crawls: Crawls, site: PageSite) -> None:
    walled = Walled(site, 1, wall=Answer('<meta http-equiv="refresh" content="0; url=/login">'))
    site.pages["/file.csv"] = walled.behind("a,b")
    site.pages["/"] = walled.behind("<a href=/logout>out</a><p>start</p><a class=f href=/file.csv>f</a>")
    expire_once_at(walled, "/file.csv")
    crawls.write(settings(site, 'download = ["a.f"]'))
    run = crawls.perform()
    assert (run.outcome, walled.logins) == (Outcome.SUCCEEDED, 2)
    assert (crawls.folder / "data/downloads/s/file.csv").read_text() == "a,b"
