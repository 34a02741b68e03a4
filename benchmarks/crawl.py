"""Compare our crawls with plain Scrapy and Crawlee, in turns.

`python -m benchmarks.crawl` takes 4 to 6 minutes on a quiet machine.

Three tables. (1) A site of 4,000 pages with 10 items and 10 links each, served by nginx on loopback: one and two processes, with the
fast engine and with Scrapy's own, beside the peers of _crawlers.py; the ratios are those of one round. (2) A large site, where
`processes = "auto"` lets a second process join. (3) A small site, where "auto" must cost nothing. Start-up is left out in (1) and
printed apart; in (2) and (3) whole commands are measured. CPU seconds are those of all processes of a program, and say more than
the clock where other programs use the machine. With --all, also crawls of an unchanged site. Each round begins with another program.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks._crawlers import CRAWLEE, FLOOR, PEERS, SCRAPY_SPIDER, Measured, generate, nginx, ours, script, spread
from pipeline.crawl.scrapy.engine import is_tested

SCRAPY, CRAWLEE_PYTHON = "plain Scrapy, JSON lines", "Crawlee, in memory"
ONE, TWO = "ours", "ours, 2 processes"
GOALS = ((ONE, SCRAPY, 4.5), (ONE, CRAWLEE_PYTHON, 1.6), (TWO, SCRAPY, 8.0), (TWO, CRAWLEE_PYTHON, 2.8))
"""How many times as fast each program must be as another at the median."""

Program = Callable[[Path], Measured]
"""Crawls in the folder that it is given, which is new in each round."""


def programs(url: str, peers: Path, *, everything: bool) -> list[list[tuple[str, Program]]]:
    """The programs by label, in groups whose order must be kept, because they share a folder."""
    found: list[list[tuple[str, Program]]] = [
        [(SCRAPY, lambda folder: script(SCRAPY_SPIDER, url, str(folder / "items.jsonl"), folder=folder))],
        [(CRAWLEE_PYTHON, lambda folder: script(CRAWLEE, url, folder=folder, python=str(peers)))],
        [("aiohttp + lexbor, no store", lambda folder: script(FLOOR, url, folder=folder))],
        [(ONE, partial(ours, url))],
        [(TWO, partial(ours, url, processes=2))],
        [("ours, Scrapy's engine", partial(ours, url, fast=False))],
        [("ours, Scrapy's engine, 2", partial(ours, url, processes=2, fast=False))]]
    if everything:
        found[3].append(("ours, unchanged", found[3][0][1]))
        found[4].append(("ours, 2, unchanged", found[4][0][1]))
        kept = partial(ours, url, kept=True)
        found.append([("ours, pages kept for 304", kept), ("ours, all answered 304", kept)])
    return [group for group in found if peers.exists() or group[0][0] != CRAWLEE_PYTHON]


def in_turns(groups: Sequence[Sequence[tuple[str, Program]]], folder: Path, rounds: int, pages: int) -> list[dict[str, Measured]]:
    """Run every program once a round. Each round begins with another group.

    A program that misses pages ends the benchmark. Scrapy fetches its start page twice, because a page links to it.
    """
    found = []
    for number in range(rounds):
        measured = {}
        for group in (*groups[number % len(groups):], *groups[:number % len(groups)]):
            with TemporaryDirectory(prefix="round-", dir=folder) as name:
                for label, program in group:
                    measured[label] = program(Path(name))
                    if measured[label].pages not in (pages, pages + 1) or measured[label].items != 10 * measured[label].pages:
                        sys.exit(f"{label}: {measured[label]}, but the site has {pages} pages with 10 items each")
        found.append(measured)
        print(f"round {number + 1} of {rounds} done; load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
    return found


def ratios(rounds: Sequence[dict[str, Measured]], label: str, other: str) -> list[float]:
    """How many times as fast one program was as another, in each round."""
    return [each[label].pages * each[other].s / (each[label].s * each[other].pages) for each in rounds]


def print_peers(rounds: Sequence[dict[str, Measured]], labels: Sequence[str]) -> None:
    print(f"{'min / median / max':28}{'pages/s':>24}{'times Scrapy':>24}{'times Crawlee':>24}{'start and end s':>17}{'CPU ms/page':>13}")
    for label in labels:
        rates = [each[label].pages / each[label].s for each in rounds]
        crawlee = spread(ratios(rounds, label, CRAWLEE_PYTHON), "5.2f") if CRAWLEE_PYTHON in labels else "-"
        outside = statistics.median(each[label].whole_s - each[label].s for each in rounds)
        cpu_ms = statistics.median(1e3 * each[label].cpu_s / each[label].pages for each in rounds)
        scrapy = spread(ratios(rounds, label, SCRAPY), "5.2f")
        print(f"{label:28}{spread(rates, '5.0f'):>24}{scrapy:>24}{crawlee:>24}{outside:>17.2f}{cpu_ms:>13.2f}")
    for label, other, goal in GOALS:
        if other in labels:
            median = statistics.median(ratios(rounds, label, other))
            print(f"goal: {label} at least {goal} times {other}: {median:.2f}, {'met' if median >= goal else 'NOT MET'}")


def print_whole(rounds: Sequence[dict[str, Measured]], base: str) -> None:
    """Whole commands, compared with one of them: a value above 1 means that this one takes longer than the base."""
    print(f"{'min / median / max':28}{'whole command s':>22}{'times ' + base:>24}{'CPU s':>22}{'times ' + base:>24}")
    for label in rounds[0]:
        whole, cpu = [each[label].whole_s for each in rounds], [each[label].cpu_s for each in rounds]
        print(f"{label:28}{spread(whole, '6.2f'):>22}{spread([each[label].whole_s / each[base].whole_s for each in rounds], '5.2f'):>24}"
              f"{spread(cpu, '6.2f'):>22}{spread([each[label].cpu_s / each[base].cpu_s for each in rounds], '5.2f'):>24}")


def by_processes(url: str, counts: Sequence[int | str]) -> list[list[tuple[str, Program]]]:
    return [[(f"processes = {count}", partial(ours, url, processes=count))] for count in counts]


def compare(folder: Path, given: argparse.Namespace) -> None:
    for title, pages, rounds, make in (
            ("with other programs", given.pages, given.rounds, partial(programs, peers=given.peers, everything=given.all)),
            ("a large site", given.large, given.large_rounds, partial(by_processes, counts=(1, 2, "auto"))),
            ("a small site", given.small, given.small_rounds, partial(by_processes, counts=(1, "auto")))):
        if not (pages and rounds):
            continue
        with TemporaryDirectory(prefix="site-", dir=folder) as name:
            site = Path(name)
            (site / "page").mkdir()
            generate(site / "page", pages)
            with nginx(site) as url:
                groups = make(url)
                found = in_turns(groups, folder, rounds, pages)
        print(f"\n{title}: {pages} pages, {rounds} rounds")
        if title == "with other programs":
            print_peers(found, [label for group in groups for label, _ in group])
        else:
            print_whole(found, "processes = 1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--large", type=int, default=15_000, help="pages of the large site")
    parser.add_argument("--large-rounds", type=int, default=2)
    parser.add_argument("--small", type=int, default=40, help="pages of the small site")
    parser.add_argument("--small-rounds", type=int, default=10)
    parser.add_argument("--all", action="store_true", help="also crawls of an unchanged site")
    parser.add_argument("--peers", type=Path, default=PEERS, help="the Python that has Crawlee")
    given = parser.parse_args()
    if shutil.which("nginx") is None:
        print("skipped: nginx is not installed")
        return
    if not given.peers.exists():
        print("Crawlee is left out: see the first lines of benchmarks/_crawlers.py")
    if not is_tested(version("scrapy")):
        print(f"the fast engine was not tested with Scrapy {version('scrapy')}: every crawl uses Scrapy's own engine")
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: the forkserver of a command is ours when that ends
    begun = time.monotonic()
    print(f"Scrapy {version('scrapy')}, Python {sys.version.split()[0]}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with TemporaryDirectory(prefix="bench-") as name:
        os.chmod(name, 0o755)  # nginx reads as another user
        compare(Path(name), given)
    print(f"\n{time.monotonic() - begun:.0f} s in all; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
