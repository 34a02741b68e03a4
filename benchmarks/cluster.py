"""How runs and one large crawl scale over nodes.

Run it with `python -m benchmarks.cluster [--only runs] [--rounds 3]`.

A real PostgreSQL, one `pipeline serve --no-worker`, and 1, 2 and 4 `pipeline worker`, each with a data folder of its own. The site
answers after 200 ms, and each of its hosts is an address 127.x.y.z, so that neither the cores nor the budget of a host is the limit.

runs: 300 spiders of a few pages, all due at once. Goal: 1.8 times as many runs a minute with twice the workers.
crawl: one spider whose pages are on many hosts, with `processes` = 1, 2 and 4 on as many nodes. Goal: 1.6 times as many pages a second.
start: from the claim of a slot to its first request, with an idle worker.

CPU figures are of all processes of a part, its children included; "busy" is the whole machine with all that runs on it.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from sqlalchemy import func, select

from benchmarks._crawlers import HERE
from benchmarks._slow_site import host_of
from benchmarks.site import below, pss_bytes
from pipeline.settings import load
from pipeline.store import Store, open_store_of
from pipeline.store.database.schema import pages, runs
from pipeline.store.health.nodes import nodes
from pipeline.store.runs.slots import SlotClaim, claim_due
from tests.servers.ports import free_port
from tests.servers.postgres import Postgres

WORKERS = (1, 2, 4)
GOALS = {"runs": 1.8, "crawl": 1.6}
TICKS = os.sysconf("SC_CLK_TCK")
SETTINGS = """
[pipeline]
database = "{database}"
[heartbeat]
port = {port}
[cluster]
node = "{node}"
"""
SPIDER = """
[spiders.{name}]
start = "{start}"
follow = ["a"]
robots = false
{more}
[spiders.{name}.items]
key = ["url"]
[spiders.{name}.items.fields]
url = {{ page = "url" }}
title = "h1"
"""


@dataclass
class Measured:
    """One round with some workers. cpu_s: CPU seconds by part. waits_s: from the creation of each run to its start."""

    rate: float
    seconds: float
    cpu_s: dict[str, float]
    busy: float
    connections: int
    pss_bytes: float
    database_bytes: int
    waits_s: list[float] = field(default_factory=list)


class Cluster:
    """The processes of a cluster: the site, one scheduler, and workers. folder: has a data folder for each of them."""

    def __init__(self, folder: Path, database: str, spiders: str, *, concurrency: int) -> None:
        self._folder = folder
        self._database = database
        self._spiders = spiders
        self._concurrency = concurrency
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.store: Store

    def start(self, workers: int) -> None:
        """Start all processes, and wait until each of them reports itself."""
        self._write("scheduler", free_port())
        self.store = open_store_of(load(self._folder / "scheduler" / "settings.toml"))
        self._spawn("scheduler", "serve", "--no-worker")
        for number in range(workers):
            self._write(f"worker{number}", 0)
            self._spawn(f"worker{number}", "worker", "--concurrency", str(self._concurrency))
        wait_until(lambda: len(nodes(self.store)) == workers + 1, "the processes report themselves", 60)

    def _write(self, name: str, port: int) -> None:
        folder = self._folder / name
        folder.mkdir()
        (folder / "settings.toml").write_text(SETTINGS.format(database=self._database, port=port, node=name) + self._spiders)

    def _spawn(self, name: str, *command: str) -> None:
        with (self._folder / name / "log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "pipeline", *command], cwd=self._folder / name, stdout=log, stderr=log,
                env={"PYTHONPATH": str(HERE), "PATH": os.environ["PATH"], "HOME": str(self._folder)})

    def claim(self, spiders: Sequence[str]) -> None:
        """Claim a slot of each spider in one transaction, as the scheduler does for slots that are due at the same time."""
        now = datetime.now(UTC)
        claim_due(self.store, [SlotClaim(name, f"{now.isoformat()} {name}", now, "schedule") for name in spiders], now=now)

    def unfinished(self) -> int:
        with self.store.read() as connection:
            return int(connection.execute(select(func.count()).where(runs.c.ended_at.is_(None))).scalar_one())

    def stop(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            process.wait(60)
        self.store.close()

    def cpu_s(self, server: Postgres, site: subprocess.Popen[bytes]) -> dict[str, float]:
        """Return the CPU seconds so far of each part; those of the workers together."""
        found = {"scheduler": tree_cpu_s(self.processes["scheduler"].pid), "PostgreSQL": tree_cpu_s(server.pid),
                 "site": tree_cpu_s(site.pid)}
        found["workers"] = sum(tree_cpu_s(process.pid) for name, process in self.processes.items() if name != "scheduler")
        return found


def wait_until(question: Callable[[], bool], what: str, limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while not question():
        if time.monotonic() > deadline:
            sys.exit(f"not within {limit_s:.0f} s: {what}")
        time.sleep(0.05)


def tree_cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process, its descendants, and those that they have waited for."""
    total = 0
    for each in below(pid):
        try:
            total += sum(map(int, Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()[11:15]))
        except OSError:  # it has just ended
            continue
    return total / TICKS


def machine_ticks() -> tuple[int, int]:
    """Return how long all cores were busy so far, and the total time of all cores, in ticks."""
    values = [int(value) for value in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(values) - values[3] - values[4], sum(values)


def watch(cluster: Cluster, server: Postgres, limit_s: float) -> tuple[int, float]:
    """Wait until no run waits or is in progress. Return the most connections to the database, and the mean memory of a worker (PSS)."""
    most, memory = 0, list[float]()
    deadline = time.monotonic() + limit_s
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        while cluster.unfinished():
            if time.monotonic() > deadline:
                sys.exit(f"runs have not ended within {limit_s:.0f} s; see {cluster.store.data_dir}")
            row = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE datname <> 'postgres'").fetchone()
            most = max(most, row[0] - 1 if row else 0)  # without the connection of this program
            memory.append(statistics.mean(sum(map(pss_bytes, below(process.pid)))
                                          for name, process in cluster.processes.items() if name != "scheduler"))
            time.sleep(0.5)
    return most, statistics.median(memory)


def measure(cluster: Cluster, server: Postgres, site: subprocess.Popen[bytes], spiders: Sequence[str], *, rate: str) -> Measured:
    """Claim a slot of each spider, and wait until all runs have ended. rate: "runs" a minute or "pages" a second."""
    before, ticks = cluster.cpu_s(server, site), machine_ticks()
    with cluster.store.read() as connection:
        newest = connection.execute(select(func.coalesce(func.max(runs.c.id), 0))).scalar_one()
    cluster.claim(spiders)
    connections, memory = watch(cluster, server, limit_s=1200)
    after, later = cluster.cpu_s(server, site), machine_ticks()
    with cluster.store.read() as connection:
        rows = connection.execute(select(runs.c.created_at, runs.c.started_at, runs.c.ended_at, runs.c.outcome, runs.c.error).where(
            runs.c.id > newest)).all()
        count = connection.execute(select(func.count()).where(pages.c.run_id > newest)).scalar_one()
        size = cluster.store.size_bytes(connection)
    failed = [row.error for row in rows if row.outcome != "succeeded"]
    if failed or len(rows) != len(spiders):
        sys.exit(f"{len(rows)} runs of {len(spiders)} spiders, {len(failed)} of which failed: {failed[:3]}")
    begun = min(row.created_at for row in rows) if rate == "runs" else min(row.started_at for row in rows)
    seconds = (max(row.ended_at for row in rows) - begun).total_seconds()
    return Measured(60 * len(rows) / seconds if rate == "runs" else count / seconds, seconds,
                    {name: after[name] - before[name] for name in after}, (later[0] - ticks[0]) / max(1, later[1] - ticks[1]),
                    connections, memory, size, [(row.started_at - row.created_at).total_seconds() for row in rows])


@contextmanager
def slow_site(delay_ms: int, page_count: int, hosts: int) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    port = free_port()
    site = subprocess.Popen([sys.executable, "-m", "benchmarks._slow_site", *map(str, (port, delay_ms, page_count, hosts))], cwd=HERE)
    try:
        yield port, site
    finally:
        site.kill()
        site.wait()


def chains(port: int, count: int) -> tuple[list[str], str]:
    """Return the names and the settings of spiders of a chain of pages, each on a host of its own."""
    names = [f"s{number}" for number in range(count)]
    return names, "".join(SPIDER.format(name=name, start=f"http://127.2.{number // 250}.{number % 250 + 1}:{port}/chain/0", more="")
                          for number, name in enumerate(names))


def tree(port: int, hosts: int, processes: int) -> str:
    """Return the settings of the spider of the large crawl."""
    listed = ", ".join(f'"{host_of(number)}:{port}"' for number in range(hosts))
    return SPIDER.format(name="tree", start=f"http://{host_of(0)}:{port}/tree/0", more=f"concurrency = 16\nprocesses = {processes}\nhosts = [{listed}]")


def one_round(kind: str, given: argparse.Namespace, server: Postgres, workers: int) -> Measured:
    page_count = given.pages if kind == "runs" else given.crawl_pages
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        port, site = stack.enter_context(slow_site(given.delay_ms, page_count, given.hosts))
        names, settings = chains(port, given.spiders)
        warm = [f"warm{number}" for number in range(2 * workers * given.concurrency)]
        settings += "".join(SPIDER.format(name=name, start=f"http://127.3.0.{number + 1}:{port}/chain/{page_count - 1}", more="")
                            for number, name in enumerate(warm))
        if kind == "crawl":
            names, settings = ["tree"], settings + tree(port, given.hosts, workers)
        cluster = Cluster(folder, server.new_database(), settings, concurrency=given.concurrency)
        try:
            cluster.start(workers)
            cluster.claim(warm)  # each worker has then loaded what a run needs
            wait_until(lambda: not cluster.unfinished(), "the first runs end", 120)
            return measure(cluster, server, site, names, rate="runs" if kind == "runs" else "pages")
        finally:
            cluster.stop()


def compare(kind: str, given: argparse.Namespace, server: Postgres) -> None:
    found: dict[int, list[Measured]] = {workers: [] for workers in given.workers}
    for number in range(given.rounds):
        for workers, rounds in found.items():
            rounds.append(one_round(kind, given, server, workers))
            print(f"  round {number + 1}, {workers} workers: {told(kind, rounds[-1])}", flush=True)
    unit = "runs/min" if kind == "runs" else "pages/s"
    base = found[given.workers[0]]
    for workers, rounds in found.items():
        ratios = [each.rate / first.rate for each, first in zip(rounds, base, strict=True)]
        print(f"{workers} workers: {three([each.rate for each in rounds], '.1f')} {unit}, {three(ratios, '.2f')} times one")
    for fewer, more in zip(given.workers, given.workers[1:], strict=False):
        ratios = [much.rate / less.rate for less, much in zip(found[fewer], found[more], strict=True)]
        print(f"from {fewer} to {more} workers: {three(ratios, '.2f')} times (goal: {GOALS[kind]})")


def told(kind: str, found: Measured) -> str:
    waits = f", {statistics.median(found.waits_s):.1f} s from claim to start (median)" if kind == "runs" else ""
    return (f"{found.rate:.1f} {'runs/min' if kind == 'runs' else 'pages/s'} in {found.seconds:.1f} s{waits}; CPU s "
            + ", ".join(f"{name} {value:.1f}" for name, value in found.cpu_s.items())
            + f"; machine {found.busy:.0%} busy; {found.connections} connections; {found.pss_bytes / 1e6:.0f} MB for a worker; "
              f"database {found.database_bytes / 1e6:.0f} MB")


def three(values: Sequence[float], form: str) -> str:
    return f"{min(values):{form}} / {statistics.median(values):{form}} / {max(values):{form}}"


def start_times(given: argparse.Namespace, server: Postgres) -> None:
    """Print how long an idle worker takes to start a run, and to have its first page."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        port, _ = stack.enter_context(slow_site(0, 1, 1))
        names, settings = chains(port, 20)
        cluster = Cluster(folder, server.new_database(), settings, concurrency=1)
        cluster.start(1)
        try:
            for name in [*names[:2], *names]:
                cluster.claim([name])
                wait_until(lambda: not cluster.unfinished(), "a run ends", 60)
            with cluster.store.read() as connection:
                first = select(pages.c.run_id, func.min(pages.c.fetched_at).label("at")).group_by(pages.c.run_id).subquery()
                rows = connection.execute(select(runs.c.created_at, runs.c.started_at, runs.c.ended_at, first.c.at).join(
                    first, first.c.run_id == runs.c.id).order_by(runs.c.id)).all()[2:]
        finally:
            cluster.stop()
    for what, values in (("start", [row.started_at - row.created_at for row in rows]), ("first page", [row.at - row.created_at for row in rows]),
                         ("end", [row.ended_at - row.created_at for row in rows])):
        print(f"from the claim to the {what}: {three([1000 * value.total_seconds() for value in values], '.0f')} ms ({len(rows)} runs of one page)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("runs", "crawl", "start"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=WORKERS)
    parser.add_argument("--spiders", type=int, default=300)
    parser.add_argument("--pages", type=int, default=6, help="of each spider, one after the other")
    parser.add_argument("--crawl-pages", type=int, default=6000)
    parser.add_argument("--hosts", type=int, default=64, help="of the large crawl")
    parser.add_argument("--delay-ms", type=int, default=200)
    parser.add_argument("--concurrency", type=int, default=2, help="runs at the same time in each worker")
    given = parser.parse_args()
    server = Postgres()
    try:
        print(f"{given.rounds} rounds, min / median / max; responses after {given.delay_ms} ms; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        if given.only in (None, "start"):
            print("start")
            start_times(given, server)
        if given.only in (None, "runs"):
            print(f"runs: {given.spiders} spiders of {given.pages} pages, {given.concurrency} runs at the same time in each worker")
            compare("runs", given, server)
        if given.only in (None, "crawl"):
            print(f"crawl: {given.crawl_pages} pages on {given.hosts} hosts")
            compare("crawl", given, server)
    finally:
        server.close()


if __name__ == "__main__":
    main()
