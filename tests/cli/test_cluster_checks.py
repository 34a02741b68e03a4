"""Tests that `pipeline doctor` reports what is wrong between nodes and their PostgreSQL database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline import __version__
from pipeline.cli.cluster_checks import check_cluster
from pipeline.cli.finding import Finding, State
from pipeline.settings import Settings, load
from pipeline.settings.fingerprint import fingerprint
from pipeline.store import Store, open_store
from pipeline.store.database.leader_lock import LeaderLock
from pipeline.store.database.schema_version import HEAD
from pipeline.store.health import nodes
from pipeline.store.health.nodes import NodeReport
from pipeline.store.runs import runs
from tests.servers.postgres import Postgres

pytestmark = pytest.mark.needs("postgres")
ALL = ("scheduler", "outbox", "worker")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "settings.toml").write_text('[spiders.s]\nstart = "http://site.lan/"\n')
    return load(str(tmp_path / "settings.toml"))


@pytest.fixture
def store(postgres: Postgres, tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "data", postgres.new_database())
    yield opened
    opened.close()


def findings(store: Store, settings: Settings) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for each in check_cluster(store, settings, datetime.now(UTC)):
        found.setdefault(each.check, []).append(each)
    return found


def reported(store: Store, settings: Settings, *, version: str = __version__, schema: str = HEAD, of: str = "", leader: bool = False,
             ahead_s: float = 0.0, roles: tuple[str, ...] = ALL) -> None:
    report = NodeReport("n1", version, schema, roles, leader=leader, settings=of or fingerprint(settings), queues=("default",))
    nodes.report(store, report, clock=lambda: datetime.now(UTC) + timedelta(seconds=ahead_s))


def test_nothing_is_wrong_when_all_is_well(store: Store, settings: Settings) -> None:
    lock = LeaderLock(store)
    assert lock.hold()
    reported(store, settings, leader=True)
    found = findings(store, settings)
    lock.release()
    assert {each.state for some in found.values() for each in some} == {State.OK}
    assert found["nodes"][0].found == "n1 (scheduler, outbox, worker)"
    assert found["leader"][0].found.startswith("n1 holds the lock of the leader since 20")
    assert found["versions"][0].found == f"the database has schema {HEAD}; 1 process with this version"
    assert found["notifications"][0].found == "LISTEN and NOTIFY work"
    assert " connections to the database server are in use" in found["connections"][0].found


def test_differences_between_nodes_are_named(store: Store, settings: Settings) -> None:
    reported(store, settings, version="0.9", schema="0007", of="other", ahead_s=30)
    found = findings(store, settings)
    assert [each.found.partition(":")[2] for each in found["versions"]] == [" n1", f" this program has {__version__}, n1 has 0.9"]
    assert "use other settings than" in found["settings"][0].found
    assert found["nodes"][0].state is State.PROBLEM
    assert found["nodes"][0].found.startswith("the clock of n1 (scheduler, outbox, worker) is 3")
    assert found["leader"][0].state is State.WARNING


def test_runs_that_no_worker_takes_are_named(store: Store, settings: Settings) -> None:
    store.use_queues({"s": "eu"})
    before = datetime.now(UTC) - timedelta(minutes=2)
    runs.claim_slot(store, "s", "1", due_at=before, reason="schedule", now=before)
    reported(store, settings)
    (found,) = findings(store, settings)["nodes"]
    assert (found.found, found.fix) == ("1 run of the queue eu cannot start, because no worker takes this queue", "start `pipeline worker --queues eu`")


def test_a_pooler_that_changes_sessions_is_recognized(store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answers of the server are those behind PgBouncer with pool_mode = transaction, which is not installed here."""
    numbers = iter([1, 2, 2, 1, 1, 2])
    monkeypatch.setattr("pipeline.store.health.cluster_facts._backend", lambda connection: next(numbers))
    (found,) = findings(store, settings)["notifications"]
    assert found.state is State.PROBLEM
    assert "pool_mode = session" in found.fix
