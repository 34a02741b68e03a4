"""Ten thousand schedules in a running service, 50 slots a second, compared with APScheduler.

    python -m benchmarks.schedules

Goals: start under 2 s, slots claimed within 100 ms of their due time (p99), under 200 MB. A slot counts when another
process can see it in the database. Each spider is due every 200 s; the first of the run goes to a site that keeps
silent, so that the others wait: what is measured is the claims. APScheduler's jobs do nothing and store nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipeline.errors import HeartbeatError
from pipeline.heartbeat.client import HeartbeatClient
from pipeline.store import open_store
from pipeline.store.runs import slots
from tests.servers.ports import free_port
from tests.servers.program import Program

SCHEDULES = 10_000
A_SECOND = 50
LEAD_S = 8.0
"""From the start of the process to the first due time."""
SETTLE_S = 3.0
"""After the first answer the forkserver still loads Scrapy."""

PEER = """
import asyncio, json, sys, time
from datetime import UTC, datetime, timedelta
from apscheduler.schedulers.asyncio import AsyncIOScheduler
count, a_second, lead_s, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
began = time.time()
late = []
async def work(due):
    late.append(time.time() - due)
async def main():
    scheduler = AsyncIOScheduler(timezone=UTC)
    for number in range(count):
        due = began + lead_s + number / a_second
        scheduler.add_job(work, "interval", seconds=count / a_second, args=[due], misfire_grace_time=None,
                          next_run_time=datetime.fromtimestamp(due, UTC))
    scheduler.start()
    started = time.time() - began
    await asyncio.sleep(max(0, began + lead_s + seconds - time.time()))
    memory = int(open("/proc/self/statm").read().split()[1]) * 4096
    print(json.dumps({"start_s": started, "late_s": late, "memory_bytes": memory}))
asyncio.run(main())
"""


def prepared(folder: Path, url: str) -> Program:
    """A folder with the settings and a store that knows when each schedule was due last: each at a time of its own."""
    program = Program(folder, free_port())
    every_s = SCHEDULES // A_SECOND
    program.write("".join(f'[spiders.s{number}]\nstart = "{url}"\nrobots = false\nschedule = "every {every_s}s"\n'
                          for number in range(SCHEDULES)))
    settings = (folder / "settings.toml").read_text().replace("[pipeline]", "[pipeline]\nmax_runs = 1")
    (folder / "settings.toml").write_text(settings)
    return program


def plan(folder: Path, first: datetime) -> None:
    every = timedelta(seconds=SCHEDULES / A_SECOND)
    store = open_store(folder / "var")
    slots.begin_cursors(store, "spider", [
        (f"s{number}", f"every {SCHEDULES // A_SECOND}s", first + timedelta(seconds=number / A_SECOND) - every)
        for number in range(SCHEDULES)])
    store.close()


def ours(seconds: float) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as name, socket.create_server(("127.0.0.1", 0)) as silent:
        folder = Path(name)
        program = prepared(folder, f"http://127.0.0.1:{silent.getsockname()[1]}/")
        open_store(folder / "var").close()
        plan(folder, datetime.now(UTC) + timedelta(seconds=LEAD_S))
        began = time.monotonic()
        service = subprocess.Popen([sys.executable, "-m", "pipeline", "serve"], cwd=folder, stderr=subprocess.DEVNULL,
                                   env=program.variables())
        try:
            start_s = _answers(program) - began
            ticks = Path(f"/proc/{service.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
            settled = time.time() + SETTLE_S
            late = _watch(folder, settled, time.monotonic() + max(LEAD_S - start_s, SETTLE_S) + seconds)
            status = Path(f"/proc/{service.pid}/status").read_text()
        finally:
            service.terminate()
            service.wait(60)
    memory = {line.split()[0]: int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("Vm")}
    return {"start_s": start_s, "start_cpu_s": sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"), "late_s": late, "memory_bytes": memory["VmRSS:"], "peak_bytes": memory["VmHWM:"]}


def _answers(program: Program) -> float:
    while True:
        try:
            HeartbeatClient("127.0.0.1", program.port).ask("ping")
        except HeartbeatError:
            time.sleep(0.01)
        else:
            return time.monotonic()


def _watch(folder: Path, since: float, until: float) -> list[float]:
    """How late each slot that was due after `since` was when it could be seen."""
    late: list[float] = []
    newest = 0
    with sqlite3.connect(folder / "var" / "pipeline.sqlite3", isolation_level=None) as connection:
        while time.monotonic() < until:
            rows = connection.execute("SELECT id, due_at FROM slots WHERE id > ?", (newest,)).fetchall()
            now = time.time()
            late += [now - due_at / 1e6 for _, due_at in rows if due_at / 1e6 > since]
            newest = max((row[0] for row in rows), default=newest)
            time.sleep(0.005)
    return late


def apscheduler(seconds: float) -> dict[str, object]:
    done = subprocess.run([sys.executable, "-c", PEER, str(SCHEDULES), str(A_SECOND), str(LEAD_S), str(seconds)],
                          capture_output=True, text=True, check=True, timeout=300)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def told(name: str, found: dict[str, object]) -> str:
    late = sorted(value * 1000 for value in found["late_s"])  # type: ignore[attr-defined]
    p99 = late[int(len(late) * 0.99)]
    peak = f" (peak {found['peak_bytes'] / 1e6:.0f})" if "peak_bytes" in found else ""  # type: ignore[operator]
    cpu = f" (CPU {found['start_cpu_s']:.2f})" if "start_cpu_s" in found else ""
    return (f"  {name:<12} start {found['start_s']:.2f} s{cpu}, {len(late)} slots late by min {late[0]:.1f}, median "
            f"{statistics.median(late):.1f}, p99 {p99:.1f}, max {late[-1]:.1f} ms, {found['memory_bytes'] / 1e6:.0f} MB{peak}")  # type: ignore[operator]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    print(f"{SCHEDULES} schedules, {A_SECOND} slots a second (goals: start 2 s, p99 100 ms, 200 MB)")
    for _ in range(given.rounds):
        mine, peer = ours(given.seconds), apscheduler(given.seconds)
        print(told("ours", mine))
        print(told("APScheduler", peer))
        print(f"  ratio        start {mine['start_s'] / peer['start_s']:.2f}, "  # type: ignore[operator]
              f"memory {mine['memory_bytes'] / peer['memory_bytes']:.2f}", flush=True)  # type: ignore[operator]


if __name__ == "__main__":
    main()
