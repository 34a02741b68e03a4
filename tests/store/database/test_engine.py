"""Tests of opening, locking and errors of the database, and of the file store."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from pipeline.errors import StoreError
from pipeline.store import Store, open_store
from pipeline.store.database import migrate
from pipeline.store.database.schema import metadata
from pipeline.store.database.schema_check import differences
from pipeline.store.files.local_files import LocalFiles
from pipeline.store.runs import runs
from tests.store.conftest import failures_of_four_at_once

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize("make", [migrate.create, migrate.run])
def test_a_new_store_has_the_tables_that_the_migrations_make(store: Store, make: Callable[[Connection], None]) -> None:
    with store.write() as connection:
        metadata.drop_all(connection)
        connection.execute(text("DROP TABLE alembic_version"))
        make(connection)
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        assert differences(connection) == []
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == migrate.HEAD


def test_a_second_opening_finds_the_tables(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    open_store(tmp_path, migrate=False).close()


def test_several_first_openings_at_once_create_the_tables_once(tmp_path: Path) -> None:
    assert failures_of_four_at_once(lambda: open_store(tmp_path).close()) == []


def test_a_newer_schema_is_refused_with_the_fix(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    with sqlite3.connect(tmp_path / "pipeline.sqlite3") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.execute("UPDATE schema_versions SET works_with = '9998'")
    connection.close()
    with pytest.raises(StoreError, match=r"needs a program with schema 9998 or later.*upgrade the program"):
        open_store(tmp_path)


def test_a_file_that_is_not_a_database_is_reported_as_damaged(tmp_path: Path) -> None:
    (tmp_path / "pipeline.sqlite3").write_bytes(b"not a database at all, but long enough to be read as one" * 100)
    with pytest.raises(StoreError, match=r"damaged.*restore a backup"):
        open_store(tmp_path)


def test_a_folder_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="data_dir"):
        open_store(tmp_path / "file" / "data")


def test_four_writers_at_once_all_succeed(store: Store) -> None:
    def claim(name: str) -> None:
        for number in range(25):
            runs.claim_slot(store, name, str(number), due_at=NOW, reason="schedule", now=NOW)

    threads = [threading.Thread(target=claim, args=(f"s{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(runs.history(store, limit=1000)) == 100


@pytest.mark.parametrize("key", ["/etc/passwd", "../x", "a/../../x", "", "a\\b", "a\0b"])
def test_a_file_key_cannot_leave_the_folder(store: Store, key: str) -> None:
    with pytest.raises(StoreError, match="not a valid file key"):
        store.files.path(key)


def test_a_file_is_written_whole_or_not_at_all(store: Store) -> None:
    store.files.write("a/b.txt", b"first")

    def cut_short() -> None:
        with store.files.writing("a/b.txt") as file:
            file.write(b"sec")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut_short()
    assert store.files.path("a/b.txt").read_bytes() == b"first"
    assert [path.name for path in store.files.path("a").iterdir()] == ["b.txt"]
    assert store.files.path("a/b.txt").stat().st_mode & 0o777 == 0o600


def test_temporary_files_of_a_killed_writer_are_deleted(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    files = LocalFiles(tmp_path)
    left, elsewhere, alive = (tmp_path / key for key in (
        f"messages/.2-1.eml.{gone.pid}-1.tmp", f"jars/.s.txt.{gone.pid}.tmp", f"messages/.3-1.eml.{os.getpid()}-1.tmp"))
    for path in (left, elsewhere, alive):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert files.sweep("messages") == 1
    assert [path.exists() for path in (left, elsewhere, alive)] == [False, True, True]
    assert (files.sweep(), elsewhere.exists(), alive.exists()) == (1, False, True)
