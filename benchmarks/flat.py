"""Whether the cost per page stays constant in a long crawl.

Run it with `python -m benchmarks.flat [--pages 100000]`.

The peak memory of a crawl of 4,000 pages and of the long one; and what a page costs, in CPU time of the process that
crawls (the clock says little where others use the machine), in the first and in the last tenth of the long one.
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
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks._crawlers import CONCURRENCY, HERE, SETTINGS, generate, nginx

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Sample:
    pages: int
    cpu_s: float


def crawl(url: str, folder: Path) -> tuple[float, list[Sample]]:
    """The peak resident memory (MB) of the process that crawls, and what it had done when."""
    folder.mkdir()
    (folder / "settings.toml").write_text(SETTINGS.format(url=url, concurrency=CONCURRENCY, kept="false", processes=1, fast="true"))
    process = subprocess.Popen([sys.executable, "-m", "pipeline", "run", "shop", "--json"], cwd=folder, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                               env={"PYTHONPATH": str(HERE), "PATH": "/usr/bin:/bin", "HOME": str(folder)})
    samples, peak = [Sample(0, 0.0)], 0.0
    while process.poll() is None:
        time.sleep(0.5)
        for pid in crawlers(process.pid):
            try:
                status = Path(f"/proc/{pid}/status").read_text()
                ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
                peak = max(peak, int(status.partition("VmHWM:")[2].split()[0]) / 1e3)
            except (OSError, IndexError):
                continue  # just gone, or not yet reaped
            samples.append(Sample(pages_of(folder), sum(map(int, ticks)) * TICK_S))
    assert process.stdout is not None
    run = json.loads(process.stdout.read())[0]
    assert run["outcome"] == "succeeded", run
    print(f"{run['progress']['pages']} pages, {run['progress']['items']} items: peak {peak:.0f} MB", flush=True)
    return peak, samples


def pages_of(folder: Path) -> int:
    with sqlite3.connect(folder / "var" / "pipeline.sqlite3") as database:
        return int(database.execute("select coalesce(json_extract(progress, '$.pages'), 0) from runs").fetchone()[0])


def crawlers(pid: int) -> list[int]:
    """The descendants that lead a session of their own."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            found += [int(child)] if os.getsid(int(child)) == int(child) else crawlers(int(child))
        except OSError:
            continue
    return found


def cost_ms(samples: list[Sample], begin: float, end: float) -> float:
    """CPU milliseconds a page between two shares of the crawl."""
    last = samples[-1].pages
    within = [sample for sample in samples if begin * last <= sample.pages <= end * last]
    first, final = within[0], within[-1]
    return 1e3 * (final.cpu_s - first.cpu_s) / max(1, final.pages - first.pages)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=100_000)
    parser.add_argument("--short", type=int, default=4000, help="pages of the crawl it is compared with")
    given = parser.parse_args()
    if shutil.which("nginx") is None:
        print("skipped: nginx is not installed")
        return
    peaks = []
    for pages in (given.short, given.pages):
        with TemporaryDirectory(prefix="bench-") as name:
            folder = Path(name)
            (folder / "page").mkdir()
            generate(folder / "page", pages)
            with nginx(folder) as url:
                peak, samples = crawl(url, folder / "crawl")
        peaks.append(peak)
    print(f"memory: {peaks[1] - peaks[0]:+.0f} MB (goal: within 150)")
    # Not from the very first page: what is made once is no cost of a page.
    first, last = cost_ms(samples, 0.02, 0.12), cost_ms(samples, 0.9, 1.0)
    print(f"CPU of a page: {first:.2f} ms at the start, {last:.2f} ms at the end: {last / first - 1:+.0%} (goal: within 20 %)")


if __name__ == "__main__":
    main()
