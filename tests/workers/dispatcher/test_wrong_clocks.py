"""Tests of the dispatcher on nodes whose clocks differ from the clock of the database server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo

import pytest

from pipeline.store.runs import leases, runs
from pipeline.workers.dispatcher import procrastinate, sweep
from tests.workers.dispatcher.conftest import World, until
from tests.workers.dispatcher.test_dispatchers import spiders
from tests.workers.dispatcher.test_procrastinate import lose_process_of_jobs, sql, swept_until

pytestmark = pytest.mark.needs("postgres")


def a_clock(wrong: timedelta) -> type[datetime]:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + wrong
    return Clock


def set_clock(world: World, patch: pytest.MonkeyPatch, wrong: timedelta) -> datetime:
    """Set the clock of the node of this process, and return its time."""
    for module in (procrastinate, sweep, leases):
        patch.setattr(module, "datetime", a_clock(wrong))
    return datetime.now(UTC) + wrong


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    yield monkeypatch
    monkeypatch.undo()


def test_a_node_whose_clock_is_behind_starts_a_retry_in_time_and_takes_its_job_once(shared: World, clock: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        shared.write(spiders("a"))
        shared.release.set()
        run = shared.due("a", not_before=datetime.now(UTC))
        set_clock(shared, clock, -timedelta(minutes=10))
        async with shared.dispatching():
            await until(lambda: shared.get(run).ended_at)
        assert sql(shared, "SELECT last_value FROM procrastinate_jobs_id_seq") == [(1,)]
    asyncio.run(main())


def test_a_leader_whose_clock_is_ahead_hands_out_the_job_of_a_killed_process_at_once(shared: World, clock: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        shared.write(spiders("a"))
        run = shared.due("a")
        lose_process_of_jobs(shared)
        shared.release.set()
        set_clock(shared, clock, timedelta(hours=1))
        async with shared.dispatching() as dispatcher:
            await swept_until(dispatcher, lambda: shared.get(run).ended_at)
    asyncio.run(main())


def test_a_run_that_was_given_back_waits_by_the_clock_of_the_server(shared: World, clock: pytest.MonkeyPatch) -> None:
    """Otherwise a node whose clock is behind takes the run again at once, and gives it back again, without end."""
    here = set_clock(shared, clock, -timedelta(hours=1))
    run = runs.start_run(shared.store, shared.due("a").id, owner="me", now=here, limit=1)
    assert run is not None
    runs.give_back(shared.store, run, now=here, wait=timedelta(seconds=10))
    not_before = shared.get(run).not_before
    assert not_before is not None
    assert timedelta(seconds=5) < not_before - datetime.now(UTC) < timedelta(seconds=15)


def test_a_clock_that_is_set_is_compared_again_at_once(shared: World, clock: pytest.MonkeyPatch) -> None:
    with shared.store.read() as connection:
        leases.shared_time(connection, datetime.now(UTC))
        ahead = set_clock(shared, clock, timedelta(hours=1))
        assert abs(leases.shared_time(connection, ahead) - datetime.now(UTC)) < timedelta(seconds=5)


def test_a_run_replaces_a_killed_run_when_a_process_without_the_database_would_have_ended(shared: World) -> None:
    first = runs.start_run(shared.store, shared.due("a").id, owner="elsewhere:1:x", now=datetime.now(UTC), limit=1)
    assert first is not None
    now = datetime.now(UTC)
    second = runs.claim_slot(shared.store, "a", "next", due_at=now, reason="schedule", now=now, overlap="kill")
    assert second is not None
    assert second.not_before is not None
    assert first.lease_until is not None
    assert second.not_before >= first.lease_until


def test_jobs_that_no_process_takes_are_deleted_when_their_work_is_done(shared: World) -> None:
    async def main() -> None:
        shared.write(spiders("a", "b") + '[cluster]\ndispatcher = "local"\n')
        shared.kind = "local"
        done, waiting = shared.due("a"), shared.due("b", not_before=datetime.now(UTC) + timedelta(hours=1))
        sql(shared, "INSERT INTO procrastinate_jobs (queue_name, task_name, args) VALUES ('pipeline:outbox', 'deliver', '{\"message_id\": 1}'), "
                    "('pipeline:digests', 'build_digest', '{\"digest_id\": 1}'), ('default', 'follow_run', '{\"run_id\": 99}')")
        shared.release.set()
        async with shared.dispatching() as dispatcher:
            await until(lambda: shared.get(done).ended_at)
            await dispatcher.sweep()
        assert sql(shared, "SELECT args FROM procrastinate_jobs") == [({"run_id": waiting.id},)]
    asyncio.run(main())
