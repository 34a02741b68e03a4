"""Tests of what the status says about nodes and queues."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.heartbeat.http.metrics import exposition
from pipeline.heartbeat.snapshot.build import unreadable_snapshot
from pipeline.heartbeat.snapshot.nodes import ClusterFacts, cluster_reasons, node_status, queue_status
from pipeline.store.health.nodes import Node
from pipeline.store.health.status_queries import WaitingRuns

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
SERVICE = Node(name="de-1", version="1", schema="0008", roles=("scheduler", "outbox"), leader=True, owner="a", started_at=NOW, seen_at=NOW,
               age_s=2.0, clock_skew_s=0.0)
WORKER = replace(SERVICE, name="eu-1", roles=("worker",), leader=False, owner="b", queues=("eu",), concurrency=4, running=3)


def waiting(queue: str, since_s: float) -> WaitingRuns:
    return WaitingRuns(queue, 2, NOW - timedelta(seconds=since_s))


@pytest.mark.parametrize(("facts", "said"), [
    (ClusterFacts((SERVICE, WORKER), (waiting("eu", 300),)), []),
    (ClusterFacts((SERVICE, replace(WORKER, age_s=16.0))), ["eu-1 (worker) is gone, last seen at 2026-11-29T12:00:00+00:00"]),
    (ClusterFacts((SERVICE, replace(WORKER, clock_skew_s=-60.0))), ["the clock of eu-1 (worker) is 1 min behind the clock of the database server"]),
    (ClusterFacts((replace(SERVICE, stopping=True), WORKER)), ["no process plans the schedules"]),
    (ClusterFacts((SERVICE, WORKER), (waiting("us", 10),)), []),
    (ClusterFacts((SERVICE, WORKER), (waiting("us", 60),)), ["2 runs of the queue us cannot start, because no worker takes this queue"]),
    (ClusterFacts((SERVICE, replace(WORKER, stopping=True)), (waiting("eu", 60),)), ["2 runs of the queue eu cannot start"]),
    (ClusterFacts(), []),
])
def test_what_is_wrong_with_the_nodes_is_said(facts: ClusterFacts, said: list[str]) -> None:
    reasons = list(cluster_reasons(facts, NOW, UTC))
    assert len(reasons) == len(said)
    assert all(part in reason for part, reason in zip(said, reasons, strict=True)), reasons


def test_nodes_and_queues_are_metrics_only_if_the_database_is_shared() -> None:
    alone = unreadable_snapshot("", started_at=NOW, now=NOW, version="1")
    alone["store"]["readable"] = True
    facts = ClusterFacts((SERVICE, WORKER, replace(WORKER, owner="c", age_s=60.0)), (waiting("eu", 60), WaitingRuns("us", 0, None)))
    several = {**alone, "nodes": [node_status(node, (), UTC) for node in facts.nodes], "queues": queue_status(facts, NOW)}

    def figures(snapshot) -> dict[tuple[str, ...], float]:
        families = text_string_to_metric_families(exposition(snapshot, "")[0].decode())
        return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples
                if "node" in sample.labels or "queue" in sample.labels}

    assert figures(alone) == {}
    found = figures(several)
    assert found["pipeline_node_up", "eu-1", "worker"] == 1.0
    assert found["pipeline_node_running", "eu-1", "worker"] == 3.0
    assert found["pipeline_node_leader", "de-1", "scheduler,outbox"] == 1.0
    assert (found["pipeline_runs_waiting", "eu"], found["pipeline_runs_waiting", "us"]) == (2.0, 0.0)
    assert (found["pipeline_queue_workers", "eu"], found["pipeline_queue_workers", "us"]) == (1.0, 0.0)
