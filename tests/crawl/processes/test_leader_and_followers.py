"""Several processes share one pass.

Each page is fetched once, limits and login are shared, any process may be killed.
"""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from multiprocessing.util import get_temp_dir
from pathlib import Path

import psycopg
import pytest

from pipeline.crawl.context import Failures
from pipeline.errors import SettingsError, SpiderError
from pipeline.model import ChangeKind, Outcome, Run
from pipeline.session.cookies.jar import Jar
from pipeline.settings import load
from pipeline.store.crawl import items
from pipeline.store.runs import runs
from pipeline.workers.forkserver import warm_up
from pipeline.workers.runner import Runner
from tests.crawl.conftest import Crawls
from tests.servers.pages import Answer, Asked, PageSite
from tests.servers.postgres import Postgres
from tests.servers.program import Program, alive, eventually

PAGES = 40
WAIT_S = 60.0


def page(number: int) -> str:
    """The first page links to all others, so that there are always more rows than one process takes."""
    return f"<p>{number}</p>" + "".join(f"<a href=/{link}>" for link in range(1, PAGES) if not number)


def settings(site: PageSite, more: str = "") -> str:
    return f"""
        [spiders.s]
        start = "{site.url}/0"
        follow = ["a"]
        robots = false
        processes = 2
        concurrency = 4
        {more}
        [spiders.s.items]
        key = ["id"]
        fields = {{ id = "p" }}
    """


Children = Callable[[], set[int]]


def started_here() -> Children:
    """A function that returns the crawling processes that were started after this call and still run."""
    here = Program(Path(), 0)
    here.watch(os.getpid())

    def at_work() -> set[int]:
        return alive(here.children_of_the_forkserver())

    before = at_work()
    return lambda: at_work() - before


@pytest.fixture
def children() -> Children:
    return started_here()


def perform(crawls: Crawls, meanwhile: Callable[[int], None] | None = None, *, within_s: float = WAIT_S) -> Run:
    """One run in child processes. meanwhile: called in a thread with the leader's process id, once all of them have started."""
    warm_up()
    now = datetime.now(UTC)
    crawls.number += 1
    runs.claim_slot(crawls.store, "s", f"slot {crawls.number}", due_at=now, reason="manual", now=now)
    run = runs.start_run(crawls.store, None, owner=crawls.store.owner, now=now, limit=99)
    assert run is not None
    started, over = started_here(), threading.Event()
    processes = crawls.settings.spiders["s"].first_processes
    failed: list[BaseException] = []

    def with_the_leader() -> None:
        assert meanwhile is not None
        try:
            eventually(lambda: len(started()) == processes or over.is_set(), within_s=WAIT_S)
            if found := started():
                meanwhile(min(found))  # the leader is started first
        except BaseException as error:  # noqa: BLE001  raised in the test's own thread
            failed.append(error)

    async def work() -> Run:
        async with asyncio.timeout(within_s):
            return await Runner(crawls.store, crawls.settings).perform(run)

    thread = threading.Thread(target=with_the_leader)
    if meanwhile is not None:
        thread.start()
    try:
        ended = asyncio.run(work())
    except TimeoutError:
        log = Path(crawls.settings.data_dir / "logs" / "runs" / f"{run.id}.log").read_text("utf-8")
        raise AssertionError(f"the run did not end; processes: {started()}; its log:\n{log}") from (failed or [None])[0]
    finally:
        over.set()
        if meanwhile is not None:
            thread.join()
    if failed:
        raise failed[0]
    return ended


@pytest.mark.needs("postgres")
def test_processes_of_a_database_server_do_not_count_as_processes_of_the_crawl(postgres: Postgres, children: Children) -> None:
    with closing(psycopg.connect(postgres.url("postgres"))):  # the server starts a process for it, which leads a session
        assert not children()


def test_a_process_that_cannot_be_started_is_an_error_without_traceback(crawls: Crawls, site: PageSite) -> None:
    crawls.write(settings(site))
    warm_up()
    (socket,) = Path(get_temp_dir()).glob("listener-*")
    away = socket.rename(socket.with_name("away"))
    try:
        with pytest.raises(SpiderError, match="could not be started"):
            perform(crawls)
    finally:
        away.rename(socket)
    assert site.asked == []


class HeldSite(PageSite):
    """Answers the first requests at once, the others when `go` is set. in_hand: requests in flight; most: the most so far."""

    def __init__(self, free: int) -> None:
        super().__init__({f"/{number}": self._page for number in range(PAGES)})
        self.go = threading.Event()
        self.most = 0
        self.in_hand = 0
        self._free = free
        self._lock = threading.Lock()

    def _page(self, asked: Asked) -> Answer:
        with self._lock:
            self.in_hand += 1
            self.most = max(self.most, self.in_hand)
            self._free -= 1
            held = self._free < 0 and not self.go.is_set()
        assert not held or self.go.wait(WAIT_S)
        with self._lock:
            self.in_hand -= 1
        return Answer(page(int(asked.path[1:])))


def test_two_processes_fetch_each_page_once_and_keep_to_the_concurrency(crawls: Crawls, children: Children) -> None:
    with HeldSite(free=5) as site:
        crawls.write(settings(site))

        def both_at_work(leader: int) -> None:
            eventually(lambda: site.in_hand == 4, within_s=WAIT_S)  # two each
            assert len(children()) == 2
            site.go.set()

        run = perform(crawls, both_at_work)
        assert (run.outcome, run.complete, run.progress.pages, run.progress.new) == (Outcome.SUCCEEDED, True, PAGES, PAGES)
        assert sorted(site.paths()) == sorted(f"/{number}" for number in range(PAGES))
        assert site.most == 4
        assert not children()


@pytest.mark.parametrize("victim", ["follower", "leader"])
def test_either_process_may_be_killed_and_nothing_is_lost(crawls: Crawls, children: Children, victim: str) -> None:
    with HeldSite(free=9) as site:
        crawls.write(settings(site))

        def kill(leader: int) -> None:
            eventually(lambda: site.in_hand == 4, within_s=WAIT_S)
            Program.kill_process(leader if victim == "leader" else (children() - {leader}).pop())
            eventually(lambda: len(children()) == (0 if victim == "leader" else 1), within_s=WAIT_S)
            site.go.set()

        run = perform(crawls, kill)
        if victim == "leader":
            assert run.outcome is Outcome.KILLED
            assert not run.progress.gone
            run = perform(crawls)
        assert (run.outcome, run.complete) == (Outcome.SUCCEEDED, True), run.error
        assert sorted(crawls.items(), key=int) == [str(number) for number in range(PAGES)]
        assert crawls.counts(run)["items"] == (PAGES, PAGES, PAGES, 0)
        assert len([change for change in crawls.changes(run) if change.kind == "new"]) <= PAGES
        # Fetched twice at most: the 4 pages in flight at the kill, and those of the 9 before that were not yet committed (the
        # first was: the others come from its links).
        assert len(site.paths()) <= PAGES + 12


MANY = 200


@pytest.mark.parametrize("seed", [6])
def test_with_kills_at_random_moments_every_item_is_new_once(crawls: Crawls, children: Children, seed: int) -> None:
    chance = random.Random(seed)
    pages = {f"/{number}": f"<p>{number}</p>" + "".join(
        f"<a href=/{link}>" for link in range(4 * number + 1, 4 * number + 5) if link < MANY) for number in range(MANY)}
    with PageSite(pages) as site:
        crawls.write(settings(site))

        def kill(leader: int) -> None:
            goal, any_of_them = len(site.paths()) + chance.randrange(5, 60), chance.random() < 0.5
            victim = leader
            while len(site.paths()) < goal and (here := children()):
                victim = leader if any_of_them else next(iter(here - {leader}), leader)
            Program.kill_process(victim)

        run = perform(crawls, kill)
        for _ in range(5):
            if not run.complete:
                run = perform(crawls, kill)
        if not run.complete:
            run = perform(crawls)
        assert (run.outcome, run.complete) == (Outcome.SUCCEEDED, True), run.error
        assert len(crawls.items()) == MANY
        assert crawls.counts(run)["items"] == (MANY, MANY, MANY, 0)
        told = list(items.changes(crawls.store, "s"))
        assert len(told) == MANY
        assert {change.kind for change in told} == {ChangeKind.NEW}


def test_max_pages_limits_all_processes_together(crawls: Crawls, site: PageSite) -> None:
    site.pages = {f"/{number}": page(number) for number in range(PAGES)}
    crawls.write(settings(site, "max_pages = 15"))
    run = perform(crawls)
    assert (run.outcome, run.complete, run.progress.pages) == (Outcome.SUCCEEDED, False, 15)
    assert len(site.paths()) == 15


class LoginSite(PageSite):
    """Pages behind a login that expires after some pages. Each page increments a cookie."""

    def __init__(self) -> None:
        super().__init__({f"/{number}": self._page for number in range(PAGES)} | {"/login": self._login})
        self.logins = 0
        self._served = 0
        self._lock = threading.Lock()

    def _login(self, asked: Asked) -> Answer:
        if asked.method != "POST":
            return Answer("<form method=post><input name=user><input name=password type=password></form>")
        with self._lock:
            self.logins += 1
            return Answer("<a href=/logout>out</a>", headers={"Set-Cookie": f"sid={self.logins}; Path=/"})

    def _page(self, asked: Asked) -> Answer:
        with self._lock:
            if self._served == 20 and self.logins == 1:
                valid = 2
            else:
                valid = self.logins
                self._served += f"sid={valid}" in asked.headers.get("Cookie", "")
        if f"sid={valid}" not in asked.headers.get("Cookie", ""):
            return Answer("", 302, {"Location": "/login"})
        return Answer(page(int(asked.path[1:])), headers={"Set-Cookie": f"seen{asked.path[1:]}=1; Path=/"})


def test_all_processes_share_one_new_login_and_one_cookie_jar(crawls: Crawls) -> None:
    with LoginSite() as site:
        crawls.write(settings(site) + f"""
        [spiders.s.login]
        url = "{site.url}/login"
        fields = {{ user = "me" }}
        check = "a[href*=logout]"
        """)
        run = perform(crawls)
        assert (run.outcome, run.complete, run.progress.pages_failed) == (Outcome.SUCCEEDED, True, 0), run.error
        assert len(crawls.items()) == PAGES
        assert site.logins == 2
        names = {cookie.name for cookie in Jar.open(crawls.folder / "data" / "jars" / "s.txt")}
        assert "sid" in names
        assert len(names) > PAGES - 8  # cookies set by pages of the expired login are ignored


def test_the_runs_line_has_the_notes_of_all_processes(crawls: Crawls) -> None:
    asked_for, both_fetch = set[str](), threading.Event()

    def truncated(asked: Asked) -> Answer:
        asked_for.add(asked.path)
        if len(asked_for) == 3:  # a process sends two at a time, so these are from both
            both_fetch.set()
        both_fetch.wait(WAIT_S)
        return Answer(f"<rss version='2.0'><channel><item><guid>{asked.path}</guid><title>a</title></item><item><guid>b",
                      headers={"Content-Type": "application/rss+xml"})

    with PageSite({f"/{number}": truncated for number in range(PAGES)}) as site:
        crawls.write(f"""
            [spiders.s]
            spider = "feed"
            start = {[f"{site.url}/{number}" for number in range(PAGES)]}
            robots = false
            processes = 2
        """)
        run = perform(crawls)
        assert (run.outcome, run.progress.new) == (Outcome.SUCCEEDED, PAGES), run.error
        for number in range(PAGES):
            assert f"{site.url}/{number} is truncated" in run.error


def test_the_failures_of_several_processes_are_added_up() -> None:
    leader, follower = Failures(), Failures()
    leader.add("http://site.example/a: robots.txt forbids this URL", "FetchError", transient=False)
    follower.add("http://site.example/b has 100,001 items", "SpiderError", transient=False)
    follower.add("HTTP 503", "FetchError", transient=True)
    leader.merge(follower)
    assert (leader.permanent, leader.transient, leader.spider, leader.robots) == (2, 1, 1, 1)
    assert leader.first == "http://site.example/b has 100,001 items"


@pytest.mark.parametrize(("more", "words"), [
    ("processes = 9\nconcurrency = 4", "concurrency = 4 is too low for processes = 9"),
    ("processes = 2\nthrottle = true", "give either `throttle` or `processes`"),
    ('processes = 2\nspider = "spiders.x:Own"', "works only with built-in spiders"),
    ("processes = 0", "0 is not a number of processes; write \"auto\" or a number from 1 to 16"),
    ("processes = \"many\"", "'many' is not a number of processes"),
    ("processes = true", "true is not a number of processes")])
def test_settings_that_conflict_with_processes_are_errors(tmp_path: Path, more: str, words: str) -> None:
    (tmp_path / "settings.toml").write_text(f'[spiders.s]\nstart = "http://site.example/"\n{more}\n')
    with pytest.raises(SettingsError, match=words):
        load(tmp_path / "settings.toml")
