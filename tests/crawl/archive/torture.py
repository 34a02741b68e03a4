"""Kills of runs that archive: `python -m tests.torture crawl/archive --rounds 50 --seed N`.

In each round a run is killed with -9 at a random moment, up to three times, and resumed; then a run completes the pass. Afterwards every
committed page with a status (with `archive = "changed"`: every page with a change) must have a record of its own, warcio must find each record
valid, the index must name each of them, each file must have its row and each row its file, and neither parts nor spools may be left.
The rounds take turns: all pages or only changed ones, one process or two, of which any is killed, and the records made in the run's process
or, as in long runs, in a process of their own, which may be killed, too, or alone.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import hashlib
import itertools
import json
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import select
from warcio.archiveiterator import ArchiveIterator

from pipeline.archive.housekeeping.segments import recover_segments
from pipeline.model import Outcome, Run
from pipeline.settings import Settings, load
from pipeline.store import Store, open_store
from pipeline.store.database.schema import pages
from pipeline.store.files import archive_files
from pipeline.store.runs import runs
from pipeline.workers.forkserver import warm_up
from pipeline.workers.runner import Runner
from tests.servers.pages import Answer, Asked, PageSite
from tests.servers.program import Program

PAGES = 30
VARIANTS = (("all", 1, False), ("changed", 1, False), ("all", 2, False), ("changed", 2, False), ("all", 1, True), ("changed", 1, True))
"""What is archived, the number of processes that crawl, and whether a process of its own soon makes the records."""
WITHIN_S = 60.0
SETTINGS = """
[spiders.s]
spider = "{spider}"
start = "{url}/0"
follow = ["a"]
robots = false
retries = 1
concurrency = 4
processes = {processes}
archive = "{what}"
[spiders.s.items]
each = "p"
key = ["id"]
fields = {{ id = "b", value = "i" }}
"""
SPIDER = """
from pipeline.crawl.frontier import archive_writer
from spiders.crawl import CrawlSpider

archive_writer.PAGES_IN_THREAD = 4


class LongRunSpider(CrawlSpider):
    name = "long-run"
"""


class Site:
    """A site whose pages link to all others. Some redirect, are missing or fail once; some are large, some compressed, some confirmed with 304."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._noise = dice.randbytes(60_000).hex()
        self._failed: set[str] = set()
        self.values = [0] * PAGES
        self.site = PageSite({f"/{number}": self._page for number in range(PAGES)})

    def change(self) -> None:
        for number in self._dice.sample(range(PAGES), 5):
            self.values[number] += 1
        self._failed.clear()

    def _page(self, asked: Asked) -> Answer:
        number = int(asked.path[1:])
        if number % 10 == 3:
            return Answer(status=302, headers={"Location": f"/{number + 1}"})
        if number % 10 == 5:
            return Answer("<p>none</p>", status=404)
        if number % 10 == 7 and asked.path not in self._failed:
            self._failed.add(asked.path)
            return Answer("later", status=503)
        etag = f'"{self.values[number]}"'
        if number % 2 and asked.headers.get("If-None-Match") == etag:
            return Answer(status=304, headers={"ETag": etag})
        links = "".join(f"<a href=/{other}>x</a>" for other in range(PAGES)) if number == 0 else ""
        body = f"<p><b>{number}</b><i>{self.values[number]}</i></p>{links}{self._noise if number % 4 == 0 else ''}".encode()
        headers = {"ETag": etag} if number % 2 else {}
        return Answer(gzip.compress(body), headers={**headers, "Content-Encoding": "gzip"}) if number % 3 else Answer(body, headers=headers)


class Crawl:
    """One store, one site, and the runs of one variant."""

    def __init__(self, folder: Path, what: str, processes: int, dice: random.Random, *, with_writer: bool) -> None:
        """with_writer: whether a process of its own soon makes the records."""
        self._what = what
        self._with_writer = with_writer
        self._dice = dice
        self._folder = folder
        self._processes = processes
        self._slots = itertools.count()
        self._program = Program(Path(), 0)
        self._program.watch(os.getpid())
        self.site = Site(random.Random(dice.random()))
        self.ends: Counter[str] = Counter()

    def play(self, rounds: int) -> None:
        with self.site.site as site, closing(open_store(self._folder / "var")) as store:
            (self._folder / "spiders").mkdir()
            (self._folder / "spiders" / "long_run.py").write_text(SPIDER, "utf-8")
            spider = "spiders.long_run:LongRunSpider" if self._with_writer else "crawl"
            (self._folder / "settings.toml").write_text(
                SETTINGS.format(url=site.url, what=self._what, processes=self._processes, spider=spider), "utf-8")
            settings = load(self._folder / "settings.toml")
            for _ in range(rounds):
                for time_of_round in range(self._dice.randint(1, 3)):
                    asyncio.run(self._run(store, settings, kill_after=self._dice.randint(0, 8 if time_of_round else PAGES)))
                ended = asyncio.run(self._run(store, settings))
                assert ended.outcome is Outcome.SUCCEEDED, ended
                recover_segments(store, settings, settled_s=0)
                self._check(store)
                self.site.change()

    async def _run(self, store: Store, settings: Settings, *, kill_after: int | None = None) -> Run:
        """One run, which is killed when the site has got so many requests, or a moment later."""
        now = datetime.now(UTC)
        runs.claim_slot(store, "s", f"slot {next(self._slots)}", due_at=now, reason="manual", now=now)
        run = runs.start_run(store, None, owner=store.owner, now=now, limit=9)
        assert run is not None
        before = self._program.children_of_the_forkserver()
        performing = asyncio.create_task(Runner(store, settings).perform(run))
        if kill_after is not None:
            wanted = len(self.site.site.asked) + kill_after
            until_s = time.monotonic() + WITHIN_S
            while len(self.site.site.asked) < wanted and not performing.done() and time.monotonic() < until_s:
                await asyncio.sleep(0.001)
            await asyncio.sleep(self._dice.choice((0.0, self._dice.uniform(0.0, 0.02), self._dice.uniform(0.0, 0.1))))
            if not performing.done():
                here = sorted(self._program.children_of_the_forkserver() - before)
                if self._with_writer and (writers := _writers_of(here)) and self._dice.random() < 0.5:
                    here = writers
                    self.ends["writer killed"] += 1
                for pid in self._dice.choice((here, here[:1], here[1:])) if self._processes > 1 else here:
                    Program.kill_process(pid)
        ended = await asyncio.wait_for(performing, WITHIN_S)
        self.ends[ended.outcome.value if ended.outcome else ""] += 1
        return ended

    def _check(self, store: Store) -> None:
        """Compare the archive with the store. Raises AssertionError."""
        folder = store.data_dir / "archive" / "s"
        left = [path.name for path in folder.rglob("*") if path.is_file() and path.suffix in (".part", ".tmp")]
        assert not left, f"left: {left}"
        found: Counter[str] = Counter()
        for path in folder.rglob("*.warc.gz"):
            found += _checked(path)
        with store.read() as connection:
            rows = connection.execute(select(pages.c.url, pages.c.changes).where(pages.c.status > 0)).all()
        wanted = Counter(url for url, changes in rows if self._what == "all" or changes)
        assert wanted <= found, f"committed without a record: {wanted - found}"
        if self._what == "changed":
            assert found.total() <= wanted.total() + PAGES * (self.ends["killed"] + 1) * 2
        files = {row.key: row for row in archive_files.files_of(store)}
        assert files.keys() == {f"archive/s/{path.relative_to(folder).as_posix()}" for path in folder.rglob("*.warc.gz")}
        for key, row in files.items():
            data = (store.data_dir / key).read_bytes()
            assert (row.size_bytes, row.sha256) == (len(data), hashlib.sha256(data).hexdigest()), key
            assert (store.data_dir / row.index_key).exists(), row.index_key


def _writers_of(pids: Iterable[int]) -> list[int]:
    """The processes that make records for these processes."""
    children = [int(child) for pid in pids for task in Path(f"/proc/{pid}/task").glob("*/children") for child in _read(task).split()]
    return [child for child in children if b"writer_process" in _read(Path(f"/proc/{child}/cmdline"))]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # the process has ended
        return b""


def _checked(path: Path) -> Counter[str]:
    """The responses to pages that a file has, by URL; warcio has checked its records, and its index names each of them."""
    found: Counter[str] = Counter()
    at: dict[int, str] = {}
    with path.open("rb") as file:
        records = ArchiveIterator(file, check_digests="raise")
        for record in records:
            record.content_stream().read()
            url, kind = record.rec_headers.get_header("WARC-Target-URI"), record.rec_type
            if kind in ("response", "revisit"):
                found[url] += 1
                if kind == "revisit" or record.http_headers.get_statuscode() != "304":
                    at[records.get_record_offset()] = url
    lines = [json.loads(line.split(b" ", 2)[2]) for line in path.with_name(path.name.removesuffix(".warc.gz") + ".cdxj").read_bytes().splitlines()]
    indexed = {int(line["offset"]): line["url"] for line in lines}
    assert indexed == at, f"{path.name}: the index and the records differ: {indexed.items() ^ at.items()}"
    assert all(line["filename"] == path.name for line in lines)
    return found


def torture(folder: Path, rounds: int, seed: int, variants: tuple[tuple[str, int, bool], ...] = VARIANTS) -> Counter[str]:
    """How the runs ended. Raises AssertionError, with the variant, if a record is missing or invalid, or something is left."""
    warm_up()
    ends: Counter[str] = Counter()
    for number, (what, processes, with_writer) in enumerate(variants):
        place = folder / f"{what}-{processes}-{with_writer}"
        place.mkdir()
        crawl = Crawl(place, what, processes, random.Random(f"{seed}/{what}/{processes}/{with_writer}"), with_writer=with_writer)
        try:
            crawl.play(rounds // len(variants) + (number < rounds % len(variants)))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, {what}, {processes} process(es){', a writer' if with_writer else ''}: {error}") from error
        ends += crawl.ends
    return ends


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        ends = torture(Path(folder), given.rounds, given.seed)
    figures = ", ".join(f"{name} {count}" for name, count in sorted(ends.items()))
    print(f"{given.rounds} rounds, {ends.total() - ends['writer killed']} runs ({figures}) in {time.monotonic() - began:.0f} s, seed {given.seed}: every committed page is archived, "
          "every record is valid, nothing is left")


if __name__ == "__main__":
    main()
