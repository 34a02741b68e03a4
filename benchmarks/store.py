"""A full store beside an empty one: a run, a digest of 1,000 changes, the overview page.

A run has 1,000 items. Goal: at most 1.5 times. And how long retention takes on the full one, for a tenth of its runs.

    python -m benchmarks.store --items 10000000 --changes 1000000

The full store has ten spiders of a thousand told runs each, their items, changes, pages, downloads and messages. Both
are made in a temporary folder and deleted; --keep FOLDER leaves the full one there for the next time.
"""

from __future__ import annotations

import argparse
import gc
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from pipeline.heartbeat.http.console.overview.overview import overview_page
from pipeline.heartbeat.http.console.overview.rows import OverviewQuery, rows_of
from pipeline.heartbeat.http.console.render.renderer import PageRenderer
from pipeline.heartbeat.snapshot.build import build_snapshot
from pipeline.heartbeat.snapshot.history import RECENT, RunHistory
from pipeline.heartbeat.snapshot.spider_status import DueTimes
from pipeline.mail.digests.build import build
from pipeline.model import Item, Outcome, Page, Request
from pipeline.settings import Settings, load
from pipeline.store import Store, open_store
from pipeline.store.crawl import commit, frontier
from pipeline.store.mail import digests
from pipeline.store.maintenance import retention
from pipeline.store.runs import runs

SPIDERS = 10
RUNS = 1000
NOW = datetime.now(UTC).replace(microsecond=0)
LEARNED = ("a run of 1,000 items", "a digest of 1,000 changes", "the overview page")

FILL = """
PRAGMA synchronous=OFF; PRAGMA cache_size=-500000; PRAGMA temp_store=MEMORY; PRAGMA foreign_keys=OFF;
CREATE TEMP TABLE t (n INTEGER PRIMARY KEY);
INSERT INTO t WITH RECURSIVE c(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM c WHERE n < 999999) SELECT n FROM c;
CREATE TEMP TABLE r AS SELECT n + 1 AS id, 's' || (n % {spiders}) AS spider, {now} - ({runs} - n / {spiders}) * 3600000000 AS at
  FROM t WHERE n < {spiders} * {runs};
INSERT INTO slots (id, spider, key, due_at, claimed_at, reason) SELECT id, spider, 'k' || id, at, at, 'schedule' FROM r;
INSERT INTO passes (id, spider, slot_id, opened_at, closed_at, complete, resumable, coverage)
  SELECT id, spider, id, at, at + 1000000, 1, 1, '{{}}' FROM r;
INSERT INTO runs (id, pass_id, slot_id, spider, reason, due_at, created_at, started_at, ended_at, outcome, complete, suspect, error_kind,
                  error, progress, lease_owner, attempt)
  SELECT id, id, id, spider, 'schedule', at, at, at, at + 1000000, 'succeeded', 1, 0, '', '',
         '{{"pages": 10, "items": 1000, "new": 100, "download_bytes": 1000}}', '', 1 FROM r;
INSERT INTO digests (id, name, slot_key, created_at, closed_at, error, lease_owner, attempt)
  SELECT id, 'd', 'k' || id, at, at, '', '', 1 FROM r;
INSERT INTO digest_runs (name, run_id, digest_id) SELECT 'd', id, id FROM r;
INSERT INTO messages (id, digest_id, message_id, subject, sender, file_key, size_bytes, state, created_at, next_attempt_at, sent_at,
                      last_error, lease_owner, attempt)
  SELECT id, id, '<' || id || '@x>', 'News', 'me@x', 'messages/' || id || '-1.eml', 1000, 'sent', at, at, at, '', '', 1 FROM r;
INSERT INTO deliveries (message_id, at, attempt, accepted, refused, error) SELECT id, at, 1, 1, 0, '' FROM r;
INSERT INTO changes (run_id, spider, key, kind, at, before, after, page_key)
  SELECT r.id, r.spider, printf('%08d', t.n), 'changed', r.at, '{{"name": "before", "price": 1}}',
         '{{"name": "after that", "price": 2, "url": "http://shop.example/items/1"}}', ''
  FROM r CROSS JOIN t WHERE t.n < {changes} / ({spiders} * {runs});
INSERT INTO pages (pass_id, run_id, url, status, fetched_at, size_bytes, items)
  SELECT r.id, r.id, 'http://shop.example/' || t.n, 200, r.at, 10000, 10 FROM r CROSS JOIN t WHERE t.n < 100;
INSERT INTO frontier (pass_id, fingerprint, url, request, priority, depth, state, error)
  SELECT r.id, CAST(printf('%020d', t.n) AS BLOB), 'http://shop.example/' || t.n, '{{}}', 0, 1, 'done', ''
  FROM r CROSS JOIN t WHERE t.n < 100;
INSERT INTO downloads (spider, url, url_sha1, pass_id, item_key, headers, state, requested_at, done_at)
  SELECT 's' || (n % {spiders}), 'http://shop.example/' || n || '.pdf', CAST(printf('%020d', n) AS BLOB), n % ({spiders} * {runs}) + 1, '',
         '[]', 'done', {now}, {now} FROM t WHERE n < 100000;
"""
ITEMS = """
INSERT INTO items (spider, key, data, present, first_seen_at, changed_at, pass_id)
  SELECT '{spider}', printf('%08d', t.n + {first}), '{{"name": "item number ' || t.n || '", "price": 2, "url": "http://shop.example/items/'
         || t.n || '", "about": "some words that say what it is and how it is made"}}', 1, {now}, {now}, {spiders} * {runs}
  FROM t WHERE t.n < {count};
"""
SETTINGS = "".join(f"""
[spiders.{name}]
start = "http://127.0.0.1:1/"
""" for name in ("shop", "other", *(f"s{number}" for number in range(SPIDERS)))) + """
[digests.d]
spiders = ["shop"]
to = ["me@example.com"]
"""


def fill(database: Path, *, item_count: int, change_count: int, run_count: int = RUNS) -> None:
    """What so many runs of each of ten spiders leave behind, by SQL."""
    values = {"spiders": SPIDERS, "runs": run_count, "now": int(NOW.timestamp() * 1e6), "changes": change_count}
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.executescript(FILL.format(**values))
        each = item_count // SPIDERS
        for number in range(SPIDERS):
            for first in range(0, each, 1_000_000):
                connection.executescript(ITEMS.format(spider=f"s{number}", first=first, count=min(1_000_000, each - first), **values))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


class Subject:
    """One store, and what is done on it."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self.store = store
        self.settings = settings
        self.times: dict[str, list[float]] = {name: [] for name in LEARNED}
        self.cpu: dict[str, list[float]] = {name: [] for name in LEARNED}
        self._round = 0
        self._pages = PageRenderer()
        self._history = RunHistory()

    def turn(self) -> None:
        self._round += 1
        gc.collect()
        self._time(LEARNED[0], self._run)
        self._time(LEARNED[1], self._digest)
        self._time(LEARNED[2], self._overview)

    def _time(self, name: str, work: Callable[[], None]) -> None:
        began, cpu = time.perf_counter(), time.process_time()
        work()
        self.times[name].append((time.perf_counter() - began) * 1000)
        self.cpu[name].append((time.process_time() - cpu) * 1000)

    def _run(self) -> None:
        """Fifty pages of twenty items, all of which changed, as a crawl commits them."""
        now = NOW + timedelta(minutes=self._round)
        runs.claim_slot(self.store, "shop", str(now), due_at=now, reason="schedule", now=now)
        run = runs.start_run(self.store, None, owner=self.store.owner, now=now, limit=9)
        assert run is not None
        queued = frontier.enqueue(self.store, run, [Request(f"http://shop.example/{number}") for number in range(50)])
        progress = None
        for number, entry in enumerate(queued):
            batch = [Page(entry.request.url, 200, now, frontier_id=entry.id, items=tuple(
                Item(f"http://shop.example/items/{number}-{n}", {"name": f"item {n}", "price": self._round}) for n in range(20)))]
            progress = commit.commit_pages(self.store, run, batch, now=now).progress
            runs.report_progress(self.store, run, progress, now=now)
        runs.end_run(self.store, run, runs.Ending(Outcome.SUCCEEDED, complete=True), progress, now=now)

    def _digest(self) -> None:
        now = NOW + timedelta(minutes=self._round)
        claim = digests.claim(self.store, "d", ["shop"], str(now), owner="me", now=now)
        assert claim is not None
        build(self.store, self.settings, claim, owner="me", now=now)

    def _overview(self) -> None:
        now = NOW + timedelta(minutes=self._round)
        snapshot = build_snapshot(self.store, self.settings, DueTimes({}, NOW, now), version="1", history=self._history)
        overview_page(self._pages, snapshot, rows_of(snapshot, {}), OverviewQuery(), authorized=True)


def _retention(full: Subject) -> str:
    """Let a tenth of its runs go, with all that came of them."""
    steps = [time.perf_counter()]

    def step() -> bool:
        steps.append(time.perf_counter())
        return True

    keep = retention.RetentionRule(count=RUNS * 9 // 10)
    nothing = retention.RetentionRule()
    done = retention.prune(full.store, retention.RetentionRules(runs=keep, pages=nothing, messages=nothing, logs=nothing,
                                                       waiting={"d": ["shop"]}), now=NOW, go_on=step)
    took = [after - before for before, after in pairwise(steps)]
    return (f"retention: {done} in {steps[-1] - steps[0]:.1f} s, {len(took)} transactions, median "
            f"{statistics.median(took) * 1000:.0f} ms, longest {max(took) * 1000:.0f} ms")


def opened(folder: Path) -> Subject:
    (folder / "settings.toml").write_text(SETTINGS)
    settings = load(folder / "settings.toml")
    return Subject(open_store(settings.data_dir), settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--changes", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--keep", type=Path)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        small, large = Path(temporary, "empty"), wanted.keep or Path(temporary, "full")
        for folder in (small, large, Path(temporary, "young")):
            folder.mkdir(exist_ok=True)
        empty = opened(small)
        is_new = not (large / "var").exists()
        full = opened(large)
        database = full.settings.data_dir / "pipeline.sqlite3"
        if is_new:
            began = time.monotonic()
            fill(database, item_count=wanted.items, change_count=wanted.changes)
            print(f"filled in {time.monotonic() - began:.0f} s: {database.stat().st_size / 1e9:.2f} GB", flush=True)
        young = opened(Path(temporary, "young"))
        fill(young.settings.data_dir / "pipeline.sqlite3", item_count=0, change_count=0, run_count=RECENT)
        for number in range(wanted.rounds + 2):
            for subject in (empty, young, full) if number % 2 else (full, young, empty):
                subject.turn()
        print(f"{wanted.items} items and {wanted.changes} changes beside none, {wanted.rounds} rounds in turn; min / median / max")
        for name in LEARNED:
            first, second = (sorted(subject.times[name][2:]) for subject in (empty, full))  # two rounds to warm up
            ratio = statistics.median(second) / statistics.median(first)
            cpu = [statistics.median(subject.cpu[name][2:]) for subject in (empty, full)]
            print(f"{name}: empty {_three(first)} ms, full {_three(second)} ms, ratio of medians {ratio:.2f} (goal: 1.5); "
                  f"CPU {cpu[0]:.1f} and {cpu[1]:.1f} ms, {cpu[1] / cpu[0]:.2f}")
        page = sorted(young.times[LEARNED[2]][2:])
        print(f"the overview page of a store with the same runs to show and nothing else: {_three(page)} ms")
        print(_retention(full))
        for subject in (empty, young, full):
            subject.store.close()


def _three(found: list[float]) -> str:
    return f"{found[0]:.1f} / {statistics.median(found):.1f} / {found[-1]:.1f}"


if __name__ == "__main__":
    main()
