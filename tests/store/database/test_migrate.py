"""Tests of migrations: all or nothing, with a copy of the old database."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from pipeline.model import Item, Page
from pipeline.store import Store, open_store
from pipeline.store.crawl import commit, items
from pipeline.store.database import migrate
from pipeline.store.runs import host_pauses, runs

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
NEXT = """
import sqlalchemy as sa
from alembic import op
revision, down_revision, branch_labels, depends_on = "9999", "{head}", None, None

def upgrade():
    with op.batch_alter_table("runs") as runs:
        runs.add_column(sa.Column("mood", sa.Text(), nullable=False, server_default="calm"))
    {after}
"""


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """Our migrations, to which a next one can be added."""
    return Path(shutil.copytree(migrate.MIGRATIONS, tmp_path / "migrations"))


def add(scripts: Path, after: str = "pass") -> None:
    (scripts / "versions" / "9999_next.py").write_text(NEXT.replace("{after}", after).replace("{head}", migrate.HEAD))


def has_mood(store: Store) -> bool:
    with store.read() as connection:
        return "mood" in {column["name"] for column in inspect(connection).get_columns("runs")}


def test_a_migration_keeps_a_copy_of_the_old_database(store: Store, scripts: Path) -> None:
    runs.claim_slot(store, "shop", "1", due_at=NOW, reason="schedule", now=NOW)
    add(scripts)
    migrate.upgrade(store, to="9999", scripts=scripts)
    assert migrate.revision(store) == "9999"
    assert has_mood(store)
    kept = store.files.path(f"backups/before-9999-from-{migrate.HEAD}.{store.kind}")
    assert kept.stat().st_size > 0
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_migration_that_fails_leaves_everything_as_it_was(store: Store, scripts: Path) -> None:
    runs.claim_slot(store, "shop", "1", due_at=NOW, reason="schedule", now=NOW)
    add(scripts, after='raise RuntimeError("half-way")')
    with pytest.raises(RuntimeError, match="half-way"):
        migrate.upgrade(store, to="9999", scripts=scripts)
    assert migrate.revision(store) == migrate.HEAD
    assert not has_mood(store)
    assert [run.spider for run in runs.waiting_runs(store)] == ["shop"]


def test_a_store_with_the_current_schema_is_not_copied(store: Store) -> None:
    migrate.upgrade(store)
    assert not store.files.path("backups").exists()


def test_a_store_of_the_first_version_keeps_its_items(store: Store, tmp_path: Path) -> None:
    """The rows are as that version wrote them: JSON as text."""
    url = store.engine.url.render_as_string(hide_password=False) if store.shared else None
    with store.write() as connection:
        for trigger in ("note_edited_items", "note_deleted_items") if store.kind == "sqlite" else ():
            connection.execute(text(f"DROP TRIGGER {trigger}"))
        for table in ("host_pauses", "nodes", "session_files", "host_turns", "host_permits", "host_waits", "run_members", "schema_versions", "digest_mutes",
                      "api_tokens", "audit_log", "console_sessions", "api_requests", "edited_items", "ai_requests", "judgements", "model_summaries", "archive_files"):
            connection.execute(text(f"DROP TABLE {table}"))
        connection.execute(text("ALTER TABLE runs DROP COLUMN queue"))
        connection.execute(text("ALTER TABLE runs DROP COLUMN stop_requested_at"))
        connection.execute(text("DROP INDEX ix_frontier_held"))
        connection.execute(text("ALTER TABLE frontier DROP COLUMN member_id"))
        connection.execute(text("ALTER TABLE paused DROP COLUMN until"))
        connection.execute(text("ALTER TABLE paused DROP COLUMN reason"))
        connection.execute(text("DROP INDEX ix_pages_failed"))
        for column in ("outcome", "error", "duration_ms", "changes"):
            connection.execute(text(f"ALTER TABLE pages DROP COLUMN {column}"))
        connection.execute(text("ALTER TABLE changes DROP COLUMN page_url"))
        connection.execute(text("DROP TABLE mendings"))
        connection.execute(text("ALTER TABLE downloads DROP COLUMN failed_passes"))
        connection.execute(text("ALTER TABLE messages DROP COLUMN channel"))
        connection.execute(text("DROP INDEX ix_recipients_refused"))
        connection.execute(text("ALTER TABLE recipients DROP COLUMN seen_at"))
        connection.execute(text("ALTER TABLE digests DROP COLUMN again"))
        connection.execute(text("ALTER TABLE digests DROP COLUMN rebuild"))
        connection.execute(text("ALTER TABLE digests DROP COLUMN rebuild_of"))
        connection.execute(text("ALTER TABLE messages DROP COLUMN recipients_of"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
        connection.execute(text(
            "INSERT INTO items (spider, key, data, present, first_seen_at, changed_at, pass_id) "
            "VALUES ('shop', 'a', :long, true, 0, 0, 0), ('shop', 'b', :short, true, 0, 0, 0)"),
            {"long": '{"x": "' + "words " * 500 + '"}', "short": '{"x": 1}'})
    store.close()
    later = open_store(tmp_path / "data", url)
    assert migrate.revision(later) == migrate.HEAD
    assert {item.key: item.data for item in items.present(later, "shop")} == {"a": {"x": "words " * 500}, "b": {"x": 1}}
    assert host_pauses.paused_hosts(later, now=NOW) == {}
    runs.claim_slot(later, "shop", "1", due_at=NOW, reason="schedule", now=NOW)
    run = runs.start_run(later, None, owner="me", now=NOW, limit=1)
    assert run is not None
    done = commit.commit_pages(later, run, [Page("http://a.example/", 200, NOW, items=(
        Item("a", {"x": "words " * 500}), Item("b", {"x": 2})))], now=NOW)
    assert (done.progress.unchanged, done.progress.changed) == (1, 1)
    later.close()
