"""Tests of the move from SQLite to PostgreSQL, of rows that need care and of the history of real runs."""

from __future__ import annotations

import mailbox
import os
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select, text

from pipeline.errors import StoreError
from pipeline.model import Item, Outcome, Page
from pipeline.store import Store, open_store
from pipeline.store.crawl import commit, items
from pipeline.store.database.engine import prepare_store
from pipeline.store.database.schema import metadata, nodes, pulse, schema_versions
from pipeline.store.maintenance.backup import back_up
from pipeline.store.maintenance.instance_lock import hold_instance_lock
from pipeline.store.maintenance.move import move
from pipeline.store.runs import runs
from pipeline.store.session_files import JAR, files_of
from tests.servers.pages import PageSite
from tests.servers.postgres import Postgres
from tests.servers.program import Program
from tests.servers.s3 import S3Server

pytestmark = pytest.mark.needs("postgres")
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SITE = """
[spiders.s]
start = "{url}/"
schedule = "every 1h"
download = ["a"]
robots = false
[spiders.s.items]
key = ["x"]
each = "p"
fields.x = "text"
[digests.d]
spiders = ["s"]
to = ["me@example.com"]
"""


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "data")
    yield opened
    opened.close()


@pytest.fixture
def new(postgres: Postgres, tmp_path: Path) -> Iterator[Store]:
    opened = prepare_store(tmp_path / "data", postgres.new_database())
    yield opened
    opened.close()


def crawled(store: Store, key: str, *found: Item) -> None:
    runs.claim_slot(store, "shop", key, due_at=NOW, reason="schedule", now=NOW)
    run = runs.start_run(store, None, owner=store.owner, now=NOW, limit=9)
    assert run is not None
    done = commit.commit_pages(store, run, [Page("http://shop/", 200, NOW, items=found)], now=NOW)
    runs.end_run(store, run, runs.Ending(Outcome.SUCCEEDED, complete=True), done.progress, now=NOW)


ODD = (Item("long", {"x": "words " * 500}), Item("odd", {"x": "a\tb\n\\.\n\\N", "y": None, "z": 1.5e300, "ü": ["…", True]}), Item("empty", {}))


def rows(store: Store) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table, as the program reads it."""
    with store.read() as connection:
        return {table.name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
                for table in metadata.sorted_tables if table not in (schema_versions, pulse, nodes)}


def test_every_row_arrives_and_ids_go_on_where_they_were(old: Store, new: Store) -> None:
    crawled(old, "1", *ODD)
    with old.write() as connection:
        connection.execute(text("UPDATE changes SET before = 'null' WHERE key = 'empty'"))
    files_of(old, "shop").file(JAR).replace(b"cookies")
    before = rows(old)
    moved = move(old, new, now=NOW)
    after = rows(new)
    assert [bytes(row[2]) for row in after.pop("session_files")] == [b"cookies"]
    before.pop("session_files")
    assert after == before
    assert {table.name: table.rows for table in moved.tables} == {name: len(found) for name, found in before.items()} | {"session_files": 0}
    assert [(item.key, item.data) for item in items.present(new, "shop")] == [(item.key, item.data) for item in items.present(old, "shop")]
    crawled(new, "2", Item("next", {}))
    assert [run.id for run in runs.history(new)] == [2, 1]
    assert files_of(new, "shop").file(JAR).read() == b"cookies"


def test_the_old_database_is_refused_afterwards_until_its_mark_is_deleted(old: Store, new: Store) -> None:
    move(old, new, now=NOW)
    with pytest.raises(StoreError, match=r"was moved to postgresql://.*set \[pipeline\] database") as refused:
        open_store(old.data_dir)
    Path(refused.value.fix.rpartition(" ")[2]).unlink()
    open_store(old.data_dir).close()


def test_a_backup_contains_neither_the_old_database_nor_its_mark(old: Store, new: Store, tmp_path: Path) -> None:
    move(old, new, now=NOW)
    back_up(new, tmp_path / "b.tar", now=NOW, version="1")
    with tarfile.open(tmp_path / "b.tar") as archive:
        assert archive.getnames() == ["database", "manifest.json"]


def test_a_target_with_rows_is_refused_and_a_failed_move_leaves_both_as_they_were(old: Store, new: Store) -> None:
    crawled(old, "1", *ODD)
    with old.write() as connection:
        connection.execute(text("UPDATE runs SET spider = :long"), {"long": "s" * 100})  # PostgreSQL limits the column to 64 characters
    with pytest.raises(StoreError, match=r"could not be copied.*too long.*nothing was changed"):
        move(old, new, now=NOW)
    open_store(old.data_dir).close()
    used = open_store(new.data_dir, new.engine.url.render_as_string(hide_password=False))
    crawled(used, "1")
    used.close()
    with pytest.raises(StoreError, match="the database is not empty"):
        move(old, new, now=NOW)
    open_store(old.data_dir).close()


def test_a_run_in_progress_is_not_moved(old: Store, new: Store) -> None:
    now = datetime.now(UTC)
    runs.claim_slot(old, "shop", "1", due_at=now, reason="schedule", now=now)
    assert runs.start_run(old, None, owner="elsewhere:1:a", now=now, limit=9) is not None
    with pytest.raises(StoreError, match="in use by run 1 of shop"):
        move(old, new, now=now)


def test_after_the_move_nothing_is_told_or_fetched_again(postgres: Postgres, s3: S3Server, program: Program, site: PageSite) -> None:
    site.pages = {"/": "<p>one</p><a href=/file.pdf>f</a>", "/file.pdf": b"%PDF-1.4 file"}
    program.write(SITE.format(url=site.url))
    assert program.run("serve", "--once").returncode == 0
    url = postgres.new_database()
    program.environment |= s3.environment()
    done = program.run("migrate-store", "--to", url, "--storage", s3.storage("here"))
    assert done.returncode == 0, done.stderr
    changed = f'[pipeline]\ndatabase = "{url}"\nstorage = "s3://files/here"\n'
    assert changed in done.stdout
    assert s3.objects()["here/downloads/s/file.pdf"] == b"%PDF-1.4 file"
    settings = program.folder / "settings.toml"
    settings.write_text(settings.read_text().replace("[pipeline]\n", changed))
    assert program.run("run", "s").returncode == 0
    asked = len(site.asked)
    assert program.run("serve", "--once").returncode == 0
    assert len(site.asked) == asked, "a slot of before the move was claimed again"
    assert len(mailbox.Maildir(program.data / "mail", create=False)) == 1
    assert [run["outcome"] for run in program.history()] == ["succeeded", "succeeded"]


def test_an_object_store_that_does_not_answer_ends_the_move_before_it_begins(s3: S3Server, program: Program) -> None:
    program.write("")
    program.environment |= s3.environment()
    with s3.failing("refuse"):
        done = program.run("migrate-store", "--to", "postgresql://127.0.0.1:9/x", "--storage", s3.storage("here"))
    assert done.returncode == 8
    assert done.stderr.startswith("s3://files/here/.probes/"), done.stderr


def test_a_service_that_runs_is_named(postgres: Postgres, program: Program) -> None:
    program.write("")
    program.data.mkdir()
    with hold_instance_lock(program.data):
        done = program.run("migrate-store", "--to", postgres.new_database())
    assert done.returncode == 8
    assert f"in use by another `pipeline serve` (pid {os.getpid()}" in done.stderr
    assert not list(program.data.glob("*.moved"))
