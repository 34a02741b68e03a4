"""Tests of the schema check: stores of earlier migrations, and stores with another schema."""

from __future__ import annotations

import hashlib
import logging
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.errors import StoreError
from pipeline.model import MessageState
from pipeline.store import Store, open_store
from pipeline.store.database import migrate
from pipeline.store.database.schema_check import differences
from pipeline.store.mail import outbox
from pipeline.store.runs import runs
from tests.servers.program import Program

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
STORED = Path(__file__).parents[2] / "data" / "stores"
RELEASED = {
    "0001_the_first_schema.py": "0eaa56e99a3dc4cf40966eef87502419dd792afa00774e5931312f10d5e8ebb5",
    "0002_hosts_left_alone.py": "1cd1cce2a8d001ce38e313266a199f3ca70ef406ee0f5a1f6148844e0e7a7880",
    "0003_downloads_that_keep_failing.py": "25a0894269b3db5185340f91a1858773c6e667d29a512f4cf401d08fd265576d",
    "0004_conditions_of_indexes_on_postgresql.py": "6568f2cd79727bdb066df3fef896ed92760e4fad45b5ed63af344e9906755b6c",
    "0005_digests_that_are_built_again.py": "203741871ae72828708c9011f081876ede725cb8b3f14b3d7c7b21e6c1b64b96",
    "0006_proposals_of_new_rules.py": "54eab08351e8658aeb1a59c89eb98ea6ccce9786b2fec1c93c988135a96256e9",
    "0007_channels_and_refused_addresses.py": "9e870422c8dfa967568c6c42506253f970b33a06be8c5fa4cf99d905d1855909",
    "0008_several_nodes.py": "f84e4372fac6839c9171d00ed255f90440b7fa45c2b0e0e080435b2a1f1edbb4",
    "0009_pauses_with_an_end.py": "2997f373eafe93e06c3260193dcd4c5124e05019489d07aad9fd84f52fb1060d",
    "0010_api_tokens_and_audit_log.py": "dbb2d3fde002289a118b877c7a0033cbc78b5bcb7ba03682670765e3cfb2202a",
    "0011_sessions_of_browsers.py": "048920caddcd996cab15988df8ccdb4f11e31ce7ba69db9d015b182bebd76088",
    "0012_requests_performed_once.py": "40e19e9c65f6c3478766763b3f5095625bc056cfdd7c113f22edda0fbb58809d",
    "0013_what_became_of_each_page.py": "774b062a98429757d1d7e11f8129e3b9d3fa18753860342d6373ff5126eea233",
    "0014_items_that_the_search_index_lacks.py": "b28de83ebff43fd1b04c59ce66d7d1e94ac39a1a6fe06f562c6c80ce35e93219",
    "0015_what_a_language_model_was_asked.py": "0f284f408557bc29c401da3766068870997f376ee3746be8bcec5e359b05be3e"}
"""A migration that another one follows is never edited. With a new one, add the one before: here, and as a stored store."""


def stored(folder: Path, revision: str) -> Path:
    """A data_dir with a store as that migration left it."""
    with sqlite3.connect(folder / "pipeline.sqlite3") as connection:
        connection.executescript((STORED / f"{revision}.sql").read_text("utf-8"))
    connection.close()
    return folder


def changed(folder: Path, statement: str) -> Path:
    open_store(folder).close()
    connection = sqlite3.connect(folder / "pipeline.sqlite3")
    connection.execute(statement)
    connection.commit()
    connection.close()
    return folder


def test_no_released_migration_was_edited_and_each_has_a_stored_store() -> None:
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (migrate.MIGRATIONS / "versions").glob("0*.py")}
    assert {name: digest for name, digest in found.items() if name[:4] < migrate.HEAD} == RELEASED
    assert {name[:4] for name in RELEASED} <= {path.stem for path in STORED.glob("*.sql")}


@pytest.mark.parametrize("revision", sorted(path.stem for path in STORED.glob("*.sql")))
def test_a_store_of_every_earlier_migration_is_migrated_with_its_data(tmp_path: Path, revision: str) -> None:
    store = open_store(stored(tmp_path, revision))
    with store.read() as connection:
        assert differences(connection) == []
    assert [(run.spider, run.outcome and run.outcome.value) for run in runs.history(store)] == [("shop", None), ("shop", "succeeded")]
    assert runs.start_run(store, None, owner=store.owner, now=NOW, limit=9) is not None
    (message,) = outbox.lease(store, owner=store.owner, now=NOW)
    outbox.record(store, message, [outbox.RecipientResult("a@there", accepted=True)], owner=store.owner, now=NOW, next_attempt_at=None)
    found = outbox.get(store, message.id)
    assert found is not None
    assert found[0].state is MessageState.SENT
    store.close()


def test_a_new_store_has_no_difference_from_the_schema(store: Store) -> None:
    with store.read() as connection:
        assert differences(connection) == []


@pytest.mark.parametrize(("statement", "said"), [
    ("ALTER TABLE runs RENAME COLUMN suspect TO dubious", "table runs has an unknown column dubious"),
    ("ALTER TABLE runs ADD COLUMN mood TEXT NOT NULL DEFAULT ''", "table runs has an unknown column mood"),
    ("DROP TABLE host_pauses", "table host_pauses is missing"),
    ("ALTER TABLE pulse DROP COLUMN at", "table pulse lacks the column at")])
def test_another_schema_with_the_same_number_is_refused_by_name(tmp_path: Path, statement: str, said: str) -> None:
    with pytest.raises(StoreError, match="differs from the schema of this program") as caught:
        open_store(changed(tmp_path, statement))
    assert said in str(caught.value)
    assert "restore a backup" in caught.value.fix


def test_a_missing_index_is_reported(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    connection = sqlite3.connect(tmp_path / "pipeline.sqlite3")
    (index,) = connection.execute("SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL LIMIT 1").fetchone()
    connection.execute(f"DROP INDEX {index}")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match=f"lacks the index {index}"):
        open_store(tmp_path)


def test_tables_of_other_programs_are_ignored(tmp_path: Path) -> None:
    open_store(changed(tmp_path, "CREATE TABLE theirs (x)")).close()


def test_a_deleted_database_is_not_created_again_silently(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    open_store(tmp_path).close()
    assert caplog.records == []
    (tmp_path / "downloads" / "s").mkdir(parents=True)
    (tmp_path / "downloads" / "s" / "a.pdf").write_bytes(b"x")
    (tmp_path / "pipeline.sqlite3").unlink()
    with caplog.at_level(logging.WARNING):
        open_store(tmp_path).close()
    assert "is missing, but other data still exists (downloads)" in caplog.text
    caplog.clear()
    open_store(tmp_path).close()
    assert caplog.records == []


def test_the_commands_report_it_too(program: Program) -> None:
    program.write("")
    assert program.run("outbox").returncode == 0
    (program.data / "messages").mkdir()
    (program.data / "messages" / "1-1.eml").write_text("x")
    (program.data / "pipeline.sqlite3").unlink()
    assert "other data still exists (messages)" in program.run("outbox").stderr


@pytest.mark.parametrize("umask", ["000", "022", "277", "777"])
def test_folders_are_private_whatever_the_umask(program: Program, umask: str) -> None:
    program.write("")
    done = program.run("outbox", umask=umask)
    assert done.returncode == 0, done.stderr
    modes = {path: path.stat().st_mode & 0o777 for path in (program.data, *program.data.rglob("*"))}
    assert set(modes.values()) <= {0o700, 0o600}
