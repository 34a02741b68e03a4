"""A login that expires during a run: one new login, or the end of the run with the reason.

After a new login, every request is sent again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from pipeline.errors import LoginError
from pipeline.model import Outcome
from pipeline.store.runs.runs import work_left
from tests.crawl.conftest import Crawls
from tests.servers.pages import Answer, Asked, PageSite


class Walled:
    """A site with a login. The cookie of an earlier login is not valid."""

    def __init__(self, site: PageSite, pages: int, *, wall: Answer | None = None) -> None:
        self.site = site
        self.logins = 0
        self.valid = ""
        self.closed = False
        self.served: list[str] = []
        self._wall = wall or Answer(status=302, headers={"Location": "/login?next=x"})
        self._lock = threading.Lock()
        site.pages = {"/login": self.login, "/in": self.behind("<a href=/logout>out</a>")}
        links = "".join(f"<a class=n href=/p/{number}>n</a>" for number in range(pages))
        site.pages["/"] = self.behind(f"<a href=/logout>out</a><p>start</p>{links}")
        for number in range(pages):
            site.pages[f"/p/{number}"] = self.behind(f"<a href=/logout>out</a><p>{number}</p>")

    def login(self, asked: Asked) -> Answer:
        if asked.method == "GET":
            return Answer("<form method=post><input name=user><input type=password name=pass></form>")
        if self.closed:
            return Answer("<p class=error>Too many logins.</p>")
        with self._lock:
            self.logins += 1
            self.valid = f"sid={self.logins}"
        return Answer(status=302, headers={"Location": "/in", "Set-Cookie": f"{self.valid}; Path=/"})

    def behind(self, body: str) -> Callable[[Asked], Answer]:
        def page(asked: Asked) -> Answer:
            if not self.valid or self.valid not in asked.headers.get("Cookie", "").split("; "):
                return self._wall
            self.served.append(asked.path)
            return Answer(body)
        return page

    def expire(self) -> None:
        self.valid = ""


def settings(site: PageSite, extra: str = "", *, expired: str = "", concurrency: int = 8) -> str:
    return f"""
        [spiders.s]
        start = "{site.url}/"
        follow = ["a.n"]
        robots = false
        concurrency = {concurrency}
        {extra}
        [spiders.s.login]
        url = "{site.url}/login"
        check_url = "{site.url}/in"
        check = "a[href*=logout]"
        fields = {{ user = "me", pass = {{ env = "SITE_PASSWORD" }} }}
        {expired}
        [spiders.s.items.fields]
        text = "p"
        """


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITE_PASSWORD", "geheim")


def expire_once_at(walled: Walled, path: str) -> None:
    page = walled.site.pages[path]
    assert callable(page)

    def expiring(asked: Asked) -> Answer:
        walled.expire()
        walled.site.pages[path] = page
        return page(asked)
    walled.site.pages[path] = expiring


@pytest.mark.parametrize(("wall", "rule"), [
    (Answer(status=302, headers={"Location": "/login?next=x"}), ""),
    (Answer("who are you?", 401), "expired = { status = [401] }"),
    (Answer("<form id=f><input type=password></form>"), "expired = { present = 'input[type=password]' }"),
    (Answer("<p>Please log in</p>"), "expired = { missing = 'a[href*=logout]' }")])
def test_a_crawl_logs_in_again_and_loses_nothing(crawls: Crawls, site: PageSite, wall: Answer,
                                                            rule: str) -> None:
    walled = Walled(site, 30, wall=wall)
    expire_once_at(walled, "/p/11")
    crawls.write(settings(site, expired=rule))
    run = crawls.run()
    assert (run.outcome, run.complete, run.progress.pages_failed) == (Outcome.SUCCEEDED, True, 0)
    assert walled.logins == 2
    assert {item["text"] for item in crawls.items().values()} == {"start", *(str(number) for number in range(30))}
    assert "Please log in" not in str(crawls.items())


def test_hundreds_of_requests_that_meet_an_expired_session_make_one_login(crawls: Crawls, site: PageSite) -> None:
    walled = Walled(site, 0)
    everyone_in = threading.Barrier(201)
    site.pages["/"] = walled.behind("".join(f"<a class=n href=/q/{number}>n</a>" for number in range(400)))
    lock, count = threading.Lock(), [0]

    def page(asked: Asked) -> Answer:
        with lock:
            count[0] += 1
            first = count[0] <= 200
        if first:  # 200 requests are in flight when the login expires; the others are sent with the old cookie
            everyone_in.wait(30)
            walled.valid = "" if walled.logins == 1 else walled.valid
        return walled.behind(f"<a href=/logout>out</a><p>{asked.path}</p>")(asked)
    for number in range(400):
        site.pages[f"/q/{number}"] = page
    crawls.write(settings(site, concurrency=200).replace("robots", "retries = 0\n        robots"))

    async def let_go(stop: asyncio.Event) -> None:
        await asyncio.to_thread(everyone_in.wait, 30)
    run = crawls.run(while_running=let_go)
    assert run.outcome is Outcome.SUCCEEDED
    assert walled.logins == 2
    assert len(crawls.items()) == 400


def test_a_thousand_threads_that_find_the_session_expired_make_one_login() -> None:
    from pipeline.session.login.expiry import Expiry, LoginState
    from pipeline.settings import LoginTable
    table = LoginTable.model_validate({"url": "http://a.example/login", "fields": {"u": "me"}, "check": "a"})
    logins: list[int] = []
    login_state = LoginState(Expiry(table, frozenset({"a.example"})), lambda: logins.append(1), lambda: True, "here")
    start = threading.Barrier(1000)

    def meet() -> None:
        start.wait(30)
        login_state.renew(0)
    threads = [threading.Thread(target=meet) for _ in range(1000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (logins, login_state.epoch) == ([1], 1)


def test_a_new_login_that_fails_ends_the_run_and_no_login_page_is_stored(crawls: Crawls, site: PageSite) -> None:
    walled = Walled(site, 40)
    expire_once_at(walled, "/p/5")
    crawls.write(settings(site))
    page = site.pages["/p/4"]
    assert callable(page)

    def closing(asked: Asked) -> Answer:
        walled.closed = True
        return page(asked)
    site.pages["/p/4"] = closing
    run = crawls.run()
    assert (run.outcome, run.error_kind) == (Outcome.FAILED, "LoginError")
    assert "Too many logins." in run.error
    posts = [asked for asked in site.asked if asked.path == "/login" and asked.method == "POST"]
    assert len(posts) == 2  # the first, and the one that was refused; not one for each page
    assert not any("log" in item["text"] for item in crawls.items().values())
    assert work_left(crawls.store, run.pass_id)[0] > 0

    walled.closed = False
    again = crawls.run()  # continues the pass
    assert (again.outcome, again.complete, again.pass_id) == (Outcome.SUCCEEDED, True, run.pass_id)
    assert len(crawls.items()) == 41


def test_a_page_that_redirects_to_the_login_even_after_a_new_login_ends_the_run(crawls: Crawls, site: PageSite) -> None:
    walled = Walled(site, 5)
    site.pages["/p/3"] = Answer(status=302, headers={"Location": f"{site.url}/login"})
    crawls.write(settings(site))
    run = crawls.run()
    assert (run.outcome, run.error_kind) == (Outcome.FAILED, LoginError.__name__)
    assert f"{site.url}/p/3 redirected to the login page right after a new login" in run.error
    assert walled.logins == 2


def test_a_post_is_sent_again_only_when_the_spider_allows_it(crawls: Crawls, site: PageSite) -> None:
    walled = Walled(site, 0)

    def post(asked: Asked) -> Answer:
        if len([each for each in site.asked if each.path == "/post"]) == 1:
            walled.expire()
        return walled.behind("<a href=/logout>out</a><p>posted</p>")(asked)
    site.pages["/post"] = post
    for expired, posts, failed in (("", 1, 1), ("expired.safe_to_replay = true", 2, 0)):
        site.asked.clear()
        crawls.write(settings(site, expired=expired).replace(
            f'start = "{site.url}/"', f'start = ["{site.url}/", {{ url = "{site.url}/post", form = {{ a = "1" }} }}]'))
        run = crawls.run()
        sent = [asked for asked in site.asked if asked.path == "/post"]
        assert (len(sent), run.progress.pages_failed) == (posts, failed)
        assert run.complete is not bool(failed)
        assert all(asked.body == b"a=1" for asked in sent)


def test_cookies_of_responses_to_the_old_login_do_not_end_the_new_one(crawls: Crawls, site: PageSite) -> None:
    gone = Answer(status=302, headers={"Location": "/login", "Set-Cookie": "sid=gone; Path=/"})
    walled = Walled(site, 60, wall=gone)
    expire_once_at(walled, "/p/20")
    crawls.write(settings(site, concurrency=30))
    run = crawls.run()
    assert (run.outcome, run.progress.pages_failed, walled.logins) == (Outcome.SUCCEEDED, 0, 2)
    assert len(crawls.items()) == 61


def test_a_robots_txt_that_needs_the_login_does_not_count_as_expiry(crawls: Crawls, site: PageSite) -> None:
    walled = Walled(site, 2)
    site.pages["/robots.txt"] = Answer(status=302, headers={"Location": "/login"})
    crawls.write(settings(site).replace("robots = false", ""))
    assert crawls.run().outcome is Outcome.SUCCEEDED
    assert walled.logins == 1


@pytest.mark.parametrize(("wall", "rule"), [
    (Answer(status=302, headers={"Location": "/login?next=x"}), ""),
    (Answer("no", 401), "expired = { status = [401] }"),
    (Answer("<form id=f><input type=password></form>"), "expired = { present = 'input[type=password]' }")])
def test_files_that_meet_the_expired_login_are_fetched_again(crawls: Crawls, site: PageSite, wall: Answer, rule: str) -> None:
    walled = Walled(site, 0, wall=wall)
    site.pages["/"] = walled.behind("<a href=/logout>out</a>" + "".join(
        f"<a class=d href=/f/{number}.html>f</a>" for number in range(6)))
    whole = "<html>" + "a page that is wanted as a file " * 20_000
    for number in range(6):
        site.pages[f"/f/{number}.html"] = walled.behind(whole)
    expire_once_at(walled, "/f/3.html")
    crawls.write(settings(site, 'download = ["a.d"]', expired=rule))
    run = crawls.perform()
    assert run.outcome is Outcome.SUCCEEDED, run.error
    assert walled.logins == 2
    files = sorted((crawls.store.data_dir / "downloads" / "s").glob("*.html"))
    assert [path.read_text() == whole for path in files] == [True] * 6


def test_files_that_are_refused_after_a_new_login_end_the_run(crawls: Crawls, site: PageSite) -> None:
    walled = Walled(site, 0)
    site.pages["/"] = walled.behind("<a href=/logout>out</a><a class=d href=/f/1>f</a><a class=d href=/f/2>f</a>")
    site.pages |= dict.fromkeys(["/f/1", "/f/2"], Answer(status=302, headers={"Location": "/login"}))
    crawls.write(settings(site, 'download = ["a.d"]'))
    run = crawls.perform()
    assert (run.outcome, "right after a new login" in run.error) == (Outcome.FAILED, True)
    assert walled.logins == 2
