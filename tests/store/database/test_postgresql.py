"""Tests of the PostgreSQL backend: error messages, and a server that stops and starts again."""

from __future__ import annotations

import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.errors import StoreError
from pipeline.store import Store, open_store
from pipeline.store.database import migrate
from pipeline.store.open import prepare_store
from pipeline.store.runs import runs
from tests.servers.postgres import Postgres
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
    assert found[0] == found[1] == ["ix_passes_open", "ix_recipients_refused", "ix_runs_at_work", "ix_runs_waiting", "uq_alerts_open"]
