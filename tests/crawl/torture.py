"""Torture of the crawl with real processes that are killed.

Run it with `python -m tests.crawl.torture --histories 300`.

Each history is a sequence of states of a real site. Each state is crawled in a child process, as the service does it. The
crawl is killed with -9 at random moments, is stopped, or fails because a page is missing, and the site may change in
between; then a run completes the pass. Afterwards the store must have what the site showed last on each page, the reported
changes must add up to it, each must follow from the one before, no committed page may have been fetched again, and the rules must
have been counted once on each committed page.
With --joining, the site is slower, a second process joins each crawl as soon as possible, and any of the two is killed.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import func, select

from pipeline.model import ChangeKind, Outcome, Run
from pipeline.settings import Settings, load
from pipeline.store import Store, open_store
from pipeline.store.crawl import items, rule_counts
from pipeline.store.database.schema import pages
from pipeline.store.runs import runs
from pipeline.workers.forkserver import warm_up
from pipeline.workers.runner import Runner
from tests.servers.pages import Answer, Asked, PageSite
from tests.servers.program import Program

SETTINGS = """
[spiders.s]
start = "{url}/"
follow = ["a"]
robots = false
retries = 0
concurrency = 3
processes = "auto"
[spiders.s.items]
each = "p"
key = ["id"]
[spiders.s.items.fields]
id = "b"
value = "i"
"""
PAGES = 8
KEYS_A_PAGE = 3
FATES = ("complete", "killed", "killed", "killed", "stopped", "failed")
WITHIN_S = 60.0

State = dict[int, dict[str, str]]
"""By page its items: key and value."""


class Site:
    """A site that shows one state at a time, and remembers what it showed last on each page."""

    def __init__(self, dice: random.Random, *, slower: float) -> None:
        self._dice = dice
        self._slower = slower
        self._lock = threading.Lock()
        self.state: State = {}
        self.down: set[int] = set()
        self.shown: State = {}
        self.site = PageSite({"/": self._home} | {f"/{page}": self._page for page in range(PAGES)})

    def _home(self, asked: Asked) -> Answer:
        return Answer("".join(f"<a href=/{page}>{page}</a>" for page in range(PAGES)))

    def _page(self, asked: Asked) -> Answer:
        page = int(asked.path[1:])
        with self._lock:
            dawdle_s = self._slower * self._dice.choice((0.0, 0.0, 0.01, 0.03))
            if page in self.down:
                return Answer("down", 503)
            found = self.shown[page] = dict(self.state.get(page, {}))
        time.sleep(dawdle_s)
        return Answer(f"<h1>{page}</h1>" + "".join(f"<p><b>{key}</b><i>{value}</i></p>" for key, value in found.items()))

    def change(self) -> None:
        """Add, change and remove items. One item always stays, since a site without items makes a run suspect."""
        with self._lock:
            self.state = {page: {f"{page}-{n}": str(self._dice.randrange(3)) for n in range(KEYS_A_PAGE) if self._dice.random() < 0.7}
                          for page in range(PAGES)}
            self.state[0]["0-stays"] = str(self._dice.randrange(3))


class History:
    """One store, one site, and the runs between them."""

    def __init__(self, folder: Path, seed: str, *, joining: bool = False) -> None:
        self._dice = random.Random(seed)
        self._folder = folder
        self._joining = joining
        self.site = Site(random.Random(f"{seed}/site"), slower=20.0 if joining else 1.0)
        self.ends: Counter[str] = Counter()
        self._slots = itertools.count()
        self._processes = Program(Path(), 0)
        self._processes.watch(os.getpid())

    def play(self, steps: int) -> None:
        with self.site.site as site, _opened(self._folder) as store:
            (self._folder / "settings.toml").write_text(SETTINGS.format(url=site.url), "utf-8")
            settings = load(self._folder / "settings.toml")
            for _ in range(steps):
                self.site.change()
                fate = self._dice.choice(FATES)
                for _ in range({"killed": self._dice.randint(1, 3), "stopped": 1, "failed": 1}.get(fate, 0)):
                    asyncio.run(self._run(store, settings, fate))
                    if self._dice.random() < 0.5:
                        self.site.change()
                ended = asyncio.run(self._run(store, settings, "complete"))
                assert ended.outcome is Outcome.SUCCEEDED, ended
                assert ended.complete, ended
                self._check(store)

    async def _run(self, store: Store, settings: Settings, fate: str) -> Run:
        """One run, until it ends in any way."""
        self.site.down = {self._dice.randrange(1, PAGES)} if fate == "failed" else set()
        now = datetime.now(UTC)
        runs.claim_slot(store, "s", f"slot {next(self._slots)}", due_at=now, reason="manual", now=now)
        run = runs.start_run(store, None, owner=store.owner, now=now, limit=9)
        assert run is not None
        before = self._processes.children_of_the_forkserver()
        runner = Runner(store, settings)
        performing = asyncio.create_task(runner.perform(run))
        if fate in ("killed", "stopped"):
            while not (started := self._processes.children_of_the_forkserver() - before) and not performing.done():
                await asyncio.sleep(0.001)
            await self._moment(performing)
            if fate == "stopped":
                runner.stop()
            elif not performing.done():
                here = sorted(self._processes.children_of_the_forkserver() - before)
                for pid in self._dice.choice((here, here[:1], here[1:])) if self._joining else started:
                    Program.kill_process(pid)
        ended = await asyncio.wait_for(performing, WITHIN_S)
        self.ends[str(ended.outcome.value if ended.outcome else None)] += 1
        log = runner.log_file("runs", run.id)
        self.ends["with two processes"] += log.exists() and "2 processes fetch" in log.read_text("utf-8")
        return ended

    async def _moment(self, performing: asyncio.Task[Run]) -> None:
        """Any: before its first page, between two, while the last ones are committed, after the end."""
        asked = self.site.site.asked
        wanted = len(asked) + self._dice.randint(0, PAGES + 1)
        while len(asked) < wanted and not performing.done():
            await asyncio.sleep(0.001)
        await asyncio.sleep(self._dice.choice((0.0, self._dice.uniform(0.0, 0.06))))

    def _check(self, store: Store) -> None:
        shown = {key: value for found in self.site.shown.values() for key, value in found.items()}
        stored = {item.key: item.data["value"] for item in items.present(store, "s")}
        assert stored == shown, f"stored {stored}, shown {shown}"
        told: dict[str, object] = {}
        for change in items.changes(store, "s"):
            before = None if change.kind is ChangeKind.BACK else change.before.get("value")
            assert before == told.get(change.key), f"{change} after {told.get(change.key)}"
            assert change.kind is ChangeKind.BACK or change.before != change.after
            if change.kind is ChangeKind.GONE:
                del told[change.key]
            else:
                told[change.key] = change.after["value"]
        assert told == stored
        with store.read() as connection:
            twice = connection.execute(select(pages.c.pass_id, pages.c.url).where(pages.c.status == 200).group_by(
                pages.c.pass_id, pages.c.url).having(func.count() > 1)).all()
            committed = connection.execute(select(pages.c.pass_id, func.count()).where(pages.c.status == 200).group_by(pages.c.pass_id)).all()
            counted = [(pass_id, rule_counts.of_pass(connection, pass_id).rules["items.each"].pages) for pass_id, _ in committed]
        assert not twice, f"fetched again after they were committed: {twice}"
        assert counted == committed, f"pages on which the rules were counted, by pass: {counted}; committed pages: {committed}"


@contextmanager
def _opened(folder: Path) -> Iterator[Store]:
    store = open_store(folder / "var")
    try:
        yield store
    finally:
        store.close()


def torture(folder: Path, histories: int, seed: int, *, steps: int = 4, joining: bool = False) -> Counter[str]:
    """How the runs ended. Raises AssertionError, with the number of the history, when the store or the changes are wrong.

    joining: whether a second process joins each crawl; only if no forkserver runs yet.
    """
    warm_up(*(["tests.crawl.processes.eager"] if joining else []))
    ends: Counter[str] = Counter()
    for number in range(histories):
        place = folder / str(number)
        place.mkdir()
        history = History(place, f"{seed}/{number}", joining=joining)
        try:
            history.play(steps)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, history {number}: {error}") from error
        ends += history.ends
    return ends


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--joining", action="store_true")
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        ends = torture(Path(folder), given.histories, given.seed, joining=given.joining)
    total = ends.total() - ends["with two processes"]
    figures = ", ".join(f"{name} {count}" for name, count in sorted(ends.items()))
    print(f"{given.histories} histories, {total} runs ({figures}) in {time.monotonic() - began:.0f} s, seed {given.seed}: "
          "all stored, all told, no page twice")


if __name__ == "__main__":
    main()
