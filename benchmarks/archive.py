"""What the archive of requests and responses costs a crawl: `python -m benchmarks.archive [--pages 20000] [--rounds 3]`.

The same site is crawled with and without `archive = true`, in turns. Printed: the ratio of the seconds and of the CPU time, the memory
of the process that crawls over the pages, and whether every record is valid: `warcio check`, which nobody here wrote, reads all files.
Goals: at most 15 % slower; the memory does not grow with the pages.
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
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from warcio.archiveiterator import ArchiveIterator

from benchmarks._crawlers import CONCURRENCY, HERE, SETTINGS, generate, nginx, spread
from benchmarks.flat import crawlers, pages_of

LOOK_S = 0.25
SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)


@dataclass
class Measured:
    """s: from the first page to the end of the run; cpu_s: of all processes. rss_mb: the memory of the process that crawls, by committed pages."""

    pages: int
    s: float
    cpu_s: float
    archived_bytes: int
    rss_mb: list[tuple[int, float]] = field(default_factory=list)

    def memory(self) -> str:
        last = self.rss_mb[-1][0] if self.rss_mb else 0
        return " / ".join(f"{next((mb for pages, mb in self.rss_mb if pages >= share * last), 0):.0f}" for share in SHARES)

    @property
    def growth_mb(self) -> float:
        """How much the memory grows between a quarter of the pages and the end."""
        late = [mb for pages, mb in self.rss_mb if pages >= self.rss_mb[-1][0] / 4]
        return late[-1] - late[0] if late else 0.0


def crawl(url: str, folder: Path, what: str, processes: int) -> Measured:
    """One run on an empty store. what: the value of `archive`."""
    folder.mkdir()
    text = SETTINGS.format(url=url, concurrency=CONCURRENCY, kept="false", processes=processes, fast="true")
    (folder / "settings.toml").write_text(text.replace("robots = false", f"robots = false\narchive = {what}"))
    before = os.times()
    process = subprocess.Popen([sys.executable, "-m", "pipeline", "run", "shop", "--json"], cwd=folder, text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, env={"PYTHONPATH": str(HERE), "PATH": "/usr/bin:/bin", "HOME": str(folder)})
    looks: list[tuple[int, float]] = []
    while process.poll() is None:
        time.sleep(LOOK_S)
        for pid in crawlers(process.pid)[:1] if process.poll() is None else ():
            try:
                rss = int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0]) / 1e3
                looks.append((pages_of(folder), rss))
            except (OSError, IndexError, sqlite3.Error, TypeError):
                continue  # just gone, or the database is not made yet
    assert process.stdout is not None
    after = os.times()
    run = json.loads(process.stdout.read())[0]
    assert run["outcome"] == "succeeded", run
    with sqlite3.connect(folder / "var" / "pipeline.sqlite3") as database:
        first_us, = database.execute("select min(fetched_at) from pages where run_id = ?", [run["run"]]).fetchone()
    return Measured(run["progress"]["pages"], datetime.fromisoformat(run["ended"]).timestamp() - first_us / 1e6,
                    after[2] + after[3] - before[2] - before[3], run["progress"].get("archived_bytes", 0), looks)


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
    parser.add_argument("--what", choices=("all", "changed"), default="all")
    given = parser.parse_args()
    if shutil.which("nginx") is None:
        print("skipped: nginx is not installed")
        return
    pairs: list[tuple[Measured, Measured]] = []
    with TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        (folder / "page").mkdir()
        generate(folder / "page", given.pages)
        with nginx(folder) as url:
            for number in range(given.rounds):
                found = {}
                for what in ("false", f'"{given.what}"') if number % 2 else (f'"{given.what}"', "false"):
                    found[what] = crawl(url, folder / "crawl", what, given.processes)
                    if what != "false":
                        check(folder / "crawl", found[what].pages)
                    shutil.rmtree(folder / "crawl")
                without, archived = found.pop("false"), next(iter(found.values()))
                pairs.append((without, archived))
                print(f"{archived.pages} pages: {without.s:.1f} s, CPU {without.cpu_s:.1f} s; archived: {archived.s:.1f} s, CPU {archived.cpu_s:.1f} s, "
                      f"{archived.archived_bytes / 1e6:.0f} MB; memory at 10, 25, 50, 75, 100 % of the pages: {without.memory()} MB; archived: {archived.memory()} MB",
                      flush=True)
    print(f"seconds with the archive / without, min / median / max: {spread([archived.s / without.s for without, archived in pairs], '.2f')} (goal: at most 1.15)")
    print(f"CPU with the archive / without: {spread([archived.cpu_s / without.cpu_s for without, archived in pairs], '.2f')}")
    print(f"memory of the archived crawl from a quarter of the pages to the end: {spread([archived.growth_mb for _, archived in pairs], '+.0f')} MB; "
          f"of the other: {spread([without.growth_mb for without, _ in pairs], '+.0f')} MB")


if __name__ == "__main__":
    main()
