"""Tests of the rows of processes on several nodes, and of the lock of the leader."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from pipeline.errors import StoreError
from pipeline.store import Store, open_store
from pipeline.store.database.leader_lock import LeaderLock
from pipeline.store.health.nodes import NodeReport, NodeState, forget, leave, nodes, report
from pipeline.store.mail.alerts import AlertKind, gone_nodes
from tests.servers.postgres import Postgres

pytestmark = pytest.mark.needs("postgres")

WORKER = NodeReport("eu-1", "1.0", "0008", ("worker",), queues=("eu",), concurrency=4, running=2, load=0.5)


@pytest.fixture
def url(postgres: Postgres, migrated: str) -> str:
    return postgres.new_database(migrated)


@pytest.fixture
def store(url: str, tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(tmp_path / "a", url)) as opened:
        yield opened


@pytest.fixture
def other(url: str, tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(tmp_path / "b", url)) as opened:
        yield opened


def unseen_for(store: Store, seconds: float) -> None:
    with store.write() as connection:
        connection.execute(text("UPDATE nodes SET seen_at = seen_at - :us, started_at = started_at - :us WHERE owner = :owner"),
                           {"us": int(seconds * 1_000_000), "owner": store.owner})


def test_a_process_is_listed_until_it_leaves(store: Store, other: Store) -> None:
    report(store, replace(WORKER, running=0))
    report(store, WORKER)
    report(other, replace(WORKER, name="us-1", leader=True, stopping=True))
    first, second = nodes(store)
    assert (first.name, first.state, first.running, first.queues, first.roles) == ("eu-1", NodeState.ALIVE, 2, ("eu",), ("worker",))
    assert (second.name, second.state, second.leader) == ("us-1", NodeState.STOPPING, True)
    leave(other)
    assert [node.owner for node in nodes(store)] == [store.owner]


def test_a_process_that_was_not_seen_is_gone_until_it_is_forgotten(store: Store, other: Store) -> None:
    report(store, WORKER)
    report(other, replace(WORKER, name="us-1"))
    unseen_for(other, 14)
    assert [node.state for node in nodes(store)] == [NodeState.ALIVE, NodeState.ALIVE]
    unseen_for(other, 2)
    assert [node.state for node in nodes(store)] == [NodeState.ALIVE, NodeState.GONE]
    assert forget(store, "eu-1") == []
    assert [node.name for node in forget(store, "us-1")] == ["us-1"]
    assert [node.name for node in nodes(store)] == ["eu-1"]


@pytest.mark.parametrize(("lost", "age_s", "left"), [
    (WORKER, 20, ["eu-1"]),
    (WORKER, 10, ["eu-1", "eu-1"]),
    (replace(WORKER, roles=("scheduler", "outbox")), 20, ["eu-1", "eu-1"]),
    (replace(WORKER, name="us-1"), 20, ["eu-1", "us-1"]),
    (replace(WORKER, name="us-1"), 25 * 3600, ["eu-1"]),
])
def test_a_process_that_was_replaced_or_not_seen_for_a_day_is_forgotten(
        store: Store, other: Store, lost: NodeReport, age_s: float, left: list[str]) -> None:
    report(other, lost)
    unseen_for(other, age_s)
    report(store, WORKER)
    report(store, WORKER)
    assert [node.name for node in nodes(store)] == left


def test_a_process_that_outlives_another_one_on_its_node_does_not_replace_it(store: Store, other: Store) -> None:
    report(store, WORKER)
    report(other, WORKER)
    unseen_for(store, 60)  # the first process has started before the other one was seen last
    report(store, WORKER)
    unseen_for(other, 16)
    report(store, WORKER)
    assert [node.state for node in nodes(store)] == [NodeState.ALIVE, NodeState.GONE]


@pytest.mark.parametrize("wrong_s", [-3600.0, -5.0, 0.0, 5.0, 3600.0])
def test_a_wrong_clock_is_measured_and_does_not_make_a_node_gone(store: Store, wrong_s: float) -> None:
    skew_s = report(store, WORKER, clock=lambda: datetime.now(UTC) + timedelta(seconds=wrong_s))
    assert skew_s == pytest.approx(wrong_s, abs=1.0)
    (node,) = nodes(store)
    assert (node.state, node.clock_skew_s, node.has_wrong_clock) == (NodeState.ALIVE, skew_s, bool(wrong_s))


def test_an_alert_is_due_when_a_process_has_been_gone_for_two_minutes(store: Store, other: Store) -> None:
    report(other, replace(WORKER, name="us-1"))
    unseen_for(other, 115)
    assert gone_nodes(store) == []
    unseen_for(other, 10)
    assert [(each.spider, each.kind) for each in gone_nodes(store)] == [("us-1", AlertKind.NODE)]


def test_of_two_processes_that_called_themselves_leader_the_one_seen_last_is_the_leader(store: Store, other: Store) -> None:
    report(store, replace(WORKER, leader=True))
    unseen_for(store, 3)
    report(other, replace(WORKER, name="us-1", leader=True))
    assert [(node.name, node.leader) for node in nodes(store)] == [("eu-1", False), ("us-1", True)]


def test_the_row_is_written_while_another_process_has_the_write_lock(store: Store, other: Store) -> None:
    with other.write():
        report(store, WORKER)
        assert len(nodes(store)) == 1


def test_one_of_two_services_has_the_lock_of_the_leader(store: Store, other: Store) -> None:
    first, second = LeaderLock(store), LeaderLock(other)
    try:
        assert [first.hold(), second.hold(), first.hold(), second.hold()] == [True, False, True, False]
        first.release()
        assert [second.hold(), first.hold()] == [True, False]
    finally:
        first.release()
        second.release()


def test_a_leader_whose_session_was_ended_notices_it(store: Store, other: Store, postgres: Postgres) -> None:
    first, second = LeaderLock(store), LeaderLock(other)
    try:
        assert first.hold()
        postgres.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'pipeline leader'")
        with pytest.raises(StoreError, match="the session of the leader was lost"):
            first.hold()
        assert [second.hold(), first.hold()] == [True, False]
    finally:
        first.release()
        second.release()
