"""Torture of runs whose members are on several nodes.

Run it with `python -m tests.crawl.processes.torture --histories 30`.

Each history is one pass over a site whose logins expire, sometimes without any sign: the pages then show something else. Three
nodes, each with its own data_dir, work on each run of the pass. Processes are killed with -9 at random moments, the leader as
well as others; members are cut off: they go on fetching, but their leases are taken from them; and nodes are stopped, as by
SIGTERM. Then a run completes the pass.
Afterwards each page must have been committed once, each item must be new once, no item may come from a page for anonymous
visitors, the rules must have been counted once on each page, and nobody may have logged in more often than sessions ended.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import func, select, update

from pipeline.model import ChangeKind, Outcome, Run
from pipeline.settings import Settings, load
from pipeline.store import Store, open_store
from pipeline.store.crawl import items, rule_counts
from pipeline.store.database.schema import frontier, pages, run_members, session_files
from pipeline.store.runs import runs
from pipeline.workers.forkserver import warm_up
from pipeline.workers.runner import Runner
from tests.servers.pages import Answer, Asked, PageSite
from tests.servers.postgres import Postgres
from tests.servers.program import Program

NODES = 3
FAULTS = ("leader", "member", "member", "cut off", "stop")
PAGES = 300
WITHIN_S = 90.0
SETTINGS = """
[pipeline]
data_dir = "data"
database = "{database}"
[cluster]
dispatcher = "procrastinate"
[spiders.s]
start = "{site}/0"
follow = ["a"]
robots = false
retries = 0
processes = {nodes}
concurrency = 12
{more}
[spiders.s.items]
key = ["id"]
fields = {{ id = "p" }}
"""
LOGIN = """
[spiders.s.login]
url = "{site}/login"
fields = {{ user = "me" }}
check = "a[href*=logout]"
check_url = "{site}/account"
"""


class ExpiringSite:
    """Pages that link to some others each, behind a login that ends after some pages. ends: how many sessions ended.

    links: how many others. lasting: between which numbers of pages a session lasts. wait: called with the number of a page before it
    is answered. silent: whether a page for anonymous visitors is a page like others.
    """

    def __init__(self, dice: random.Random, count: int = PAGES, *, links: int = 8, lasting: tuple[int, int] = (60, 150),
                 wait: Callable[[int], object] = lambda number: time.sleep(0.01)) -> None:
        self._dice = dice
        self._lock = threading.Lock()
        self._lasting = lasting
        self._wait = wait
        self._count = count
        self._links = links
        self._left = 0
        self.logins = 0
        self.ends = 0
        self.site = PageSite({f"/{number}": self._page for number in range(count)} | {"/login": self._login, "/account": self._account})

    def _login(self, asked: Asked) -> Answer:
        if asked.method != "POST":
            return Answer("<form method=post><input name=user><input name=password type=password></form>")
        with self._lock:
            self.logins += 1
            self._left = self._dice.randint(*self._lasting)
            return Answer("<a href=/logout>out</a>", headers={"Set-Cookie": f"sid={self.logins}; Path=/"})

    def _is_valid(self, asked: Asked) -> bool:
        return self._left > 0 and f"sid={self.logins}" in asked.headers.get("Cookie", "").split("; ")

    def _account(self, asked: Asked) -> Answer:
        with self._lock:
            return Answer("<a href=/logout>out</a>" if self._is_valid(asked) else "<form></form>")

    def _page(self, asked: Asked) -> Answer:
        number = int(asked.path[1:])
        self._wait(number)
        with self._lock:
            valid, silent = self._is_valid(asked), self._dice.random() < 0.5
            if valid:
                self._left -= 1
                self.ends += not self._left
        if not valid:
            return Answer(f"<p>anonymous {number}</p><a href=/trap>") if silent else Answer("", 302, {"Location": "/login"})
        links = range(self._links * number + 1, self._links * (number + 1) + 1)
        return Answer(f"<p>{number}</p>" + "".join(f"<a href=/{link}>" for link in links if link < self._count))


class Cluster:
    """Nodes with their own data_dir and one database. The first node leads each run, the others take part in it."""

    def __init__(self, folder: Path, database: str, site: str, *, more: str = "", nodes: int = NODES) -> None:
        self.stores: list[Store] = []
        self.settings: list[Settings] = []
        for number in range(nodes):
            place = folder / f"node{number}"
            place.mkdir(parents=True)
            (place / "settings.toml").write_text(SETTINGS.format(database=database, site=site, more=more, nodes=max(2, nodes)), "utf-8")
            self.settings.append(load(place / "settings.toml"))
            self.stores.append(open_store(self.settings[-1].data_dir, database))
        self._slots = 0
        self._processes = Program(Path(), 0)
        self._processes.watch(os.getpid())
        self.leader = 0
        self.runners: list[Runner] = []
        self._before: set[int] = set()

    @property
    def store(self) -> Store:
        return self.stores[0]

    def others(self) -> set[int]:
        """The processes that fetch pages, besides the leader's."""
        return self._processes.children_of_the_forkserver() - self._before - {self.leader}

    @asynccontextmanager
    async def performing(self) -> AsyncIterator[asyncio.Task[Run]]:
        """Perform one run on all nodes. self.leader: the process id of the leader, which has started."""
        now = datetime.now(UTC)
        self._slots += 1
        runs.claim_slot(self.store, "s", f"slot {self._slots}", due_at=now, reason="manual", now=now)
        run = runs.start_run(self.store, None, owner=self.store.owner, now=now, limit=9)
        assert run is not None
        warm_up()
        self._before = self._processes.children_of_the_forkserver()
        self.runners = [Runner(store, settings) for store, settings in zip(self.stores, self.settings, strict=True)]
        performing = asyncio.create_task(self.runners[0].perform(run))
        while not (started := self._processes.children_of_the_forkserver() - self._before) and not performing.done():
            await asyncio.sleep(0.002)
        self.leader = min(started, default=0)
        following = [asyncio.create_task(self._follow(number, run, performing)) for number in range(1, len(self.runners))]
        try:
            yield performing
            await asyncio.wait_for(asyncio.gather(performing, *following), WITHIN_S)
        finally:
            for task in (performing, *following):
                task.cancel()
            await asyncio.gather(performing, *following, return_exceptions=True)

    async def _follow(self, number: int, run: Run, performing: asyncio.Task[Run]) -> None:
        """What a dispatcher does with the job: a process that has died is replaced."""
        while not performing.done():
            await self.runners[number].members.follow(run.id)
            await asyncio.sleep(0.05)

    def stop_node(self, number: int) -> None:
        """Stop a node, which then starts again."""
        self.runners[number].stop()
        self.runners[number] = Runner(self.stores[number], self.settings[number])

    def cut_off(self) -> bool:
        """Take the lease of a member as if its node could not be reached. Return whether there was one."""
        with self.store.write() as connection:
            found = connection.execute(select(run_members.c.id, run_members.c.report).where(run_members.c.ended_at.is_(None)))
            here = [row.id for row in found if not row.report.get("leader")]
            if here:
                connection.execute(update(run_members).where(run_members.c.id == here[0]).values(
                    lease_owner="another-machine:1:boot", lease_until=datetime.now(UTC)))
            return bool(here)

    def log(self) -> str:
        """The logs of the runs."""
        return "\n".join(path.read_text("utf-8") for settings in self.settings for path in sorted(settings.data_dir.glob("logs/runs/*.log")))

    def check(self, run: Run, count: int) -> None:
        """Check what the pass has left in the store."""
        assert (run.outcome, run.complete) == (Outcome.SUCCEEDED, True), f"{run}\n{self.log()}"
        with self.store.read() as connection:
            committed = connection.execute(select(pages.c.url, func.count()).where(
                pages.c.pass_id == run.pass_id, pages.c.status == 200).group_by(pages.c.url)).all()
            held = connection.execute(select(func.count()).where(frontier.c.member_id.is_not(None))).scalar_one()
            counted = rule_counts.of_pass(connection, run.pass_id)
            shared = [name for name in connection.execute(select(session_files.c.name)).scalars() if "member" in name or name == "run"]
        assert len(committed) == count, f"{len(committed)} pages committed"
        assert {row[1] for row in committed} == {1}, [row for row in committed if row[1] > 1]
        assert (held, shared) == (0, [])
        stored = sorted(item.key for item in items.present(self.store, "s"))
        assert stored == sorted(str(number) for number in range(count)), set(stored) ^ set(map(str, range(count)))
        told = list(items.changes(self.store, "s"))
        assert len(told) == count
        assert {change.kind for change in told} == {ChangeKind.NEW}
        assert (counted.items, counted.rules["items"].pages if "items" in counted.rules else count) == (count, count)

    def close(self) -> None:
        for store in self.stores:
            store.close()


async def history(cluster: Cluster, site: ExpiringSite, dice: random.Random, *, kills: int, count: int = PAGES) -> Counter[str]:
    """One pass, with kills at random moments, until it is complete. Return what happened how often."""
    happened: Counter[str] = Counter()
    run: Run | None = None
    while run is None or not run.complete:
        async with cluster.performing() as performing:
            happened["run"] += 1
            while kills and not performing.done():
                await _moment(site, dice, performing)
                kills -= 1
                what = dice.choice(FAULTS)
                if what == "cut off":
                    happened[what] += await asyncio.to_thread(cluster.cut_off)
                elif what == "stop":
                    cluster.stop_node(dice.randrange(NODES))
                    happened[what] += 1
                elif victims := ([cluster.leader] if what == "leader" else sorted(cluster.others())):
                    Program.kill_process(dice.choice(victims))
                    happened[what] += 1
            run = await asyncio.wait_for(asyncio.shield(performing), WITHIN_S)
        assert happened["run"] < 10, cluster.log()
    cluster.check(run, count)
    assert site.logins <= site.ends + 1, f"{site.logins} logins, and {site.ends} sessions ended"
    return happened + Counter(logins=site.logins)


async def _moment(site: ExpiringSite, dice: random.Random, performing: asyncio.Task[Run]) -> None:
    goal = len(site.site.asked) + dice.randrange(1, 120)
    while len(site.site.asked) < goal and not performing.done():
        await asyncio.sleep(0.002)


def torture(folder: Path, server: Postgres, histories: int, seed: int, *, kills: int = 5, count: int = PAGES) -> Counter[str]:
    """What happened how often. Raises AssertionError, with the number of the history, if the store is wrong."""
    happened: Counter[str] = Counter()
    for number in range(histories):
        dice = random.Random(f"{seed}/{number}")
        site = ExpiringSite(random.Random(f"{seed}/{number}/site"), count)
        with site.site as served:
            cluster = Cluster(folder / str(number), server.new_database(), served.url, more=LOGIN.format(site=served.url))
            with closing(cluster):
                try:
                    happened += asyncio.run(history(cluster, site, dice, kills=kills, count=count))
                except AssertionError as error:
                    raise AssertionError(f"seed {seed}, history {number}: {error}") from error
    return happened


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, closing(Postgres()) as server:
        happened = torture(Path(folder), server, given.histories, given.seed)
    figures = ", ".join(f"{name} {count}" for name, count in sorted(happened.items()))
    print(f"{given.histories} passes of {PAGES} pages ({figures}) in {time.monotonic() - began:.0f} s, seed {given.seed}: every page and item once, "
          "no login too many")


if __name__ == "__main__":
    main()
