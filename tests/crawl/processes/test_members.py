"""Several nodes share one pass through the store.

Each page is committed once, whoever is killed, and one login serves all.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.crawl.processes.session_exchange import ReceivedChanges, SessionExchange, SharedSession
from pipeline.model import Run
from pipeline.session.cookies.cookie import Cookie
from pipeline.session.cookies.jar import Jar
from pipeline.session.web_storage import OriginStorage, WebStorage, entries_of_packed
from tests.crawl.archive.records import pages
from tests.crawl.processes.torture import LOGIN, Cluster, ExpiringSite, torture
from tests.servers.postgres import Postgres

WITHIN_S = 60.0


@pytest.mark.needs("postgres")
def test_two_nodes_fetch_and_archive_each_page_once_with_one_login(postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RENEW_EVERY_S", "WATCH_EVERY_S"):
        monkeypatch.setattr(f"pipeline.workers.members.{name}", 0.02)  # so that a node finds out at once that the run has ended
    asked_for, both_here, both_fetch = set[int](), threading.Event(), threading.Event()

    def wait(number: int) -> None:
        asked_for.add(number)
        if len(asked_for) == 1 + 7:  # after the first page, a process sends six at a time, so these are from both
            both_fetch.set()
        (both_fetch if number else both_here).wait(WITHIN_S)

    site = ExpiringSite(random.Random(1), 60, links=59, lasting=(1000, 1000), wait=wait)
    with site.site as served, closing(Cluster(tmp_path, postgres.new_database(), served.url, more="archive = true\n" + LOGIN.format(site=served.url), nodes=2)) as cluster:
        async def work() -> Run:
            async with cluster.performing() as performing:
                async with asyncio.timeout(WITHIN_S):
                    while "2 processes fetch the pages of this run" not in cluster.log():
                        await asyncio.sleep(0.02)
                    both_here.set()
                    return await asyncio.shield(performing)

        run = asyncio.run(work())  # both nodes have written all that they archive when this ends
        cluster.check(run, 60)
        assert (run.progress.pages, run.progress.new, run.progress.waiting) == (60, 60, 0)
        fetched = [path for path in site.site.paths() if path not in ("/login", "/account")]
        assert len(fetched) == len(set(fetched)) == 60
        archives = [Counter(path for _, path, _ in pages(store.data_dir, served.url)) for store in cluster.stores]
        assert all(archives)
        assert sum(archives, Counter()) == Counter(fetched)  # each node has those that it has fetched
        assert run.progress.archived_pages == 60
    assert site.logins == 1


@pytest.mark.needs("postgres")
def test_with_kills_and_expiring_logins_every_page_is_committed_once(postgres: Postgres, tmp_path: Path) -> None:
    assert torture(tmp_path, postgres, 1, 5, kills=2, count=100)["run"]


def test_cookies_of_all_processes_reach_the_leader_and_those_of_an_earlier_login_do_not() -> None:
    leader, other = Jar(), Jar()
    exchange, received = SessionExchange(other), ReceivedChanges()
    leader.add([Cookie("sid", "1", "site.example"), Cookie("gone", "1", "site.example")])
    exchange.take(leader, new_login=False)
    other.add([Cookie("seen", "yes", "site.example")])
    other.remove((Cookie("gone", "", "site.example")).key)
    received.apply(exchange.changes(0) or b"", leader, 0)
    assert {cookie.name for cookie in leader} == {"sid", "seen"}
    assert exchange.changes(0) is None  # nothing new
    other.remove((Cookie("sid", "", "site.example")).key)  # as the site answers when the login has expired
    late = exchange.changes(0) or b""
    leader.add([Cookie("sid", "2", "site.example")])
    received.apply(late, leader, 1)
    exchange.take(leader, new_login=True)
    assert {(cookie.name, cookie.value) for cookie in leader} == {("sid", "2"), ("seen", "yes")}
    assert {(cookie.name, cookie.value) for cookie in other} == {("sid", "2"), ("seen", "yes")}
    assert exchange.changes(1) is None


def test_web_storage_of_all_processes_reaches_the_leader_entry_by_entry_and_that_of_an_earlier_login_does_not() -> None:
    leader, other, origin = WebStorage(), WebStorage(), "https://site.example"
    exchange, received = SessionExchange(Jar(), other), ReceivedChanges()

    def share(*, new_login: bool = False) -> None:
        exchange.take((), new_login=new_login, storage=entries_of_packed(leader.packed()))

    leader.put(origin, OriginStorage({"token": "1", "gone": "1"}, {"tab": "1"}))
    share()
    assert other.of(origin) == leader.of(origin)
    assert exchange.changes(0) is None
    other.put(origin, OriginStorage({"token": "1", "seen": "yes"}, {"tab": "2"}, ({"name": "db"},)))
    leader.put(origin, OriginStorage({"token": "1", "gone": "1", "of the leader": "yes"}, {"tab": "1"}))
    received.apply(exchange.changes(0) or b"", Jar(), 0, leader)
    assert leader.of(origin) == OriginStorage({"token": "1", "of the leader": "yes", "seen": "yes"}, {"tab": "2"}, ({"name": "db"},))
    share()
    assert other.of(origin) == leader.of(origin)
    assert exchange.changes(0) is None
    other.put(origin, OriginStorage({"token": "expired"}))
    late = exchange.changes(0) or b""
    leader.clear()
    leader.put(origin, OriginStorage({"token": "2"}))
    received.apply(late, Jar(), 1, leader)
    share(new_login=True)
    assert (leader.of(origin), other.of(origin)) == (OriginStorage({"token": "2"}),) * 2
    assert exchange.changes(1) is None


def test_a_session_stays_the_same_when_it_is_shared() -> None:
    session = SharedSession(3, "token", False, (Cookie("a", "b\udcff", "site.example", expires_s=5),))
    assert SharedSession.unpacked(session.packed()) == session
