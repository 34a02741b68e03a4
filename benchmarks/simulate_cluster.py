"""A day of a large cluster, simulated from measured costs.

Run it with `python -m benchmarks.simulate_cluster [--spiders 1000000] [--nodes 1000]`.

The costs of a run, a page and a node's report are measured first, on this machine, with a real PostgreSQL and the program's own calls
(_unit_costs.py). The simulation then goes through a day, second by second: slots become due, the scheduler claims them in batches,
workers start the runs as far as they have room and the lock of all writers allows, and runs end. It prints the queue, the load of each part
in the mean and in the busiest quarter of an hour, which parts break first, and what then. Seeded; takes less than two minutes.

Schedules: a tenth of the spiders hourly and the others daily. Half of the hourly ones are due at the full hour; 60 % of the daily ones
are due at a full hour between 5:00 and 9:00, as people write them. `jitter` spreads each slot.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from benchmarks._unit_costs import ITEMS_A_PAGE, Cost, SchedulerCost, UnitCosts, scheduler_cost, unit_costs

DAY_S = 86_400
QUARTER_S = 900
HOURLY_SHARE = 0.1
PROGRESS_EVERY_S = 1.0
REPORT_EVERY_S = 5.0
PROCESS_S = 0.12
"""CPU time of the process of a run, beside its pages (benchmarks.cluster: 0.2 s for a run of 10 pages)."""
PAGE_S = 0.004
"""CPU time to fetch and to extract one page, beside its commit."""
KEPT_RUNS = 100
"""How many runs of a spider are kept."""
BUCKETS = 30


@dataclass(frozen=True)
class Load:
    """What the cluster is asked to do. page_s: from one page of a run to the next (the site's response and `delay`)."""

    spiders: int
    nodes: int
    concurrency: int
    pages: float
    page_s: float
    jitter_s: float

    @property
    def slots(self) -> int:
        """How many runs all workers can perform at the same time."""
        return self.nodes * self.concurrency

    @property
    def runs_a_day(self) -> float:
        return self.spiders * (HOURLY_SHARE * 24 + (1 - HOURLY_SHARE))

    @property
    def run_s(self) -> float:
        return self.pages * self.page_s + 0.5


@dataclass(frozen=True)
class Design:
    """Which lock the transactions take that start and end a run: the lock of its spider, or of all writers (as on SQLite)."""

    name: str
    one_lock: bool = False


@dataclass(frozen=True)
class Day:
    """queue: the longest queue of waiting runs. waits_s: how long a run waited: median, p99, longest. starts_peak, starts_mean: a second."""

    queue: float
    waits_s: tuple[float, float, float]
    starts_mean: float
    starts_peak: float
    running_peak: float
    left: float


def arrivals(load: Load, dice: random.Random) -> list[float]:
    """Return how many slots become due in each second of the day."""
    due = [0.0] * DAY_S
    hourly, daily = load.spiders * HOURLY_SHARE, load.spiders * (1 - HOURLY_SHARE)
    for second in range(DAY_S):
        due[second] += hourly / 2 / 3600 + 0.4 * daily / DAY_S
    width = max(1, int(load.jitter_s))
    for hour in range(24):
        burst = hourly / 2 + (0.6 * daily / 5 if 5 <= hour < 10 else 0.0)
        for second in range(hour * 3600, hour * 3600 + width):
            due[second % DAY_S] += burst / width
    return [max(0.0, dice.gauss(mean, math.sqrt(mean))) for mean in due]


def durations(mean_s: float) -> list[tuple[int, float]]:
    """Return a log-normal distribution of the durations of runs (sigma 1): pairs of seconds and probability."""
    mu = math.log(mean_s) - 0.5
    edges = [mean_s * 20 * (step / BUCKETS)**3 for step in range(1, BUCKETS + 1)]
    found, before = [], 0.0
    for low, high in zip([0.0, *edges], edges, strict=False):
        share = 0.5 * (1 + math.erf((math.log(high) - mu) / math.sqrt(2)))
        found.append((max(1, round((low + high) / 2)), share - before))
        before = share
    return [(seconds, share / before) for seconds, share in found]


def lock_s(load: Load, costs: UnitCosts, design: Design) -> float:
    """Return how long the lock of all writers is held, or waits for page commits, for one run: for its claim, its start and its end.

    An exclusive transaction waits until the last of the n page commits in progress has ended: for n / (n + 1) of a commit.
    """
    calls = costs.calls
    claim = calls["claim"].lock_s
    if not design.one_lock:
        return claim
    commits = load.runs_a_day / DAY_S * load.pages * calls["page"].lock_s
    return claim + calls["start"].lock_s + calls["end"].lock_s + 2 * calls["page"].lock_s * commits / (commits + 1)


def simulate(load: Load, costs: UnitCosts, design: Design, seed: int) -> Day:
    """Go through a day, second by second."""
    due, spread = arrivals(load, random.Random(seed)), durations(load.run_s)
    rate = 1.0 / lock_s(load, costs, design)
    ends = [0.0] * (DAY_S + spread[-1][0] + 1)
    queue = running = longest = peak = 0.0
    came, went, starts = [0.0], [0.0], []
    for second in range(DAY_S):
        running -= ends[second]
        queue += due[second]
        started = min(queue, load.slots - running, rate)
        queue -= started
        running += started
        for seconds, share in spread:
            ends[second + seconds] += started * share
        longest, peak = max(longest, queue), max(peak, running)
        came.append(came[-1] + due[second])
        went.append(went[-1] + started)
        starts.append(started)
    quarters = [sum(starts[at:at + QUARTER_S]) / QUARTER_S for at in range(0, DAY_S, QUARTER_S)]
    return Day(longest, _waits(came, went), sum(starts) / DAY_S, max(quarters), peak, queue)


def _waits(came: list[float], went: list[float]) -> tuple[float, float, float]:
    """Return how long runs waited (median, p99, longest). came, went: how many were due and started up to each second, the oldest first."""
    found, at = [], 0
    for number in range(1, 2001):
        nth = came[-1] * number / 2001
        while came[at] < nth:
            at += 1
        begun = at
        while begun < len(went) and went[begun] < nth:
            begun += 1
        found.append(float(begun - at))
    found.sort()
    return found[1000], found[1980], found[-1]


# What each part has to do


@dataclass(frozen=True)
class Part:
    """One part of the cluster. used, at_peak: of what it can do. what: the figures behind it."""

    name: str
    used: float
    at_peak: float
    what: str
    then: str


def parts(load: Load, costs: UnitCosts, scheduler: SchedulerCost, given: argparse.Namespace) -> list[Part]:
    """Return the parts of the cluster, the one that breaks first at the top."""
    calls, mean, peak = costs.calls, load.runs_a_day / DAY_S, _busiest(load, given.seed)
    reports = load.nodes / REPORT_EVERY_S
    report_s, report_wal = calls["node report"].server_s * reports, calls["node report"].wal_bytes * reports
    server_s = run_cost(costs, load, lambda cost: cost.server_s)
    wal = run_cost(costs, load, lambda cost: cost.wal_bytes)
    locked_s = lock_s(load, costs, Design(""))
    spider_bytes, times = scheduler.settings_bytes / scheduler.schedules, load.spiders / scheduler.schedules
    memory = (scheduler.settings_bytes + scheduler.plan_bytes) * times
    start_s = (scheduler.load_s + scheduler.plan_s + scheduler.jobs_s) * times
    own, of_runs = given.connections[0] * load.nodes, given.connections[1]

    def used(demand: float) -> float:
        """Return how many runs are in progress if so many start in a second."""
        return min(demand * load.run_s, load.slots)

    found = [
        Part("connections to PostgreSQL", (own + of_runs * used(mean)) / given.max_connections, (own + of_runs * used(peak)) / given.max_connections,
             f"{given.connections[0]} of each process and {of_runs} of each run; {given.max_connections} are sensible for one server",
             "fewer and larger workers (--concurrency); a pooler in session mode saves nothing, and one in transaction mode breaks LISTEN and the "
             "lock of the leader, so only the processes of runs could use it, which would need a setting of their own"),
        Part("memory of the settings in each worker", spider_bytes * load.spiders / given.node_bytes, spider_bytes * load.spiders / given.node_bytes,
             f"{spider_bytes / 1e3:.1f} kB for a spider, {spider_bytes * load.spiders / 1e9:.1f} GB in each process; a node has {given.node_bytes / 1e9:.0f} GB",
             "a settings file for each group of spiders, with its queue, its workers and, above a few hundred thousand spiders, its own database"),
        Part("memory of the scheduler", memory / given.scheduler_bytes, memory / given.scheduler_bytes,
             f"{memory / 1e9:.1f} GB; it has {given.scheduler_bytes / 1e9:.0f} GB", "the same"),
        Part("start of the scheduler", start_s / 60, start_s / 60, f"{start_s:.0f} s to read the settings and to plan; a minute is acceptable for one that takes "
             "over without having planned", "the same; a second `serve` has planned already when it takes over"),
        Part("status", scheduler.status_s * times / 5, scheduler.status_s * times / 5,
             f"{scheduler.status_s * times:.0f} s of CPU for one answer with all spiders; 5 s are acceptable", "the same; metrics of groups instead of spiders"),
        Part("write lock", mean * locked_s, peak * locked_s, f"{locked_s * 1e3:.2f} ms for a claim in a batch: {1 / locked_s:.0f} runs/s at most",
             "larger batches; a database for each group of spiders"),
        Part("CPU of PostgreSQL", (mean * server_s + report_s) / given.database_cores, (peak * server_s + report_s) / given.database_cores,
             f"{server_s * 1e3:.0f} ms for a run of {load.pages:.0f} pages, {report_s:.2f} cores for node reports; {given.database_cores} cores", "a larger server"),
        Part("log of PostgreSQL (WAL)", (mean * wal + report_wal) / given.wal_bytes_s, (peak * wal + report_wal) / given.wal_bytes_s,
             f"{wal / 1e3:.0f} kB for a run: {(load.runs_a_day * wal + report_wal * DAY_S) / 1e9:.0f} GB a day", "faster disks; wal_compression"),
        Part("node reports", report_s / 0.2, report_s / 0.2, f"{reports:.0f} a second, {calls['node report'].server_s * 1e3:.2f} ms of CPU each; a fifth of a core "
             "is acceptable", "reports every 15 s"),
        Part("workers", mean * load.run_s / load.slots, peak * load.run_s / load.slots,
             f"{load.slots} runs at the same time; {mean * load.run_s:.0f} in the mean and {peak * load.run_s:.0f} at the peak are needed", "more nodes, or more jitter"),
    ]
    return sorted(found, key=lambda part: -part.at_peak)


def _busiest(load: Load, seed: int) -> float:
    """Return how many slots become due in a second of the busiest quarter of an hour."""
    due = arrivals(load, random.Random(seed))
    return max(sum(due[at:at + QUARTER_S]) / QUARTER_S for at in range(0, DAY_S, QUARTER_S))


def run_cost(costs: UnitCosts, load: Load, what: Callable[[Cost], float]) -> float:
    """Return the sum of a cost over all calls of one run."""
    calls = costs.calls
    return (what(calls["claim"]) + what(calls["job"]) + what(calls["start"]) + what(calls["end"]) + load.pages * what(calls["page"])
            + load.run_s / PROGRESS_EVERY_S * what(calls["progress"]))


def rows(load: Load, costs: UnitCosts) -> str:
    runs = load.runs_a_day
    a_day = runs * (costs.bytes_a_run + load.pages * costs.bytes_a_page)
    kept = load.spiders * (KEPT_RUNS * (costs.bytes_a_run + load.pages * costs.bytes_a_page) + load.pages * ITEMS_A_PAGE * costs.bytes_an_item)
    return (f"rows: {runs / 1e6:.1f} million runs and {runs * load.pages / 1e6:.0f} million pages a day, {a_day / 1e9:.0f} GB; with {KEPT_RUNS} runs of "
            f"each spider kept, the database has {kept / 1e12:.1f} TB, and retention deletes as many rows as are added "
            f"({runs * (2 * load.pages + 3) / DAY_S:.0f} a second)")


def cost(load: Load, costs: UnitCosts, given: argparse.Namespace) -> str:
    client_s = run_cost(costs, load, lambda each: each.client_s) + PROCESS_S + load.pages * PAGE_S
    cores = load.runs_a_day * client_s / DAY_S
    price = (load.nodes + given.database_cores) * given.usd_core
    return (f"cost: the runs need {cores:.0f} cores in the mean; {load.nodes} nodes of one core and a database with {given.database_cores} are "
            f"{price:.0f} USD a month at {given.usd_core:.0f} USD for a core, {1e3 * price / 30 / load.runs_a_day:.3f} USD for 1,000 runs")


def told(day: Day) -> str:
    median, p99, longest = day.waits_s
    return (f"{day.starts_mean:.0f} starts a second in the mean, {day.starts_peak:.0f} in the busiest quarter; longest queue {day.queue:,.0f} runs; wait: "
            f"median {median:.0f} s, p99 {p99:.0f} s, longest {longest:.0f} s; at most {day.running_peak:,.0f} runs at once"
            + (f"; {day.left:,.0f} never started" if day.left > 1 else ""))


def print_costs(costs: UnitCosts, scheduler: Iterable[SchedulerCost]) -> None:
    for name, each in costs.calls.items():
        print(f"  {name:18} {each.lock_s * 1e3:6.2f} ms{' exclusive' if each.exclusive else '':10}  CPU: program {each.client_s * 1e3:5.2f} ms, "
              f"PostgreSQL {each.server_s * 1e3:5.2f} ms; WAL {each.wal_bytes / 1e3:5.1f} kB")
    print(f"  stored: {costs.bytes_a_run / 1e3:.1f} kB for a run, {costs.bytes_a_page / 1e3:.2f} kB for a page, {costs.bytes_an_item / 1e3:.2f} kB for an item")
    for found in scheduler:
        print(f"  {found.schedules} schedules: settings read in {found.load_s:.1f} s, planned in {found.plan_s:.1f} s, jobs added in {found.jobs_s:.1f} s, "
              f"a status in {found.status_s:.1f} s; {found.settings_bytes / 1e6:.0f} MB of settings, {found.plan_bytes / 1e6:.0f} MB of plans")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spiders", type=int, default=1_000_000)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=8, help="runs at the same time on each node")
    parser.add_argument("--pages", type=float, default=20, help="of a run, in the mean")
    parser.add_argument("--page-s", type=float, default=1.5, help="from one page of a run to the next")
    parser.add_argument("--jitter-s", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sample", type=int, default=100, help="spiders of the measurement")
    parser.add_argument("--schedules", type=int, nargs="+", default=[20_000, 100_000], help="of the measurement of the scheduler")
    parser.add_argument("--connections", type=int, nargs=2, default=(8, 2), help="of one worker, and of each of its runs (pg_stat_activity)")
    parser.add_argument("--max-connections", type=int, default=1000)
    parser.add_argument("--node-bytes", type=float, default=2e9, help="memory of a node")
    parser.add_argument("--database-cores", type=int, default=32)
    parser.add_argument("--wal-bytes-s", type=float, default=200e6)
    parser.add_argument("--scheduler-bytes", type=float, default=8e9)
    parser.add_argument("--usd-core", type=float, default=15, help="price of one core with its memory for a month")
    given = parser.parse_args()
    began = time.monotonic()
    print("measured on this machine:", flush=True)
    costs = unit_costs(given.sample, 5, given.nodes)
    scheduler = [scheduler_cost(schedules) for schedules in given.schedules]
    print_costs(costs, scheduler)
    load = Load(given.spiders, given.nodes, given.concurrency, given.pages, given.page_s, given.jitter_s)
    print(f"{given.spiders:,} spiders, {given.nodes:,} nodes with {given.concurrency} runs each; {load.runs_a_day / 1e6:.1f} million runs a day of "
          f"{load.pages:.0f} pages and {load.run_s:.0f} s; seed {given.seed}")
    for design in (Design("as it is"), Design("if starts and ends took the lock of all writers", one_lock=True)):
        for jitter_s in (0.0, given.jitter_s):
            print(f"{design.name}, jitter {jitter_s:.0f} s: {told(simulate(replace(load, jitter_s=jitter_s), costs, design, given.seed))}")
    print(f"what breaks first (1.00: all of what it can do), in the mean and with the demand of the busiest quarter of an hour, jitter {load.jitter_s:.0f} s:")
    for part in parts(load, costs, scheduler[-1], given):
        print(f"  {part.used:6.2f} {part.at_peak:6.2f}  {part.name}: {part.what}" + (f". Then: {part.then}" if part.at_peak > 0.7 else ""))
    print(rows(load, costs))
    print(cost(load, costs, given))
    print(f"in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
