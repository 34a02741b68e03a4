"""What the archive of requests and responses costs a crawl.

Run it with `python -m benchmarks.archive [--pages 20000] [--rounds 3]`.

The same site is crawled with and without `archive = true`, both at the same time, so that whatever else the machine does slows both; with
--turns one after the other. Printed: the ratio of the seconds and of the CPU time, the memory of the process that crawls over the pages, and
whether every record is valid: `warcio check`, which nobody here wrote, reads all files. Goals: at most 15 % slower; the memory does not grow
with the pages.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from warcio.archiveiterator import ArchiveIterator

from benchmarks._crawlers import CONCURRENCY, HERE, SETTINGS, generate, nginx, spread
from benchmarks.flat import crawlers, pages_of

LOOK_S = 0.25
SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)


class Crawl:
    """One run on an empty store, under way or ended. pages: committed by the time; rss_mb: the memory of the process that crawls, by pages."""

    def __init__(self, url: str, folder: Path, what: str, processes: int) -> None:
        """what: the value of `archive`."""
        self.folder = folder
        self.looks: list[tuple[float, int]] = []
        self.rss_mb: list[tuple[int, float]] = []
        self.s = self.cpu_s = 0.0
        self.progress: dict[str, int] = {}
        self._first_s = 0.0
        folder.mkdir()
        text = SETTINGS.format(url=url, concurrency=CONCURRENCY, kept="false", processes=processes, fast="true")
        (folder / "settings.toml").write_text(text.replace("robots = false", f"robots = false\narchive = {what}"))
        self._printed = (folder / "printed").open("w+")
        self._process = subprocess.Popen([sys.executable, "-m", "pipeline", "run", "shop", "--json"], cwd=folder, stdout=self._printed,
                                         stderr=subprocess.DEVNULL, env={"PYTHONPATH": str(HERE), "PATH": "/usr/bin:/bin", "HOME": str(folder)})

    def look(self) -> bool:
        """Note how far it is. Return whether it has ended."""
        if self._process.returncode is not None:
            return True
        found, status, usage = os.wait4(self._process.pid, os.WNOHANG)
        if found:
            self._process.returncode = os.waitstatus_to_exitcode(status)
            self.cpu_s = usage.ru_utime + usage.ru_stime
            self._printed.seek(0)
            run = json.loads(self._printed.read())[0]
            assert run["outcome"] == "succeeded", run
            self.progress = run["progress"]
            with sqlite3.connect(self.folder / "var" / "pipeline.sqlite3") as database:
                first_us, = database.execute("select min(fetched_at) from pages").fetchone()
            self.s = datetime.fromisoformat(run["ended"]).timestamp() - first_us / 1e6
            self.looks.append((time.monotonic(), self.pages))
            return True
        try:
            pages = pages_of(self.folder)
            self.looks.append((time.monotonic(), pages))
            for pid in crawlers(self._process.pid)[:1]:
                self.rss_mb.append((pages, int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0]) / 1e3))
        except (OSError, IndexError, sqlite3.Error, TypeError):
            pass  # just gone, or the database is not made yet
        return False

    @property
    def pages(self) -> int:
        return self.progress.get("pages", 0)

    def pages_at(self, moment_s: float) -> float:
        """How many pages were committed at a time."""
        for (before_s, before), (after_s, after) in pairwise(self.looks):
            if before_s <= moment_s <= after_s:
                return before + (after - before) * (moment_s - before_s) / max(1e-9, after_s - before_s)
        return float(self.looks[-1][1])

    def memory(self) -> str:
        last = self.rss_mb[-1][0] if self.rss_mb else 0
        return " / ".join(f"{next((mb for pages, mb in self.rss_mb if pages >= share * last), 0):.0f}" for share in SHARES)

    @property
    def growth_mb(self) -> float:
        """How much the memory grows between a quarter of the pages and the end."""
        late = [mb for pages, mb in self.rss_mb if pages >= self.rss_mb[-1][0] / 4]
        return late[-1] - late[0] if late else 0.0


def crawl(*crawls: Crawl) -> None:
    """Wait until all have ended."""
    while not all([each.look() for each in crawls]):  # noqa: C419  each must look
        time.sleep(LOOK_S)


def slower(archived: Crawl, without: Crawl) -> float:
    """How many times as long the archived crawl takes, of two that ran at the same time: by the pages that the slower one has when the other ends."""
    end_s = min(archived.looks[-1][0], without.looks[-1][0])
    return without.pages_at(end_s) / archived.pages_at(end_s)


def check(folder: Path, pages: int) -> None:
    """Have warcio check all files, and compare the records with the index and with the pages of the store."""
    files = sorted((folder / "var" / "archive").rglob("*.warc.gz"))
    begun = time.perf_counter()
    done = subprocess.run([Path(sys.executable).with_name("warcio"), "check", *map(str, files)], capture_output=True, text=True, check=False)
    kinds: Counter[str] = Counter()
    urls = set()
    for file in files:
        with file.open("rb") as stream:
            for record in ArchiveIterator(stream, no_record_parse=True):
                kinds[record.rec_type] += 1
                if record.rec_type == "response":
                    urls.add(record.rec_headers.get_header("WARC-Target-URI"))
    lines = sum(len(index.read_bytes().splitlines()) for index in (folder / "var" / "archive").rglob("*.cdxj"))
    size = sum(file.stat().st_size for file in files)
    left = [str(path) for path in (folder / "var" / "archive").rglob("*.part")]
    print(f"  {len(files)} file(s), {size / 1e6:.0f} MB; records: {dict(kinds)}; warcio check: exit code {done.returncode}, "
          f"{time.perf_counter() - begun:.0f} s; lines of the index: {lines}; parts left: {len(left)}", flush=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert len(urls) == lines == pages, (len(urls), lines, pages)
    assert not left, left


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--turns", action="store_true", help="crawl one after the other")
    parser.add_argument("--what", choices=("all", "changed"), default="all")
    given = parser.parse_args()
    if shutil.which("nginx") is None:
        print("skipped: nginx is not installed")
        return
    ratios, pairs = [], []
    with TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        (folder / "page").mkdir()
        generate(folder / "page", given.pages)
        with nginx(folder) as url:
            for number in range(given.rounds):
                found: dict[str, Crawl] = {}
                for what in ("false", f'"{given.what}"') if number % 2 else (f'"{given.what}"', "false"):
                    found[what] = Crawl(url, folder / ("without" if what == "false" else "archived"), what, given.processes)
                    if given.turns:
                        crawl(found[what])
                crawl(*found.values())
                without, archived = found.pop("false"), next(iter(found.values()))
                ratios.append(archived.s / without.s if given.turns else slower(archived, without))
                pairs.append((without, archived))
                print(f"{archived.pages} pages: {without.s:.1f} s, CPU {without.cpu_s:.1f} s; archived: {archived.s:.1f} s, CPU {archived.cpu_s:.1f} s, "
                      f"{archived.progress['archived_bytes'] / 1e6:.0f} MB; ratio {ratios[-1]:.2f}; memory at 10, 25, 50, 75, 100 % of the pages: "
                      f"{without.memory()} MB; archived: {archived.memory()} MB", flush=True)
                check(archived.folder, archived.pages)
                for each in (without, archived):
                    shutil.rmtree(each.folder)
    print(f"seconds with the archive / without, min / median / max: {spread(ratios, '.2f')} (goal: at most 1.15)")
    print(f"CPU with the archive / without: {spread([archived.cpu_s / without.cpu_s for without, archived in pairs], '.2f')}")
    print(f"memory of the archived crawl from a quarter of the pages to the end: {spread([archived.growth_mb for _, archived in pairs], '+.0f')} MB; "
          f"of the other: {spread([without.growth_mb for without, _ in pairs], '+.0f')} MB")


if __name__ == "__main__":
    main()
