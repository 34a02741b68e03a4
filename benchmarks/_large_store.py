"""A large store for benchmarks of pages: 300 spiders, a million items, 100,000 runs.

One spider has half of the items; the runs are those of two weeks.
"""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

BIG = "shop000"
"""The spider with half of all items."""
RARE = "quixotry"
"""A word of three items of the big spider, all far from both ends of every order."""
ABSENT = "zyzzyvas"
ABSENT_COMMON = "tionating"
"""In no item, although each of its trigrams is in many."""
_SYLLABLES = ("tion", "nati", "ating", "ter", "an", "ma", "re", "sto", "li", "ver", "ca", "ment", "in", "pro", "de", "con", "er", "al", "ous", "able", "ship",
              "ring", "lo", "ba", "den", "holz", "stein", "kraft")
_RUNS_EVERY_H = 1
_FILL = """
CREATE TEMP TABLE n (n INTEGER PRIMARY KEY);
INSERT INTO n WITH RECURSIVE c(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM c WHERE n < {runs} - 1) SELECT n FROM c;
CREATE TEMP TABLE r AS SELECT n + 1 AS id, printf('shop%03d', n % {spiders}) AS spider,
  {now} - ({runs} / {spiders} - n / {spiders}) * {every} + n % {spiders} * 1000000 AS at, (n * 7919) % 100 AS dice FROM n;
INSERT INTO slots (id, spider, key, due_at, claimed_at, reason) SELECT id, spider, 'k' || id, at, at, 'schedule' FROM r;
INSERT INTO passes (id, spider, slot_id, opened_at, closed_at, complete, resumable, coverage)
  SELECT id, spider, id, at, at + 1000000, 1, 1, '{{"items": 100, "fields": {{"name": 100, "price": 99}}}}' FROM r;
INSERT INTO runs (id, pass_id, slot_id, spider, reason, due_at, created_at, started_at, ended_at, outcome, complete, suspect, error_kind,
                  error, progress, lease_owner, attempt)
  SELECT id, id, id, spider, 'schedule', at, at, at, at + (10 + dice) * 1000000, CASE WHEN dice < 4 THEN 'failed' ELSE 'succeeded' END, dice >= 4, 0, '',
         CASE WHEN dice < 4 THEN 'the site answered 503 Service Unavailable' ELSE '' END,
         json_object('pages', 10 + dice, 'items', 100 + dice, 'new', dice, 'changed', 3, 'downloads', 1, 'download_bytes', 100000), '', 1 FROM r;
INSERT INTO changes (run_id, spider, key, kind, at, before, after, page_key)
  SELECT r.id, r.spider, printf('%08d', (r.id * 31 + t.n) % 1000), 'changed', r.at, '{{"name": "before", "price": 1}}',
         '{{"name": "after that", "price": 2, "url": "http://shop.example/items/1"}}', '' FROM r CROSS JOIN n AS t WHERE t.n < 3;
"""


def spider_names(spiders: int) -> list[str]:
    return [f"shop{number:03}" for number in range(spiders)]


def words(number: int = 20_000) -> list[str]:
    """Words of syllables, the most frequent first."""
    chance = random.Random(1)
    found = dict.fromkeys("".join(chance.choices(_SYLLABLES, k=chance.randint(2, 4))) for _ in range(number * 2))
    return [word for word in found if ABSENT_COMMON not in word][:number]


def fill(database: Path, *, spiders: int = 300, items: int = 1_000_000, runs: int = 100_000) -> None:
    """Fill a new database, whose tables exist, in about half a minute."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    values = {"spiders": spiders, "runs": runs, "now": _micros(now), "every": _RUNS_EVERY_H * 3_600_000_000}
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.executescript("PRAGMA synchronous=OFF; PRAGMA cache_size=-300000; PRAGMA temp_store=MEMORY; PRAGMA foreign_keys=OFF;")
        connection.executescript(_FILL.format(**values))
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO items (spider, key, data, present, first_seen_at, changed_at, pass_id) VALUES (?, ?, ?, ?, ?, ?, ?)",
                               _items(spiders, items, runs, now))
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _items(spiders: int, count: int, runs: int, now: datetime) -> Iterator[tuple[str, str, str, int, int, int, int]]:
    chance, vocabulary = random.Random(2), words()
    known = len(vocabulary)
    picks = [vocabulary[min(known - 1, int(chance.paretovariate(0.5)) - 1)] for _ in range(50_000)]  # as in language: few words are most of a text
    abouts = [" ".join(chance.choices(picks, k=12)) for _ in range(20_000)]
    names, passes = spider_names(spiders), runs // spiders
    rare = {count // 4 - 10_000, count // 4, count // 4 + 10_000}
    since = _micros(now - timedelta(days=14))
    each = (count // 2) // (spiders - 1)
    for n in range(count):
        owner = 0 if n < count // 2 else min(spiders - 1, 1 + (n - count // 2) // each)
        name = f"{picks[n % 49_999]} {picks[n * 7 % 49_993]} {n}" + (f" {RARE}" if n in rare else "")
        data = json.dumps({"name": name, "price": n % 9973 / 100, "url": f"http://shop.example/items/{n}", "about": abouts[n % 19_997]})
        yield names[owner], f"{n:08}", data, n % 50 != 0, since, since, (passes - 1 - n % 3) * spiders + owner + 1


def _micros(moment: datetime) -> int:
    return int(moment.timestamp() * 1e6)
