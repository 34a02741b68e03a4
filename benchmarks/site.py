"""The cost of crawling a whole site.

Run it with `python -m benchmarks.site [--pages 10136] [--rounds 3] [--folder HTML]`.

With --folder: --start PAGE and --within REGEX crawl a part of it.

A tree of pages of 10 to 80 kB with a hundred links each, or the HTML in a folder, served by nginx on loopback and crawled
twice with the default settings, each page an item with its title and all of its links. Goals: 400 pages a second both
times, a 304 for every page the second time, under 100 MB of database, under 250 MB of memory in all processes (PSS).
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks._crawlers import HERE, children, nginx, spread

SETTINGS = """
[pipeline]
data_dir = "var"
[heartbeat]
port = 0
[spiders.docs]
start = "{url}"
follow = ["a"]
robots = false
allow = ['{within}']
[spiders.docs.items]
key = ["url"]
[spiders.docs.items.fields]
url = {{ page = "url" }}
title = "title"
links = {{ css = "a::attr(href)", many = true }}
"""
WORDS = ("returns", "the", "value", "of", "class", "method", "if", "an", "element", "this", "list", "null", "throws", "since",
         "index", "specified", "object", "interface", "type", "parameter", "collection", "thread", "stream", "buffer")
LOOK_S = 0.1


@dataclass(frozen=True)
class Measured:
    """pss_bytes: at the peak, of the command and all below it."""

    pages: int
    answered_304: int
    seconds: float
    cpu_s: float
    database_bytes: int
    cache_bytes: int
    pss_bytes: int


def generate(folder: Path, pages: int) -> None:
    """Every page is reached: page n links to 5 n + 1 … 5 n + 5, and to a hundred others."""
    chance = random.Random(1)
    for number in range(pages):
        targets = [*range(number * 5 + 1, number * 5 + 6), *(chance.randrange(pages) for _ in range(95))]
        links = "".join(f'<li><a href="/page/{target % pages}.html#member-{target}">Class{target}.member</a></li>' for target in targets)
        words = " ".join(chance.choices(WORDS, k=chance.randrange(500, 10_000)))
        (folder / f"{number}.html").write_text(f"<!doctype html><title>Class {number}</title><ul>{links}</ul><p>{words}</p>")


def crawl(folder: Path, log: Path) -> Measured:
    """One run; the memory of its processes is looked at meanwhile."""
    log.write_text("")
    before, others = os.times(), children()
    command = subprocess.Popen([sys.executable, "-m", "pipeline", "run", "docs", "--json"], cwd=folder, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True,
                               env={"PYTHONPATH": str(HERE), "PATH": "/usr/bin:/bin", "HOME": str(folder)})
    peak = 0
    while command.poll() is None:
        peak = max(peak, sum(map(pss_bytes, below(command.pid))))
        time.sleep(LOOK_S)
    assert command.stdout is not None
    run = json.loads(command.stdout.read())[0]
    for pid in children() - others:
        os.waitpid(pid, 0)
    after = os.times()
    statuses = re.findall(r"^(\d+)$", log.read_text(), re.MULTILINE)
    return Measured(run["progress"]["pages"], statuses.count("304"), _seconds(run),
                    after[2] + after[3] - before[2] - before[3], _size(folder / "var", "pipeline.sqlite3*"),
                    _size(folder / "var" / "cache", "*"), peak)


def _seconds(run: dict[str, str]) -> float:
    return (datetime.fromisoformat(run["ended"]) - datetime.fromisoformat(run["started"])).total_seconds()


def _size(folder: Path, pattern: str) -> int:
    return sum(file.stat().st_size for file in folder.glob(pattern))


def below(pid: int) -> Iterator[int]:
    """A process and all of its descendants."""
    yield pid
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                yield from below(int(child))


def pss_bytes(pid: int) -> int:
    """Its memory, including its share of memory shared with other processes."""
    with suppress(OSError):
        found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
        return int(found[1]) * 1024 if found else 0
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=10_136)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="HTML to serve instead; it begins at index.html")
    parser.add_argument("--start", default="index", help="the page of the folder to begin at instead, without .html")
    parser.add_argument("--within", default="", help="a regular expression: follow only links that it matches")
    given = parser.parse_args()
    if shutil.which("nginx") is None:
        print("skipped: nginx is not installed")
        return
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: the forkserver of a command is ours when that ends
    found: dict[str, list[Measured]] = {"first crawl": [], "unchanged": []}
    with TemporaryDirectory(prefix="bench-") as name:
        folder, log = Path(name), Path(name, "access.log")
        if given.folder is None:
            (folder / "page").mkdir()
            generate(folder / "page", given.pages)
        else:
            (folder / "page").symlink_to(given.folder.resolve())
        with nginx(folder, page="0" if given.folder is None else given.start, log=log) as url:
            for number in range(given.rounds):
                work = folder / f"work{number}"
                work.mkdir()
                (work / "settings.toml").write_text(SETTINGS.format(url=url, within=given.within))
                for each in found.values():
                    each.append(crawl(work, log))
    print(f"{found['unchanged'][0].pages} pages, {given.rounds} rounds, min / median / max; load {os.getloadavg()[0]:.1f}")
    for label, rounds in found.items():
        print(f"{label:12} pages/s {spread([each.pages / each.seconds for each in rounds], '5.0f')}   CPU ms/page "
              f"{spread([1e3 * each.cpu_s / each.pages for each in rounds], '4.2f')}   "
              f"304 {spread([100 * each.answered_304 / each.pages for each in rounds], '3.0f')} %")
        print(f"{'':12} MB: database {spread([each.database_bytes / 1e6 for each in rounds], '5.1f')}   page cache "
              f"{spread([each.cache_bytes / 1e6 for each in rounds], '5.1f')}   PSS {spread([each.pss_bytes / 1e6 for each in rounds], '5.1f')}")


if __name__ == "__main__":
    main()
