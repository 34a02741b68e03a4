"""What one run, page and node's report cost PostgreSQL, and what schedules cost a scheduler.

Every cost is measured with the program's own calls: a PostgreSQL that writes its log to disk at each durable commit (fsync), spiders
with runs of a few pages, and settings with many schedules.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from procrastinate import App, PsycopgConnector

from benchmarks._crawlers import HERE
from benchmarks.cluster import tree_cpu_s
from pipeline.heartbeat.snapshot.build import build_snapshot
from pipeline.heartbeat.snapshot.spider_status import DueTimes
from pipeline.model import Item, Outcome, Page, Progress, Request, Run
from pipeline.schedule.claims import open_schedules
from pipeline.service.scheduling import Scheduling
from pipeline.settings import load
from pipeline.store import Store
from pipeline.store.crawl import commit, frontier
from pipeline.store.database.postgresql import driver_arguments
from pipeline.store.health import nodes
from pipeline.store.open import open_store
from pipeline.store.runs import jobs, runs, slots
from pipeline.workers.dispatcher.tables import prepare_tables
from tests.servers.postgres import Postgres

ITEMS_A_PAGE = 10
LINKS_A_PAGE = 5
BATCH = 100
"""How many slots the scheduler claims in one transaction."""


@dataclass(frozen=True)
class Cost:
    """One call. lock_s: how long its transaction lasted; exclusive: whether all other writers wait meanwhile (see postgresql.py).

    client_s, server_s: CPU seconds of the program and of PostgreSQL. wal_bytes: what PostgreSQL writes to its log.
    """

    lock_s: float
    client_s: float
    server_s: float
    wal_bytes: float
    exclusive: bool

    def of(self, parts: int) -> Cost:
        """Return the cost of one of so many equal parts of the call."""
        return Cost(self.lock_s / parts, self.client_s / parts, self.server_s / parts, self.wal_bytes / parts, self.exclusive)


class Meter:
    """Measures what calls cost one server."""

    def __init__(self, server: Postgres, store: Store) -> None:
        self._server = server
        self._store = store

    def cost(self, count: int, call: Callable[[int], object], *, exclusive: bool) -> Cost:
        """Return the mean cost of call(0) … call(count - 1).

        The time is that of a tenth of the calls, which no other process of this machine has delayed.
        """
        times = []
        server_s, wal = tree_cpu_s(self._server.pid), self._wal()  # a backend's time is counted in hundredths of a second
        client_s = time.process_time()
        for number in range(count):
            began = time.perf_counter()
            call(number)
            times.append(time.perf_counter() - began)
        client_s = time.process_time() - client_s
        return Cost(sorted(times)[count // 10], client_s / count, (tree_cpu_s(self._server.pid) - server_s) / count,
                    (self._wal() - wal) / count, exclusive)

    def _wal(self) -> int:
        with self._store.read() as connection:
            return int(connection.exec_driver_sql("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").scalar() or 0)


@dataclass(frozen=True)
class UnitCosts:
    """calls: the cost of each kind of call, by name. bytes_a_run: what the rows of one run occupy, with indexes, its pages left out."""

    calls: dict[str, Cost]
    bytes_a_run: float
    bytes_a_page: float
    bytes_an_item: float


def unit_costs(spiders: int, pages: int, node_count: int) -> UnitCosts:
    """Let each of so many spiders have two runs of so many pages: one that finds new items, and a second that finds them unchanged."""
    server = Postgres(durable=True)
    try:
        with tempfile.TemporaryDirectory() as folder:
            store = open_store(Path(folder), server.new_database())
            prepare_tables(store)  # each slot then has a job, too
            found = _measured(server, store, spiders, pages, node_count)
            store.close()
            return found
    finally:
        server.close()


def _measured(server: Postgres, store: Store, spiders: int, pages: int, node_count: int) -> UnitCosts:
    names, meter = [f"s{number}" for number in range(spiders)], Meter(server, store)
    _pass(meter, store, names, pages)
    found = _pass(meter, store, names, pages)
    sizes = _sizes(store)
    reports = [nodes.NodeReport(f"node{number}", "1", "8", ("worker",), concurrency=8) for number in range(node_count)]
    for each in reports:
        _report(store, each)
    found["node report"] = meter.cost(min(200, node_count), lambda number: _report(store, reports[number]), exclusive=False)
    with store.read() as connection:
        waiting = int(connection.exec_driver_sql("SELECT count(*) FROM procrastinate_jobs").scalar() or 0)
    found["job"] = meter.cost(1, lambda _: asyncio.run(_perform_jobs(store)), exclusive=False).of(waiting)
    found["leader, every 5 s"] = meter.cost(20, lambda _: runs.abandon_expired(store, now=datetime.now(UTC), performing=()), exclusive=True)
    run_bytes = sum(sizes[name] for name in ("slots", "passes", "runs"))
    return UnitCosts(found, run_bytes / (2 * spiders), sum(sizes[name] for name in ("pages", "frontier")) / (2 * spiders * pages),
                     sum(sizes[name] for name in ("items", "changes")) / (spiders * pages * ITEMS_A_PAGE))


async def _perform_jobs(store: Store) -> None:
    """Let a worker of procrastinate perform the jobs of all waiting runs, one after the other. The jobs do nothing here."""
    async with App(connector=PsycopgConnector(kwargs=driver_arguments(store.engine), min_size=1, max_size=3)).open_async() as app:
        @app.task(name=jobs.PERFORM_RUN)
        def nothing(run_id: int) -> None:
            """Do nothing."""

        await app.run_worker_async(wait=False, delete_jobs="always", install_signal_handlers=False, listen_notify=False)


def _pass(meter: Meter, store: Store, names: list[str], pages: int) -> dict[str, Cost]:
    now = datetime.now(UTC)
    claims = [slots.SlotClaim(name, f"{now.isoformat()}", now, "schedule") for name in (*names, *(f"only-claimed{number}" for number in range(9 * BATCH)))]
    batches = [claims[at:at + BATCH] for at in range(0, len(claims), BATCH)]
    found = {"claim": meter.cost(len(batches), lambda number: slots.claim_due(store, batches[number], now=now), exclusive=True).of(BATCH)}
    waiting = [run for run in runs.waiting_runs(store) if run.spider in names]
    started: list[Run] = []

    def start(number: int) -> None:
        run = runs.start_run(store, waiting[number].id, owner=store.owner, now=datetime.now(UTC), limit=10**9, spider=waiting[number].spider)
        assert run is not None
        started.append(run)

    found["start"] = meter.cost(len(names), start, exclusive=False)
    queued = [frontier.enqueue(store, run, [Request(f"http://{run.spider}.example/{number}") for number in range(pages)]) for run in started]
    progress = [Progress() for _ in started]

    def page(number: int) -> None:
        run, at = started[number // pages], number % pages
        url = f"http://{run.spider}.example"
        read = Page(f"{url}/{at}", 200, datetime.now(UTC), frontier_id=queued[number // pages][at].id, items=tuple(
            Item(f"{url}/{at}/{item}", {"name": f"item {item} of page {at}", "price": item, "about": "some words about what it is"})
            for item in range(ITEMS_A_PAGE)), links=tuple(Request(f"{url}/{link}") for link in range(LINKS_A_PAGE)))
        progress[number // pages] = commit.commit_pages(store, run, [read], now=datetime.now(UTC)).progress

    found["page"] = meter.cost(len(names) * pages, page, exclusive=False)
    found["progress"] = meter.cost(len(names), lambda number: runs.report_progress(
        store, started[number], progress[number], now=datetime.now(UTC)), exclusive=False)
    found["end"] = meter.cost(len(names), lambda number: runs.end_run(
        store, started[number], runs.Ending(Outcome.SUCCEEDED, complete=True), progress[number], now=datetime.now(UTC)), exclusive=False)
    return found


def _report(store: Store, each: nodes.NodeReport) -> None:
    """Report as the process of another node."""
    own, store.owner = store.owner, each.name
    try:
        nodes.report(store, each)
    finally:
        store.owner = own


def _sizes(store: Store) -> dict[str, int]:
    with store.read() as connection:
        return {name: int(size) for name, size in connection.exec_driver_sql(
            "SELECT relname, pg_total_relation_size(oid) FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace")}


# What schedules cost a scheduler


@dataclass(frozen=True)
class SchedulerCost:
    """What so many spiders with one schedule each cost one `pipeline serve`: CPU seconds, and memory in bytes.

    status_s: to build the status, before there are any runs.
    """

    schedules: int
    load_s: float
    plan_s: float
    jobs_s: float
    status_s: float
    settings_bytes: float
    plan_bytes: float


def scheduler_cost(schedules: int) -> SchedulerCost:
    """Measure in a process of its own, so that its memory is known."""
    done = subprocess.run([sys.executable, "-m", "benchmarks._unit_costs", str(schedules)], cwd=HERE, check=True, capture_output=True, text=True)
    return SchedulerCost(schedules, **json.loads(done.stdout))


@contextmanager
def _timed(found: dict[str, float], name: str) -> Iterator[None]:
    began = time.process_time()
    yield
    found[name] = time.process_time() - began


def _memory_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def _plan(folder: Path, schedules: int) -> dict[str, float]:
    """Load settings of so many spiders, plan their schedules, and give them to APScheduler, as a service does when it starts."""
    found: dict[str, float] = {}
    before = _memory_bytes()
    with _timed(found, "load_s"):
        settings = load(folder / "settings.toml")
    found["settings_bytes"] = _memory_bytes() - before
    store = open_store(folder / "var")
    before = _memory_bytes()
    with _timed(found, "plan_s"):
        plans = open_schedules(store, settings, now=datetime.now(UTC))
    scheduling = Scheduling(on_due=lambda: None, on_clock=lambda _: None, on_failure=lambda: None, now=lambda: datetime.now(UTC))
    scheduling.start()
    with _timed(found, "jobs_s"):
        scheduling.plan(plans)
    found["plan_bytes"] = _memory_bytes() - before
    now = datetime.now(UTC)
    with _timed(found, "status_s"):
        build_snapshot(store, settings, DueTimes(plans.spiders.upcoming(), now, now), version="1")
    scheduling.stop()
    store.close()
    return found


def _many_spiders(schedules: int) -> str:
    return "".join(f"""
[spiders.s{number}]
start = "https://s{number}.example/"
follow = ["a"]
schedule = "{_schedule(number)}"
[spiders.s{number}.items.fields]
url = {{ page = "url" }}
""" for number in range(schedules))


def _schedule(number: int) -> str:
    return "every 1h" if number % 10 == 0 else f"daily at {number % 24:02}:{number % 60:02}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        Path(name, "settings.toml").write_text(_many_spiders(int(sys.argv[1])))
        print(json.dumps(asyncio.run(_plan(Path(name), int(sys.argv[1])))))
