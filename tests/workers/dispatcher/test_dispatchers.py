"""Tests that both dispatchers pass: which run starts, and when."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta

from pipeline.model import Outcome
from pipeline.settings import Settings
from pipeline.store.runs import host_pauses
from pipeline.workers.dispatcher import Capacity, open_dispatcher
from tests.workers.dispatcher.conftest import World, soon, until

SPIDER = """
[spiders.{name}]
start = "http://127.0.0.1:9/{name}"
schedule = "every 1h"
{more}
"""


def spiders(*names: str, more: str = "") -> str:
    return "".join(SPIDER.format(name=name, more=more) for name in names)


def test_a_run_starts_when_its_row_is_committed_and_ends_once(world: World) -> None:
    async def main() -> None:
        world.write(spiders("a", "b"))
        world.release.set()
        early = world.due("a")
        async with world.dispatching():
            await until(lambda: world.get(early).ended_at)
            late = await asyncio.to_thread(world.due, "b")
            await until(lambda: world.get(late).ended_at)
            assert world.performed == [early.id, late.id]
            assert world.get(late).attempt == 1
    asyncio.run(main())


def test_a_spider_has_one_run_in_progress_and_the_next_one_starts_at_its_end(world: World) -> None:
    async def main() -> None:
        world.write(spiders("a"))
        async with world.dispatching():
            first = world.due("a")
            await until(lambda: world.performed)
            second = await asyncio.to_thread(world.due, "a")
            other = await asyncio.to_thread(world.due, "b")
            await until(lambda: other.id in world.performed)
            assert second.id not in world.performed
            world.release.set()
            await until(lambda: world.get(second).ended_at)
            assert world.performed == [first.id, other.id, second.id]
    asyncio.run(main())


def test_no_more_runs_are_in_progress_than_the_concurrency(world: World) -> None:
    async def main() -> None:
        names = [f"s{number}" for number in range(6)]
        world.write(spiders(*names))
        waiting = [world.due(name) for name in names]
        async with world.dispatching(concurrency=2):
            await until(lambda: len(world.performed) == 2)
            world.release.set()
            await until(lambda: all(world.get(run).ended_at for run in waiting))
        assert world.most_at_once == 2
    asyncio.run(main())


def test_a_run_waits_for_its_time_for_quiet_hours_and_for_a_paused_host(world: World) -> None:
    async def main() -> None:
        now = datetime.now(UTC)
        quiet = f'quiet = ["{now - timedelta(hours=1):%H:%M}-{now + timedelta(hours=2):%H:%M}"]'
        elsewhere = (spiders("later", "free") + spiders("quiet", more=quiet)).replace(":9/", ":10/")
        world.write(elsewhere + spiders("paused"))
        host_pauses.pause_host(world.store, "127.0.0.1:9", until=soon(3600), spider="paused", now=now)
        world.release.set()
        later = world.due("later", not_before=soon(1.0))
        held = [world.due("paused"), world.due("quiet")]
        free = world.due("free")
        async with world.dispatching():
            await until(lambda: world.get(free).ended_at)
            await until(lambda: world.get(later).ended_at)
            assert (world.get(later).started_at or now) >= (world.get(later).not_before or now)
            assert [world.get(run).started_at for run in held] == [None, None]
    asyncio.run(main())


def test_a_dispatcher_that_is_stopped_starts_nothing_more_and_waits_for_its_runs(world: World) -> None:
    async def main() -> None:
        world.write(spiders("a", "b"))
        first = world.due("a")
        async with world.dispatching(concurrency=1) as dispatcher:  # so that it does not just start `second` when it is stopped
            await until(lambda: world.performed)
            dispatcher.stop()
            second = await asyncio.to_thread(world.due, "b")
            assert dispatcher.busy
        assert world.get(first).outcome is Outcome.SUCCEEDED
        assert world.get(second).started_at is None
        assert not dispatcher.busy
    asyncio.run(main())


def test_a_run_that_is_about_to_start_when_the_dispatcher_is_stopped_stays_waiting(world: World) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        settings = world.write(spiders("a"))
        run = world.due("a")
        stopped = asyncio.Event()

        async def stop() -> None:
            dispatcher.stop()
            stopped.set()

        def settings_of_the_start() -> Settings:
            if in_thread():  # asked just before the run is started
                asyncio.run_coroutine_threadsafe(stop(), loop).result(20)
            return settings

        def in_thread() -> bool:
            return threading.current_thread() is not threading.main_thread()

        dispatcher = open_dispatcher(world.store, Capacity(settings_of_the_start), world.work())
        async with asyncio.timeout(20):
            await dispatcher.run()
        assert stopped.is_set()
        assert (world.performed, world.get(run).started_at) == ([], None)
    asyncio.run(main())
