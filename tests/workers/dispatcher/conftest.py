"""A dispatcher with a store of its own, whose runs end as soon as a test allows it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.model import Outcome, Run
from pipeline.settings import Settings, load
from pipeline.store.database.schema import runs as runs_table
from pipeline.store.from_settings import open_store_of
from pipeline.store.runs import runs
from pipeline.workers.dispatcher import Capacity, Dispatcher, Work, open_dispatcher

HEAD = """
[pipeline]
data_dir = "{data}"
timezone = "UTC"
{more}
"""


class World:
    """A store, and dispatchers that perform its runs with `perform`. durations_s: how long the runs of a spider take, by its name."""

    def __init__(self, folder: Path, kind: str, database: str | None) -> None:
        self.folder = folder
        self.kind = kind
        self._database = f'database = "{database}"\n' if database else ""
        self.settings = self.write("")
        self.store = open_store_of(self.settings)
        if kind == "procrastinate":
            from pipeline.workers.dispatcher.tables import prepare_tables
            prepare_tables(self.store)
        self.performed: list[int] = []
        self.began_s: dict[int, float] = {}
        self.stopped: list[int] = []
        self.at_once = 0
        self.most_at_once = 0
        self.release = asyncio.Event()

    def write(self, spiders: str, more: str = "") -> Settings:
        """Use these settings from now on. spiders: tables; more: lines of [pipeline]."""
        file = self.folder / "settings.toml"
        file.write_text(HEAD.format(data=self.folder / "var", more=self._database + more) + spiders)
        self.settings = load(file)
        return self.settings

    def due(self, spider: str, *, reason: str = "schedule", key: str | None = None, **values: Any) -> Run:
        """Create a waiting run."""
        now = datetime.now(UTC)
        run = runs.claim_slot(self.store, spider, key or f"{reason} {now.isoformat()}", due_at=now, reason=reason, now=now, overlap="queue")
        assert run is not None
        if values:
            with self.store.write() as connection:
                connection.execute(runs_table.update().where(runs_table.c.id == run.id).values(**values))
        return run

    def get(self, run: Run) -> Run:
        found = runs.get_run(self.store, run.id)
        assert found is not None
        return found

    async def perform(self, run: Run) -> None:
        """End the run after `release` was set."""
        self.began_s[run.id] = time.monotonic()
        self.performed.append(run.id)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.release.wait()
        await asyncio.to_thread(runs.end_run, self.store, run, runs.Ending(Outcome.SUCCEEDED, complete=True), None, now=datetime.now(UTC))
        self.at_once -= 1

    def work(self) -> Work:
        return Work(self.perform, self._stop_run)

    def _stop_run(self, run_id: int) -> None:
        self.stopped.append(run_id)
        self.release.set()

    @asynccontextmanager
    async def dispatching(self, work: Work | None = None, **capacity: Any) -> AsyncIterator[Dispatcher]:
        """Run a dispatcher within the `with` block, and end its runs afterwards."""
        dispatcher = open_dispatcher(self.store, Capacity(lambda: self.settings, **capacity), work or self.work())
        running = asyncio.create_task(dispatcher.run())
        waking = asyncio.create_task(self._wake(dispatcher)) if self.kind == "local" else None
        try:
            yield dispatcher
        finally:
            if waking is not None:
                waking.cancel()
            dispatcher.stop()
            self.release.set()
            await asyncio.wait_for(running, 30)

    @staticmethod
    async def _wake(dispatcher: Dispatcher) -> None:
        """Nobody else wakes a local dispatcher in these tests."""
        while True:
            await asyncio.sleep(0.05)
            dispatcher.wake()


async def until(question: Callable[[], object], within_s: float = 20.0) -> None:
    """Wait until the question is answered with yes, in a thread, as it may ask the store."""
    deadline = time.monotonic() + within_s
    while not await asyncio.to_thread(question):
        assert time.monotonic() < deadline, f"not within {within_s} s"
        await asyncio.sleep(0.02)


def soon(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def _database(request: pytest.FixtureRequest) -> str:
    """The URL of a new database with the tables."""
    url: str = request.getfixturevalue("postgres").new_database(request.getfixturevalue("migrated"))
    return url


@pytest.fixture(params=["local", pytest.param("procrastinate", marks=pytest.mark.needs("postgres"))])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """The local dispatcher on SQLite, and procrastinate on PostgreSQL."""
    found = World(tmp_path, request.param, _database(request) if request.param == "procrastinate" else None)
    yield found
    found.store.close()


@pytest.fixture
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """procrastinate on PostgreSQL."""
    found = World(tmp_path, "procrastinate", _database(request))
    yield found
    found.store.close()
