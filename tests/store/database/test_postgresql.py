"""Tests of the PostgreSQL backend: error messages, and a server that stops and starts again."""

from __future__ import annotations

import sys
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from pipeline.errors import StoreError
from pipeline.model import FrontierState, Outcome, Page, Request, Run
from pipeline.store import Store, open_store
from pipeline.store.crawl import commit, frontier
from pipeline.store.database import migrate
from pipeline.store.open import prepare_store
from pipeline.store.runs import runs
from tests.servers.postgres import Postgres
from tests.servers.program import eventually
from tests.store.conftest import failures_of_four_at_once

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


pytestmark = pytest.mark.needs("postgres")


def test_several_first_openings_at_once_create_the_tables_once(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.new_database()
    assert failures_of_four_at_once(lambda: open_store(tmp_path, url).close()) == []


@pytest.mark.parametrize(("change", "said"), [
    (("127.0.0.1", "127.0.0.1.invalid"), "does not respond.*check that the database server runs"),
    (("/d", "/there-is-no-"), "does not exist.*createdb"),
    (("pipeline@", "somebody@"), "does not exist"),
    (("postgresql", "mysql"), "'mysql' is not a supported kind of database; supported: sqlite, postgresql"),
    (("postgresql://", "postgresql:/"), "the value is not a database URL"),
])
def test_an_error_of_the_server_is_reported_with_the_fix(postgres: Postgres, tmp_path: Path, change: tuple[str, str],
                                            said: str) -> None:
    with pytest.raises(StoreError, match=said):
        open_store(tmp_path, postgres.new_database().replace(*change, 1))


def test_a_password_stays_out_of_the_message(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.new_database().replace("pipeline@", "pipeline:hunter2@").replace("/d", "/there-is-no-")
    with pytest.raises(StoreError) as failed:
        open_store(tmp_path, url)
    assert "hunter2" not in str(failed.value)


def test_a_missing_driver_is_named_with_the_command_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreError, match=r"psycopg.*pip install 'crawl-to-inbox\[postgres\]'"):
        open_store(tmp_path, "postgresql://127.0.0.1/x")


def test_a_committed_item_survives_a_crash_of_the_server(tmp_path: Path) -> None:
    own = Postgres()
    try:
        store = open_store(tmp_path, own.new_database())
        runs.claim_slot(store, "shop", "1", due_at=NOW, reason="schedule", now=NOW)
        own.crash()
        with pytest.raises(StoreError, match="does not respond") as failed:
            runs.waiting_runs(store)
        assert failed.value.retry
        own.start()
        assert [run.spider for run in runs.waiting_runs(store)] == ["shop"]
        store.close()
    finally:
        own.close()


def test_a_reader_cannot_write_and_sees_one_snapshot(postgres: Postgres, tmp_path: Path) -> None:
    store = open_store(tmp_path, postgres.new_database())
    with store.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM slots").scalar() == 0
        runs.claim_slot(store, "shop", "1", due_at=NOW, reason="schedule", now=NOW)
        assert connection.exec_driver_sql("SELECT count(*) FROM slots").scalar() == 0
        with pytest.raises(Exception, match="read-only"):
            connection.exec_driver_sql("DELETE FROM slots")
    store.close()


def test_a_slot_is_claimed_once_by_many_at_once(postgres: Postgres, migrated: str, tmp_path: Path) -> None:
    url = postgres.new_database(migrated)
    stores = [open_store(tmp_path / str(number), url) for number in range(4)]
    claimed: list[int] = []

    def claim(store: Store) -> None:
        claimed.extend(number for number in range(20) if runs.claim_slot(
            store, "shop", str(number), due_at=NOW, reason="schedule", now=NOW) is not None)

    threads = [threading.Thread(target=claim, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == list(range(20))
    for store in stores:
        store.close()


def test_damage_that_the_server_knows_of_is_reported(postgres: Postgres, migrated: str, tmp_path: Path) -> None:
    url = postgres.new_database(migrated)
    store = open_store(tmp_path, url)
    assert store.check() == []
    postgres.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'pk_slots'::regclass",
                     url.rpartition("/")[2])
    assert store.check() == ["the index pk_slots is not valid: rebuild the index with REINDEX"]
    store.close()


PARTIAL = "SELECT indexname FROM pg_indexes WHERE indexdef LIKE '%% WHERE %%' ORDER BY indexname"


def test_new_and_migrated_databases_have_the_conditions_of_partial_indexes(postgres: Postgres, tmp_path: Path) -> None:
    found = []
    for name, to in (("new", None), ("migrated", "0003")):
        store = prepare_store(tmp_path / name, postgres.new_database())
        if to is not None:
            with store.write() as connection:
                migrate.run(connection, to=to)
                connection.exec_driver_sql("DROP INDEX uq_alerts_open")  # as versions before 0004 made it
                connection.exec_driver_sql("CREATE UNIQUE INDEX uq_alerts_open ON alerts (spider, kind)")
        migrate.upgrade(store)
        with store.read() as connection:
            found.append(connection.exec_driver_sql(PARTIAL).scalars().all())
        store.close()
    assert found[0] == found[1] == ["ix_frontier_held", "ix_pages_failed", "ix_passes_open", "ix_recipients_refused", "ix_runs_at_work", "ix_runs_waiting", "uq_alerts_open"]


def _blocked(url: str, work: threading.Thread, *, waiting: int = 1) -> None:
    """Start a thread, and return when as many transactions wait for a lock."""
    work.start()
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        wanted = ("SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database"
                  " WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()")
        eventually(lambda: connection.execute(wanted).fetchone() == (waiting,), within_s=20)


@pytest.mark.parametrize(("spiders", "waits"), [
    (("a", "b"), False),
    (("a", "a"), True),
    (("a", ""), True),  # a transaction that uses all rows excludes all others
    (("", "a"), True),
    (("", ""), True),
])
def test_a_transaction_waits_only_for_those_that_may_use_the_same_rows(postgres: Postgres, migrated: str, tmp_path: Path,
                                                                       spiders: tuple[str, str], waits: bool) -> None:
    first, second = spiders
    url = postgres.new_database(migrated)
    with closing(open_store(tmp_path, url)) as store:
        order: list[str] = []

        def write() -> None:
            with store.write(spider=second):
                order.append("second")

        writing = threading.Thread(target=write)
        with store.write(spider=first):
            if waits:
                _blocked(url, writing)
            else:
                writing.start()
                writing.join()
            order.append("first")
        writing.join()
        assert order == (["first", "second"] if waits else ["second", "first"])


def test_a_run_starts_and_ends_while_another_spider_writes(postgres: Postgres, migrated: str, tmp_path: Path) -> None:
    with closing(open_store(tmp_path, postgres.new_database(migrated))) as store:
        now = datetime.now(UTC)
        waiting = runs.claim_slot(store, "a", "1", due_at=now, reason="schedule", now=now)
        assert waiting is not None
        with store.write(spider="b"):  # a transaction that excludes this one would fail after LOCK_TIMEOUT_S
            run = runs.start_run(store, waiting.id, owner=store.owner, now=now, limit=1, spider="a")
            assert run is not None
            ended = runs.end_run(store, run, runs.Ending(Outcome.SUCCEEDED, complete=True), None, now=now)
        assert ended.outcome is Outcome.SUCCEEDED


def test_new_transactions_of_a_spider_wait_behind_a_waiting_transaction_that_uses_all_rows(postgres: Postgres, migrated: str,
                                                                                           tmp_path: Path) -> None:
    url = postgres.new_database(migrated)
    with closing(open_store(tmp_path, url)) as store:
        order: list[str] = []

        def write(name: str, spider: str) -> None:
            with store.write(spider=spider):
                order.append(name)

        of_all, late = threading.Thread(target=write, args=("all", "")), threading.Thread(target=write, args=("late", "b"))
        with store.write(spider="a"):
            _blocked(url, of_all)
            _blocked(url, late, waiting=2)
            order.append("first")
        of_all.join()
        late.join()
        assert order == ["first", "all", "late"]


def test_links_queued_by_several_spiders_at_once_belong_each_to_its_pass(postgres: Postgres, migrated: str, tmp_path: Path) -> None:
    url = postgres.new_database(migrated)
    with closing(open_store(tmp_path, url)) as store:
        now = datetime.now(UTC)
        started = []
        for spider in "abcd":
            runs.claim_slot(store, spider, "1", due_at=now, reason="schedule", now=now)
            run = runs.start_run(store, None, owner=store.owner, now=now, limit=9)
            assert run is not None
            started.append(run)
        wrong: list[object] = []

        def crawl(run: Run) -> None:
            for batch in range(20):
                links = {f"http://{run.spider}.example/{batch}/{number}" for number in range(10)}
                queued = frontier.enqueue(store, run, [Request(link) for link in links])
                if {each.request.url for each in queued} != links:
                    wrong.append(queued)
                commit.commit_pages(store, run, [Page(each.request.url, 200, now, frontier_id=each.id) for each in queued], now=now)

        threads = [threading.Thread(target=crawl, args=(run,)) for run in started]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        assert [frontier.counts(store, run.pass_id) for run in started] == 4 * [{FrontierState.DONE: 200}]
