"""Tests of two versions at work on one database.

An older program goes on after an expanding migration, and stops after a contracting one.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import insert, text

from pipeline.errors import StoreError
from pipeline.store import Store, open_store
from pipeline.store.database import migrate
from pipeline.store.database.migrate import MIGRATIONS
from pipeline.store.database.schema import nodes
from pipeline.store.database.schema_version import HEAD, WORKS_WITH, SchemaVersionError
from pipeline.store.maintenance import backup
from pipeline.store.runs import runs
from pipeline.store.session_files import JAR, files_of
from tests.servers.pages import PageSite
from tests.servers.postgres import Postgres
from tests.servers.program import Program, eventually

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
EXPAND, CONTRACT = "9001", "9002"
SCRIPT = """
import sqlalchemy as sa
from alembic import op
revision, down_revision, branch_labels, depends_on = "{revision}", "{before}", None, None
works_with = "{works_with}"

def upgrade():
    {change}
"""
NEW_COLUMN = 'op.add_column("runs", sa.Column("mood", sa.Text(), nullable=False, server_default="calm"))'
LOST_COLUMN = 'op.drop_column("runs", "suspect")'
REFUSED = rf"needs a program with schema {CONTRACT} or later; this program has schema {HEAD}"


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """The migrations of a later version: one that adds a column, and one that this program does not work with."""
    found = Path(shutil.copytree(MIGRATIONS, tmp_path / "migrations"))
    for revision, before, works_with, change in ((EXPAND, HEAD, HEAD, NEW_COLUMN), (CONTRACT, EXPAND, CONTRACT, LOST_COLUMN)):
        (found / "versions" / f"{revision}_next.py").write_text(
            SCRIPT.format(revision=revision, before=before, works_with=works_with, change=change))
    return found


@pytest.fixture
def again(store: Store) -> Callable[[], None]:
    """Open the store a second time, as a command of this version does."""
    url = store.engine.url.render_as_string(hide_password=False) if store.shared else None
    return lambda: open_store(store.data_dir, url).close()


@pytest.fixture
def shared(postgres: Postgres, migrated: str, tmp_path: Path) -> Iterator[Store]:
    """A store on PostgreSQL."""
    opened = open_store(tmp_path / "data", postgres.new_database(migrated))
    yield opened
    opened.close()


def claimed(store: Store, key: str) -> bool:
    return runs.claim_slot(store, "shop", key, due_at=NOW, reason="schedule", now=NOW) is not None


def test_the_numbers_of_this_program_are_those_of_its_migrations() -> None:
    assert max(path.name[:4] for path in (MIGRATIONS / "versions").glob("0*.py")) == HEAD
    assert migrate.oldest_program_after(None, HEAD) == WORKS_WITH


def test_an_older_program_goes_on_after_a_migration_that_only_adds(store: Store, scripts: Path, again: Callable[[], None]) -> None:
    migrate.upgrade(store, to=EXPAND, scripts=scripts)
    assert claimed(store, "1")
    again()
    migrate.upgrade(store)
    assert migrate.revision(store) == EXPAND


def test_an_older_program_neither_starts_nor_writes_after_a_migration_that_it_does_not_know(
        store: Store, scripts: Path, again: Callable[[], None]) -> None:
    migrate.upgrade(store, to=CONTRACT, scripts=scripts)
    for act in (again, lambda: claimed(store, "1"), lambda: migrate.refuse_unsupported_of(store)):
        with pytest.raises(SchemaVersionError, match=REFUSED) as refused:
            act()
        assert refused.value.fix == "upgrade the program"
        assert not refused.value.retry


@pytest.mark.parametrize(("statement", "said"), [
    ("ALTER TABLE runs ADD COLUMN needed TEXT NOT NULL", "unknown column needed"),
    ("ALTER TABLE runs RENAME COLUMN suspect TO dubious", "unknown column dubious"),
])
def test_a_newer_schema_into_which_an_older_program_cannot_insert_is_refused(
        store: Store, scripts: Path, again: Callable[[], None], statement: str, said: str) -> None:
    migrate.upgrade(store, to=EXPAND, scripts=scripts)
    with store.write() as connection:
        connection.execute(text(statement if store.shared else statement.replace("NOT NULL", "NOT NULL DEFAULT 1")))
        if not store.shared and "ADD" in statement:  # SQLite adds no such column to a table: as a table that was made anew has it
            connection.execute(text("PRAGMA writable_schema = 1"))
            connection.execute(text("UPDATE sqlite_master SET sql = replace(sql, 'NOT NULL DEFAULT 1', 'NOT NULL') WHERE name = 'runs'"))
    with pytest.raises(StoreError, match=said):
        again()


def test_only_a_migration_that_older_programs_do_not_know_copies_a_shared_database(store: Store, scripts: Path) -> None:
    migrate.upgrade(store, to=EXPAND, scripts=scripts)
    kept = store.data_dir / "backups" / f"before-{EXPAND}-from-{HEAD}.{store.kind}"
    assert kept.exists() == (not store.shared)
    migrate.upgrade(store, to=CONTRACT, scripts=scripts)
    assert (store.data_dir / "backups" / f"before-{CONTRACT}-from-{EXPAND}.{store.kind}").stat().st_mode & 0o777 == 0o600


@pytest.mark.needs("postgres")
def test_a_write_that_waited_for_a_migration_is_refused(shared: Store, scripts: Path) -> None:
    store = shared
    refused: list[SchemaVersionError] = []

    def write() -> None:
        try:
            claimed(store, "1")
        except SchemaVersionError as error:
            refused.append(error)

    with store.write() as connection:
        writer = threading.Thread(target=write)
        writer.start()
        eventually(lambda: connection.exec_driver_sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").scalar())
        migrate.run(connection, to=CONTRACT, scripts=scripts)
    writer.join()
    assert [error.what for error in refused]


@pytest.mark.needs("postgres")
def test_a_migration_waits_for_readers_while_writers_go_on_and_names_the_nodes_that_stop(
        shared: Store, scripts: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT_S", 0.1)
    store = shared
    now = datetime.now(UTC)
    with store.write() as connection:
        connection.execute(insert(nodes).values(owner="me", name="old-node", version="1", schema=HEAD, started_at=now, seen_at=now, leader=False))
    with store.read() as reader:
        reader.exec_driver_sql("SELECT count(*) FROM runs").scalar()
        migration = threading.Thread(target=migrate.upgrade, args=(store,), kwargs={"to": CONTRACT, "scripts": scripts})
        migration.start()
        eventually(lambda: "another transaction uses the tables" in caplog.text)
        assert claimed(store, "1")
    migration.join()
    assert migrate.revision(store) == CONTRACT
    assert "too old for it and stop now: old-node" in caplog.text


@pytest.mark.needs("postgres")
def test_writes_without_the_write_lock_are_refused_too(shared: Store, scripts: Path) -> None:
    files_of(shared, "shop").file(JAR).replace(b"cookies")
    migrate.upgrade(shared, to=CONTRACT, scripts=scripts)
    with pytest.raises(SchemaVersionError, match=REFUSED):
        files_of(shared, "shop").file(JAR).replace(b"others")
    assert files_of(shared, "shop").file(JAR).read() == b"cookies"


@pytest.mark.needs("postgres")
def test_an_older_program_makes_no_backup_of_tables_that_it_does_not_know(shared: Store, scripts: Path, tmp_path: Path) -> None:
    migrate.upgrade(shared, to=EXPAND, scripts=scripts)
    with pytest.raises(StoreError, match="with the newer version"):
        backup.back_up(shared, tmp_path / "b.tar", now=NOW, version="1")


@pytest.mark.needs("postgres")
def test_a_running_service_goes_on_after_one_migration_and_stops_itself_after_the_next(
        postgres: Postgres, migrated: str, program: Program, site: PageSite, scripts: Path) -> None:
    site.pages = {"/": "<p>x</p>"}
    program.environment["DATABASE"] = url = postgres.new_database(migrated)
    program.write("".join(f'[spiders.{name}]\nstart = "{site.url}/"\n{when}[spiders.{name}.items]\neach = "p"\nfields.x = "p"\n'
                          for name, when in (("s", 'schedule = "every 1s"\n'), ("t", ""))))
    settings = program.folder / "settings.toml"
    settings.write_text(settings.read_text().replace("[pipeline]\n", '[pipeline]\ndatabase = { env = "DATABASE" }\n'))
    program.serve()
    newer = open_store(program.folder / "newer", url)
    eventually(lambda: any(run.outcome for run in runs.history(newer)))
    migrate.upgrade(newer, to=EXPAND, scripts=scripts)
    before = len(site.asked)
    assert program.run("run", "t").returncode == 0
    eventually(lambda: len(site.asked) > before + 1)
    assert "WARNING" not in program.log()
    migrate.upgrade(newer, to=CONTRACT, scripts=scripts)
    assert program.ended() == 8
    newer.close()
    assert program.log().count("the service stops: ") == 1
    for command in ("run", "serve"):
        done = program.run(*([command, "t"] if command == "run" else [command]))
        assert done.returncode == 8
        assert f"needs a program with schema {CONTRACT} or later; this program has schema {HEAD}; upgrade the program" in done.stderr
        assert "Traceback" not in done.stdout + done.stderr
