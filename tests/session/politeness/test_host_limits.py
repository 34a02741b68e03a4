"""Host limits: processes share the delay and the concurrency of a host."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from pipeline.session.politeness.host_limits import HostBudget, HostLimits

NewLimits = Callable[[], HostLimits]

VISITORS = """
import asyncio, os, sys, time
from pathlib import Path
from pipeline.session.politeness.host_limits import HostBudget

async def visit(budget):
    for _ in range(4):
        async with budget.turn("http://a.example/"):
            os.write(1, f"{time.monotonic()}\\n".encode())

parent = os.getpid()
os.write(1, f"{time.monotonic()}\\n".encode())
for _ in range(3):
    if os.getpid() == parent and os.fork() == 0:
        asyncio.run(visit(HostBudget(Path(sys.argv[1]), delay_s=0.1)))
if os.getpid() == parent:
    assert [os.wait()[1] for _ in range(3)] == [0] * 3
"""


def test_processes_share_the_delay_of_a_host(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", VISITORS, str(tmp_path)], capture_output=True, text=True, timeout=60,
                          check=True)
    began, *times = sorted(map(float, done.stdout.split()))
    assert len(times) == 12
    assert all(at >= began + number * 0.1 - 0.001 for number, at in enumerate(times))


def test_runs_share_the_concurrency_of_a_host_and_free_their_permits(new_limits: NewLimits) -> None:
    async def work() -> int:
        budgets = [HostBudget(new_limits(), concurrency=2) for _ in range(3)]
        inside = most = 0

        async def visit(budget: HostBudget) -> None:
            nonlocal inside, most
            async with budget.turn("http://a.example/"):
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0.01)
                inside -= 1
        await asyncio.gather(*(visit(budget) for budget in budgets * 4))
        async with asyncio.timeout(20), budgets[0].turn("http://a.example/"), budgets[1].turn("http://b.example/"):
            return most
    assert asyncio.run(work()) == 2


def test_files_count_towards_the_concurrency_of_a_host_and_leave_one_permit_to_pages(new_limits: NewLimits) -> None:
    first, second = (HostBudget(new_limits(), concurrency=3) for _ in range(2))
    url, never, at_once = "http://a.example/f", threading.Event(), threading.Event()
    at_once.set()

    async def visit(budget: HostBudget, within_s: float = 20) -> None:
        async with asyncio.timeout(within_s), budget.turn(url):
            pass
    with first.permit_for_file(url, never), second.permit_for_file(url, never):
        asyncio.run(visit(first))
        with ExitStack() as pages:
            holding = asyncio.new_event_loop()
            pages.callback(holding.close)
            page = first.turn(url)
            holding.run_until_complete(page.__aenter__())
            with pytest.raises(TimeoutError):
                asyncio.run(visit(second, 0.2))
            with second.permit_for_file(url, at_once):  # a stop does not wait for a place
                pass
            holding.run_until_complete(page.__aexit__(None, None, None))
        asyncio.run(visit(second))


def test_a_request_time_stored_before_a_reboot_delays_no_request(tmp_path: Path) -> None:
    budget = HostBudget(tmp_path, delay_s=0.05)
    budget.wait("http://a.example/")
    (path,) = tmp_path.glob("*.turn")
    path.write_text("another-boot 99999999999")
    began = time.monotonic()
    budget.wait("http://a.example/")
    assert time.monotonic() - began < 30  # the stored time is years ahead
    path.write_text("nonsense")
    budget.wait("http://a.example/")


def test_requests_and_downloads_of_several_runs_share_the_delay_of_a_host(new_limits: NewLimits) -> None:
    budgets = [HostBudget(new_limits(), delay_s=0.05) for _ in range(3)]
    times: list[float] = []

    async def visit(budget: HostBudget) -> None:
        for _ in range(2):
            async with budget.turn("http://a.example/"):
                times.append(time.monotonic())
            await asyncio.to_thread(budget.wait, "http://a.example/f")
            times.append(time.monotonic())

    async def work() -> None:
        await asyncio.gather(*map(visit, budgets))
    asyncio.run(work())
    assert len(times) == 12
    assert max(times) - min(times) >= 10.5 * 0.05
