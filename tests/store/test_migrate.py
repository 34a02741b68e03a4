"""A store of an older version is brought forward, all or nothing, and what was there before is kept."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import inspect

from pipeline.store import Store, migrate, runs

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
NEXT = """
import sqlalchemy as sa
from alembic import op
revision, down_revision, branch_labels, depends_on = "0002", "0001", None, None

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
    (scripts / "versions" / "0002_next.py").write_text(NEXT.replace("{after}", after))


def has_mood(store: Store) -> bool:
    with store.read() as connection:
        return "mood" in {column["name"] for column in inspect(connection).get_columns("runs")}


def test_the_tables_go_forward_and_a_copy_of_before_stays(store: Store, scripts: Path) -> None:
    runs.claim_slot(store, "shop", "1", due_at=NOW, reason="schedule", now=NOW)
    add(scripts)
    migrate.upgrade(store, to="0002", scripts=scripts)
    assert migrate.revision(store) == "0002"
    assert has_mood(store)
    kept = store.files.path(f"backups/before-0002-from-0001.{store.kind}")
    assert kept.stat().st_size > 0
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_migration_that_fails_leaves_everything_as_it_was(store: Store, scripts: Path) -> None:
    runs.claim_slot(store, "shop", "1", due_at=NOW, reason="schedule", now=NOW)
    add(scripts, after='raise RuntimeError("half-way")')
    with pytest.raises(RuntimeError, match="half-way"):
        migrate.upgrade(store, to="0002", scripts=scripts)
    assert migrate.revision(store) == "0001"
    assert not has_mood(store)
    assert [run.spider for run in runs.waiting_runs(store)] == ["shop"]


def test_a_store_that_is_there_already_is_not_copied(store: Store) -> None:
    migrate.upgrade(store)
    assert not store.files.path("backups").exists()
