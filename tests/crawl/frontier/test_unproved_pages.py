"""A session that expires without a sign makes no item new, changed or gone.

Pages are committed after login.check proved it.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from pipeline.crawl.frontier import committer
from pipeline.model import ChangeKind, Outcome
from pipeline.store.crawl import items
from pipeline.store.runs import runs
from pipeline.store.runs.leases import TTL
from tests.crawl.conftest import Crawls
from tests.crawl.middlewares.test_login_expiry import Walled, expire_once_at, settings
from tests.servers.pages import Answer, Asked, PageSite

PAGES = 30

WALLS = {
    "a page for all with status 200": Answer("<p>Please log in</p><a class=n href=/register>register</a>"),
    "401": Answer("<p>who are you?</p>", 401),
    "403": Answer("<p>no</p>", 403),
    "404, as if there were nothing": Answer("<p>no such page</p>", 404),
    "a redirect to the home page": Answer(status=302, headers={"Location": "/welcome"}),
}


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITE_PASSWORD", "geheim")


def walled_site(site: PageSite, wall: Answer, pages: int = PAGES) -> Walled:
    walled = Walled(site, pages, wall=wall)
    site.pages["/welcome"] = Answer("<p>welcome, stranger</p>")
    site.pages["/register"] = Answer("<p>register here</p>")
    return walled


def texts(crawls: Crawls) -> set[str]:
    return {item["text"] for item in crawls.items().values()}


WHOLE = {"start", *(str(number) for number in range(PAGES))}


@pytest.mark.parametrize(("where", "wall"), [*(("/p/11", wall) for wall in WALLS), *(
    (where, wall) for where in ("/", "/p/0", f"/p/{PAGES - 1}") for wall in ("a page for all with status 200", "403"))])
def test_pages_for_anonymous_visitors_are_fetched_again_after_a_new_login(crawls: Crawls, site: PageSite, wall: str, where: str) -> None:
    """Every wall once; and a wall that looks like a page and one that does not, wherever the session ends."""
    walled = walled_site(site, WALLS[wall])
    crawls.write(settings(site))
    assert crawls.run().complete
    expire_once_at(walled, where)
    run = crawls.run()
    assert (run.outcome, run.complete, run.progress.pages_failed) == (Outcome.SUCCEEDED, True, 0), run.error
    assert (run.progress.new, run.progress.changed, run.progress.gone) == (0, 0, 0)
    assert run.progress.unchanged == PAGES + 1
    assert walled.logins == 2
    assert crawls.counts(run)["items"].pages == PAGES + 1  # a page that is fetched again is counted once
    assert texts(crawls) == WHOLE
    assert "/register" not in [asked.path for asked in site.asked[-PAGES:]]


@pytest.mark.parametrize("where", ["/p/0", "/p/11"])
def test_links_that_are_removed_slowly_are_not_fetched(crawls: Crawls, site: PageSite, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a slow disk, the links of pages that are fetched again are still in the frontier while the crawl goes on."""
    walled = walled_site(site, WALLS["a page for all with status 200"])
    forget = committer.forget

    def forget_slowly(*arguments: Any) -> None:
        time.sleep(1)
        forget(*arguments)
    monkeypatch.setattr(committer, "forget", forget_slowly)
    crawls.write(settings(site))
    assert crawls.run().complete
    expire_once_at(walled, where)
    run = crawls.run()
    assert (run.complete, run.progress.new, run.progress.unchanged, walled.logins) == (True, 0, PAGES + 1, 2), run.error
    assert crawls.counts(run)["items"].pages == PAGES + 1
    assert "/register" not in [asked.path for asked in site.asked[-PAGES:]]


@pytest.mark.parametrize("wall", ["a page for all with status 200", "401", "a redirect to the home page"])
def test_with_several_processes_they_are_fetched_again_too(crawls: Crawls, site: PageSite, wall: str) -> None:
    from tests.crawl.processes.test_leader_and_followers import perform
    walled = walled_site(site, WALLS[wall])
    crawls.write(settings(site, "processes = 3"))
    assert perform(crawls).complete
    expire_once_at(walled, "/p/11")
    run = perform(crawls)
    assert (run.outcome, run.complete, run.progress.pages_failed) == (Outcome.SUCCEEDED, True, 0), run.error
    assert (run.progress.new, run.progress.changed, run.progress.gone) == (0, 0, 0)
    assert texts(crawls) == WHOLE
    assert crawls.counts(run)["items"].pages == PAGES + 1


def test_a_first_pass_has_no_items_of_pages_for_anonymous_visitors(crawls: Crawls, site: PageSite) -> None:
    walled = walled_site(site, WALLS["a page for all with status 200"])
    expire_once_at(walled, "/p/3")
    crawls.write(settings(site))
    run = crawls.run()
    assert (run.complete, run.progress.new) == (True, PAGES + 1)
    assert texts(crawls) == WHOLE


def test_a_watched_page_that_becomes_a_login_page_has_not_changed(crawls: Crawls, site: PageSite) -> None:
    walled = walled_site(site, WALLS["a page for all with status 200"], pages=1)
    crawls.write(settings(site).replace("[spiders.s.items.fields]\n        text = \"p\"", "").replace(
        'follow = ["a.n"]', 'spider = "watch"'))
    assert crawls.run().progress.new == 1
    expire_once_at(walled, "/")
    run = crawls.run()
    assert (run.complete, run.progress.changed, run.progress.unchanged, walled.logins) == (True, 0, 1, 2)
    walled.expire()  # and once more, when no new login is possible
    walled.closed = True
    run = crawls.perform()
    assert (run.outcome, run.progress.changed) == (Outcome.FAILED, 0)
    assert "Please log in" not in str(list(items.changes(crawls.store, "s")))


def test_a_page_that_ends_the_session_is_named_in_the_error(crawls: Crawls, site: PageSite) -> None:
    walled = walled_site(site, WALLS["a page for all with status 200"], pages=6)

    def logout(asked: Asked) -> Answer:
        walled.expire()
        return Answer("<p>bye</p>")
    site.pages["/p/4"] = logout
    crawls.write(settings(site))
    run = crawls.run()
    assert (run.outcome, run.complete) == (Outcome.FAILED, False)
    assert f"the session ends whenever {site.url}/p/4 is fetched" in run.error
    assert {change.kind for change in items.changes(crawls.store, "s")} <= {ChangeKind.NEW}
    assert "bye" not in texts(crawls)
    crawls.write(settings(site, 'deny = ["/p/4"]'))
    assert "start" in texts(crawls)  # pages proved before are stored


def test_a_killed_run_leaves_no_page_that_was_not_proved(crawls: Crawls, site: PageSite) -> None:
    walled = walled_site(site, WALLS["a page for all with status 200"])
    crawls.write(settings(site))
    assert crawls.run().complete
    expire_once_at(walled, "/p/11")
    walled.closed = True  # no new login: the run cannot prove what it has
    killed = crawls.run(die=True)
    assert texts(crawls) == WHOLE
    walled.closed = False
    runs.abandon_expired(crawls.store, now=datetime.now(UTC) + TTL)
    run = crawls.run()
    assert (run.pass_id, run.complete) == (killed.pass_id, True)
    assert crawls.counts(run)["items"].pages == PAGES + 1
    assert (run.progress.new, run.progress.changed, run.progress.gone) == (0, 0, 0)
    assert texts(crawls) == WHOLE


def test_a_stopped_run_commits_the_pages_that_are_proved(crawls: Crawls, site: PageSite) -> None:
    walled_site(site, WALLS["403"])
    crawls.write(settings(site, "delay = \"20ms\""))

    async def stop_soon(stop: asyncio.Event) -> None:
        while len(site.asked) < 12:
            await asyncio.sleep(0.01)
        stop.set()
    run = crawls.run(while_running=stop_soon)
    assert run.outcome is Outcome.STOPPED
    assert 0 < len(crawls.items()) <= PAGES
    assert crawls.run().complete
    assert texts(crawls) == WHOLE


COOKIES_ALONE = """
    [spiders.s]
    start = "{url}/"
    follow = ["a.n"]
    robots = false
    cookies = {{ file = "cookies.txt" }}
    [spiders.s.login]
    check = "a[href*=logout]"
    {expired}
    [spiders.s.items.fields]
    text = "p"
    """


def with_cookies(crawls: Crawls, site: PageSite, expired: str = "") -> Walled:
    walled = walled_site(site, WALLS["a page for all with status 200"])
    walled.valid = "sid=brought"
    (crawls.folder / "cookies.txt").write_text("sid=brought")
    crawls.write(COOKIES_ALONE.format(url=site.url, expired=expired))
    return walled


@pytest.mark.parametrize("expired", ["", "expired = { status = [401] }"])
@pytest.mark.parametrize("where", ["/p/7", f"/p/{PAGES - 1}"])
def test_expired_imported_cookies_end_the_run_without_changes(crawls: Crawls, site: PageSite, expired: str,
                                                                    where: str) -> None:
    walled = with_cookies(crawls, site, expired)
    run = crawls.perform()
    assert (run.outcome, run.complete) == (Outcome.SUCCEEDED, True), run.error
    expire_once_at(walled, where)
    for _ in range(2):  # expired during the run, then from the start
        run = crawls.perform()
        assert (run.outcome, run.complete, run.progress.gone, run.progress.new) == (Outcome.FAILED, False, 0, 0)
        assert "login.check no longer matches with the imported cookies" in run.error
        assert "pipeline cookies import" in run.error
    assert texts(crawls) == WHOLE


@pytest.mark.parametrize(("status", "rule"), [
    (403, "expired = { present = 'input[type=password]' }"), (404, "expired = { missing = 'a[href*=logout]' }"),
    (401, "expired = { present = 'input[type=password]' }")])
def test_rules_of_login_expired_for_content_apply_to_error_pages_too(crawls: Crawls, site: PageSite, status: int, rule: str) -> None:
    walled = walled_site(site, Answer("<form><input type=password></form>", status))
    expire_once_at(walled, "/p/11")
    site.pages["/p/5"] = Answer("<h1>404</h1>", 404)  # without the site's frame, for everyone
    crawls.write(settings(site, expired=rule))
    run = crawls.run()
    assert (run.outcome, run.complete, walled.logins) == (Outcome.SUCCEEDED, True, 2), run.error
    assert texts(crawls) == WHOLE - {"5"}
