"""Tests of the dispatcher on procrastinate.

Lost and doubled jobs, killed processes, stops, a restarted database, its tables.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.errors import SettingsError, StoreError
from pipeline.model import DraftMessage, Outcome
from pipeline.settings import load
from pipeline.store import open_store
from pipeline.store.mail import digests, outbox
from pipeline.store.runs import jobs, runs, slots
from pipeline.store.runs.stop_requests import request_stop
from pipeline.workers.dispatcher import Capacity, Dispatcher, Work, open_dispatcher, procrastinate
from pipeline.workers.dispatcher.aborts import abort_jobs
from pipeline.workers.dispatcher.procrastinate import STALLED_S
from pipeline.workers.dispatcher.tables import prepare_tables
from tests.servers.postgres import Postgres
from tests.workers.dispatcher.conftest import World, until
from tests.workers.dispatcher.test_dispatchers import spiders

pytestmark = pytest.mark.needs("postgres")

STRUCTURE = """
    SELECT table_name || '.' || column_name || ' ' || data_type || coalesce(column_default, '') FROM information_schema.columns
    WHERE table_name LIKE 'procrastinate%%' UNION SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname LIKE 'procrastinate%%'
    UNION SELECT indexdef FROM pg_indexes WHERE tablename LIKE 'procrastinate%%' ORDER BY 1"""


def sql(world: World, statement: str) -> list[tuple[object, ...]]:
    with world.store.write() as connection:
        found = connection.exec_driver_sql(statement)
        return [tuple(row) for row in found] if found.returns_rows else []


def lose_process_of_jobs(world: World) -> None:
    """Make all jobs look as if a process had taken them and was killed a minute ago."""
    sql(world, "WITH gone AS (INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - interval '1 minute') RETURNING id) "
               "UPDATE procrastinate_jobs SET status = 'doing', worker_id = gone.id FROM gone")


async def swept_until(dispatcher: Dispatcher, question: Callable[[], object]) -> None:
    """Sweep as the leader does, until the question is answered with yes."""
    sweeping = asyncio.create_task(_sweep(dispatcher))
    await until(question)
    sweeping.cancel()


async def _sweep(dispatcher: Dispatcher) -> None:
    while True:
        await dispatcher.sweep()
        await asyncio.sleep(0.2)


def jobs_of(world: World) -> list[tuple[object, ...]]:
    return sql(world, "SELECT task_name, queue_name, args, status, lock, priority FROM procrastinate_jobs ORDER BY id")


def test_a_job_carries_an_id_and_has_the_queue_the_lock_and_the_priority_of_its_run(shared: World) -> None:
    shared.write(spiders("a", more='queue = "eu"'))
    shared.store.use_queues({"a": "eu"})
    run, manual = shared.due("a"), shared.due("b", reason="manual")
    assert jobs_of(shared) == [
        ("perform_run", "eu", {"run_id": run.id}, "todo", "spider:a", 0),
        ("perform_run", "default", {"run_id": manual.id}, "todo", "spider:b", jobs.MANUAL_PRIORITY)]
    assert (shared.get(run).queue, shared.get(manual).queue) == ("eu", "default")


def test_a_job_has_a_queue_with_the_longest_name_that_the_settings_allow(shared: World) -> None:
    longest = "q" * 40
    shared.write(spiders("a", more=f'queue = "{longest}"'))
    shared.store.use_queues({"a": longest})
    shared.due("a")
    assert [job[1] for job in jobs_of(shared)] == [longest]
    with pytest.raises(SettingsError):
        shared.write(spiders("a", more=f'queue = "{longest}q"'))


def test_the_jobs_of_many_slots_that_are_due_together_are_deferred_in_one_statement(shared: World) -> None:
    now = datetime.now(UTC)
    claimed = slots.claim_due(shared.store, [slots.SlotClaim(name, "k", now, "schedule") for name in "abc"], now=now)
    assert [job[2] for job in jobs_of(shared)] == [{"run_id": run.id} for run in claimed]
    assert [job[4] for job in jobs_of(shared)] == ["spider:a", "spider:b", "spider:c"]


def test_a_job_that_fails_to_be_deferred_does_not_fail_the_transaction_of_its_run(shared: World, caplog: pytest.LogCaptureFixture) -> None:
    sql(shared, "ALTER TABLE procrastinate_jobs RENAME TO away")
    run = shared.due("a")
    assert shared.get(run).ended_at is None
    assert "could not be deferred, and will be deferred again" in caplog.text


def test_a_lost_job_is_deferred_again_and_a_doubled_job_performs_nothing(shared: World) -> None:
    async def main() -> None:
        shared.write(spiders("lost", "doubled"))
        lost = shared.due("lost")
        sql(shared, "DELETE FROM procrastinate_jobs")
        doubled = shared.due("doubled")
        sql(shared, "INSERT INTO procrastinate_jobs (queue_name, task_name, args) SELECT queue_name, task_name, args FROM procrastinate_jobs, "
                    "generate_series(1, 3)")
        shared.release.set()
        async with shared.dispatching() as dispatcher:
            await until(lambda: shared.get(doubled).ended_at)
            assert shared.get(lost).started_at is None
            await swept_until(dispatcher, lambda: shared.get(lost).ended_at)
            await until(lambda: not jobs_of(shared))
            assert shared.performed == [doubled.id, lost.id]
    asyncio.run(main())


def test_the_job_of_a_killed_process_is_handed_out_again(shared: World) -> None:
    async def main() -> None:
        shared.write(spiders("a"))
        run = shared.due("a")
        lose_process_of_jobs(shared)
        shared.release.set()
        async with shared.dispatching() as dispatcher:
            await swept_until(dispatcher, lambda: shared.get(run).ended_at)
        assert shared.performed == [run.id]
    asyncio.run(main())
    assert STALLED_S < 15


def test_a_job_comes_when_its_run_may_start_after_the_settings_or_a_pause_have_changed(shared: World) -> None:
    async def main() -> None:
        now = datetime.now(UTC)
        quiet = f'quiet = ["{now - timedelta(hours=1):%H:%M}-{now + timedelta(hours=2):%H:%M}"]'
        shared.write(spiders("a", more=quiet))
        run = shared.due("a")
        shared.release.set()
        async with shared.dispatching() as dispatcher:
            await until(lambda: sql(shared, "SELECT 1 FROM procrastinate_jobs WHERE scheduled_at > now() + interval '1 minute'"))
            await dispatcher.sweep()
            assert [job[3:5] for job in jobs_of(shared)] == [("todo", None)]  # a job that waits blocks no other job of its spider
            shared.write(spiders("a", more='queue = "eu"'))
            dispatcher.wake()
            await swept_until(dispatcher, lambda: shared.get(run).ended_at)
            assert shared.get(run).queue == "eu"
    asyncio.run(main())


def test_two_processes_share_the_runs_and_each_takes_only_those_of_its_queues(shared: World) -> None:
    async def main() -> None:
        tables = spiders("a", "b", "c") + spiders("x", "y", more='queue = "eu"')
        shared.write(tables)
        shared.store.use_queues({"x": "eu", "y": "eu"})
        everywhere = [shared.due(name) for name in "abcxy"]
        other = World(shared.folder, "procrastinate", shared.store.engine.url.render_as_string(hide_password=False))
        other.write(tables)
        for each in (shared, other):
            each.release.set()
        async with shared.dispatching(queues=("default",)), other.dispatching(queues=("eu",)):
            await until(lambda: all(shared.get(run).ended_at for run in everywhere))
        assert {run.id for run in everywhere[:3]} == set(shared.performed)
        assert {run.id for run in everywhere[3:]} == set(other.performed)
        other.store.close()
    asyncio.run(main())


def test_a_stop_reaches_the_process_that_performs_the_run_at_once(shared: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(procrastinate, "POLL_S", 600.0)  # nobody polls: the notification reaches it

    async def main() -> None:
        shared.write(spiders("a"))
        async with shared.dispatching():
            run = await asyncio.to_thread(shared.due, "a")
            await until(lambda: shared.performed)
            found = await asyncio.to_thread(request_stop, shared.store, run_id=run.id, now=datetime.now(UTC))
            await asyncio.to_thread(abort_jobs, shared.store, found)
            await until(lambda: shared.stopped == [run.id])
            await until(lambda: shared.get(run).ended_at)
    asyncio.run(main())


def test_a_process_survives_a_restart_of_the_database_and_keeps_its_run(postgres: Postgres, shared: World) -> None:
    async def main() -> None:
        shared.write(spiders("a", "b"))
        async with shared.dispatching() as dispatcher:
            first = await asyncio.to_thread(shared.due, "a")
            await until(lambda: shared.performed)
            postgres.crash()
            await asyncio.to_thread(postgres.start)
            second = await asyncio.to_thread(shared.due, "b")
            await until(lambda: second.id in shared.performed)
            assert dispatcher.busy
            shared.release.set()
            await until(lambda: shared.get(first).ended_at and shared.get(second).ended_at)
            assert shared.performed == [first.id, second.id]
    asyncio.run(main())


def test_a_claimed_digest_is_built_and_a_message_delivered_by_the_jobs_of_any_process(shared: World) -> None:
    async def main() -> None:
        built, woken = list[int](), asyncio.Event()

        async def build(digest_id: int) -> None:
            claim = await asyncio.to_thread(digests.take_oldest, shared.store, digest_id, owner="worker", now=datetime.now(UTC))
            assert claim is not None
            built.append(claim.id)
            await asyncio.to_thread(digests.close, shared.store, claim.id, [draft], owner="worker", now=datetime.now(UTC))

        draft = DraftMessage(message_id="<1@here>", subject="s", sender="a@b", file_key="messages/1.eml", size_bytes=1, recipients=("c@d",))
        ended = shared.due("a")
        leased = runs.start_run(shared.store, ended.id, owner="me", now=datetime.now(UTC), limit=1)
        assert leased is not None
        runs.end_run(shared.store, leased, runs.Ending(Outcome.SUCCEEDED), None, now=datetime.now(UTC))
        claim = digests.claim(shared.store, "d", ["a"], "k", owner=None, now=datetime.now(UTC))
        assert claim is not None
        async with shared.dispatching(Work(build_digest=build, deliver=woken.set)):
            await asyncio.wait_for(woken.wait(), 20)
        assert built == [claim.id]
        assert outbox.next_due(shared.store) is not None
        assert ended.id not in shared.performed
    asyncio.run(main())


def test_two_jobs_of_one_digest_in_one_process_do_not_build_the_same_claim(shared: World) -> None:
    """A job that waited for its time has no lock, so the job of a newer claim may be in progress at the same time."""
    now = datetime.now(UTC)
    ended = runs.start_run(shared.store, shared.due("a").id, owner="me", now=now, limit=1)
    assert ended is not None
    runs.end_run(shared.store, ended, runs.Ending(Outcome.SUCCEEDED), None, now=now)
    older, newer = (digests.claim(shared.store, "d", ["a"], key, owner=None, now=now, scheduled=True, even_empty=True) for key in "12")
    assert older is not None
    assert newer is not None
    taken = digests.take_oldest(shared.store, newer.id, owner="here", now=now)
    assert taken is not None
    assert taken.id == older.id
    assert digests.take_oldest(shared.store, older.id, owner="here", now=now) is None
    digests.give_back(shared.store, taken, owner="here", until=now)
    again = digests.take_oldest(shared.store, older.id, owner="here", now=now)
    assert again is not None
    assert again.id == older.id


def test_a_stop_of_a_run_whose_process_has_died_lets_the_next_run_of_the_spider_start(shared: World) -> None:
    async def main() -> None:
        shared.write(spiders("a"))
        machine, _, rest = shared.store.owner.split(":")
        dead = runs.start_run(shared.store, shared.due("a").id, owner=f"{machine}:4194300.1:{rest}", now=datetime.now(UTC), limit=1)
        assert dead is not None
        shared.due("a", key="next")
        sql(shared, "DELETE FROM procrastinate_jobs")
        assert [run.outcome for run in request_stop(shared.store, run_id=dead.id, now=datetime.now(UTC))] == [Outcome.STOPPED]
        shared.release.set()
        async with shared.dispatching():
            await until(lambda: shared.performed)
    asyncio.run(main())


# Tables


def test_the_tables_are_upgraded_with_the_scripts_of_procrastinate_and_a_newer_version_is_refused(postgres: Postgres, tmp_path: Path) -> None:
    from procrastinate.schema import SchemaManager
    new, old = (open_store(tmp_path / name, postgres.new_database()) for name in ("new", "old"))
    first = min(Path(SchemaManager.get_migrations_path()).glob("*.sql"))
    with old.write() as connection:
        connection.exec_driver_sql(first.read_text(), execution_options={"no_parameters": True})
        connection.exec_driver_sql(f"COMMENT ON TABLE procrastinate_jobs IS 'crawl-to-inbox: {first.stem}'")
    for store in (new, old, old):
        prepare_tables(store)
    with new.read() as one, old.read() as other:
        assert one.exec_driver_sql(STRUCTURE).all() == other.exec_driver_sql(STRUCTURE).all()
    for comment, message in (("crawl-to-inbox: 99.00.00_01_pre_x", "a newer version of procrastinate"), ("", "another program has created")):
        with old.write() as connection:
            connection.exec_driver_sql(f"COMMENT ON TABLE procrastinate_jobs IS '{comment}'")
        with pytest.raises(StoreError, match=message):
            prepare_tables(old)
    assert new.check() == []
    for store in (new, old):
        store.close()


def test_several_processes_may_create_the_tables_at_once(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.new_database()
    stores = [open_store(tmp_path / str(number), url) for number in range(4)]
    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(prepare_tables, store) for store in stores]:
            done.result()
    for store in stores:
        store.close()


def test_procrastinate_needs_postgresql(tmp_path: Path) -> None:
    world = World(tmp_path, "local", None)
    (tmp_path / "settings.toml").write_text('[pipeline]\ndata_dir = "var"\n[cluster]\ndispatcher = "procrastinate"\n')
    settings = load(tmp_path / "settings.toml")
    with pytest.raises(StoreError, match="needs PostgreSQL"):
        open_dispatcher(world.store, Capacity(lambda: settings), Work())
    world.store.close()
