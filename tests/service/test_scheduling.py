"""Tests of the APScheduler jobs of a service, and of what APScheduler lacks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pipeline.schedule.claims import open_schedules
from pipeline.service.scheduling import Scheduling
from pipeline.settings import load
from pipeline.store import open_store

DEADLINE_S = 20.0


class Watched:
    """A scheduling whose calls set events. ahead_s: how far its clock was set."""

    def __init__(self) -> None:
        self.due, self.clock_set, self.failed = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.ahead_s = 0.0
        self.scheduling = Scheduling(on_due=self.due.set, on_clock=lambda seconds: self.clock_set.set(),
                                     on_failure=self.failed.set, now=lambda: datetime.now(UTC) + timedelta(seconds=self.ahead_s))
        self.scheduling.start()


def within_deadline(work: Callable[[Watched], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        watched = Watched()
        try:
            await asyncio.wait_for(work(watched), DEADLINE_S)
        finally:
            watched.scheduling.stop()
    asyncio.run(main())


def test_a_due_schedule_calls_back_and_is_planned_again_after_a_reload(tmp_path: Path) -> None:
    store = open_store(tmp_path / "data")

    async def work(watched: Watched) -> None:
        for every in ("1s", "2s"):
            (tmp_path / "settings.toml").write_text(
                f'[spiders.s]\nstart = "http://a.example/"\nschedule = ["every {every}", "0 0 29 2 *"]\n')
            plans = open_schedules(store, load(tmp_path / "settings.toml"), now=datetime.now(UTC))
            await asyncio.to_thread(watched.scheduling.plan, plans)
            for _ in range(2):
                watched.due.clear()
                await watched.due.wait()
    within_deadline(work)
    store.close()


def test_a_postponed_slot_is_checked_again() -> None:
    async def work(watched: Watched) -> None:
        watched.scheduling.look_again(datetime.now(UTC) + timedelta(hours=1))
        watched.scheduling.look_again(datetime.now(UTC) + timedelta(seconds=0.1))
        await watched.due.wait()
    within_deadline(work)


def test_interval_work_never_overlaps_and_continues_after_a_failure() -> None:
    async def work(watched: Watched) -> None:
        at_work, most, done = 0, 0, 0
        enough = asyncio.Event()

        async def once() -> None:
            nonlocal at_work, most, done
            at_work += 1
            most = max(most, at_work)
            await asyncio.sleep(0)
            at_work -= 1
            done += 1
            if done == 3:
                enough.set()
            raise RuntimeError("it fails each time")
        watched.scheduling.every(0.05, "failing", once, first_s=0.0)
        await enough.wait()
        await watched.failed.wait()
        assert most == 1
    within_deadline(work)


def test_its_jobs_and_their_late_and_skipped_starts_are_counted(tmp_path: Path) -> None:
    store = open_store(tmp_path / "data")
    (tmp_path / "settings.toml").write_text('[spiders.s]\nstart = "http://a.example/"\nschedule = ["0 0 29 2 *", "0 0 1 1 *"]\n')

    async def work(watched: Watched) -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def slow() -> None:
            begun.set()
            await go_on.wait()
        watched.scheduling.plan(open_schedules(store, load(tmp_path / "settings.toml"), now=datetime.now(UTC)))
        async def late() -> None:
            pass
        watched.scheduling.every(3600.0, "late work", late, first_s=-5.0)
        watched.scheduling.every(0.05, "slow work", slow, first_s=0.0)
        await begun.wait()
        while (jobs := watched.scheduling.jobs()).skipped < 2:  # APScheduler's own word that it was due meanwhile
            await asyncio.sleep(0)
        go_on.set()
        assert (jobs.schedules, jobs.late) == (2, 1)
        assert 5 <= jobs.longest_late_s < DEADLINE_S
        assert jobs.next_schedule_at is not None
        assert jobs.next_schedule_at > datetime.now(UTC)
        assert [(job.name, job.every_s) for job in jobs.intervals] == [("late work", 3600.0), ("slow work", 0.05)]
    within_deadline(work)
    store.close()


def test_a_clock_that_is_set_back_does_not_delay_interval_work() -> None:
    async def work(watched: Watched) -> None:
        again = asyncio.Event()

        async def once() -> None:
            again.set()
        watched.scheduling.every(2.0, "work", once, first_s=3600.0)  # as if the clock had been an hour ahead
        watched.ahead_s = -3600.0
        await watched.clock_set.wait()
        watched.ahead_s = 0.0
        await again.wait()
    within_deadline(work)
