"""The nodes that share a PostgreSQL database, and the queues of runs, in the status snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

from sqlalchemy import Connection

from pipeline.heartbeat.snapshot.schema import NodeStatus, QueueStatus
from pipeline.model import Run
from pipeline.settings import Settings
from pipeline.store.health.nodes import Node, NodeState, read_nodes
from pipeline.store.health.status_queries import WaitingRuns, waiting_by_queue
from pipeline.text import counted, iso, quoted, span_for_people

WAITS_AFTER_S = 30.0
"""A run that has waited for this long without a worker that takes its queue makes the health `degraded`."""


@dataclass(frozen=True)
class ClusterFacts:
    """The processes of all nodes, and the runs that wait in each queue; both are empty on SQLite."""

    nodes: tuple[Node, ...] = ()
    waiting: tuple[WaitingRuns, ...] = ()

    @classmethod
    def read(cls, connection: Connection, settings: Settings, now: datetime) -> ClusterFacts:
        """Read the facts. A queue of the settings in which no run waits is included."""
        if connection.dialect.name == "sqlite":
            return cls()
        found = {each.queue: each for each in waiting_by_queue(connection, now)}
        queues = sorted(found.keys() | {spider.queue for spider in settings.spiders.values()})
        return cls(tuple(read_nodes(connection)), tuple(found.get(name) or WaitingRuns(name, 0, None) for name in queues))

    def workers_of(self, queue: str) -> int:
        """Return the number of processes that are alive and perform runs of a queue."""
        return sum(node.state is NodeState.ALIVE and "worker" in node.roles and (not node.queues or queue in node.queues) for node in self.nodes)


def node_status(node: Node, at_work: Sequence[Run], zone: tzinfo) -> NodeStatus:
    return {
        "name": quoted(node.name), "state": node.state.value, "version": node.version, "roles": list(node.roles), "leader": node.leader,
        "queues": list(node.queues), "concurrency": node.concurrency, "running": node.running,
        "runs": [run.id for run in at_work if run.lease_owner.startswith(node.owner)], "load": node.load,
        "clock_skew_s": round(node.clock_skew_s, 3), "started_at": iso(node.started_at, zone), "seen_at": iso(node.seen_at, zone),
        "age_s": round(node.age_s, 1),
    }


def queue_status(facts: ClusterFacts, now: datetime) -> list[QueueStatus]:
    return [{"name": each.queue, "waiting": each.waiting, "workers": facts.workers_of(each.queue),
             "oldest_wait_s": round(max(0.0, (now - each.oldest_at).total_seconds()), 1) if each.oldest_at else None}
            for each in facts.waiting]


@dataclass(frozen=True)
class ClusterProblem:
    """Why the nodes are not ok. what: a sentence without its end; fix: what to do. is_clock: whether it is a wrong clock."""

    what: str
    fix: str
    is_clock: bool = False


def cluster_problems(facts: ClusterFacts, now: datetime, zone: tzinfo) -> Iterator[ClusterProblem]:
    """Yield why the nodes are not ok: a node is gone, its clock is wrong, or nobody does some of the work."""
    for node in facts.nodes:
        roles = ", ".join(node.roles)
        if node.state is NodeState.GONE:
            yield ClusterProblem(f"{quoted(node.name)} ({roles}) is gone, last seen at {iso(node.seen_at, zone)}",
                                 f"if it will not return, run `pipeline nodes --forget {quoted(node.name)}`")
        elif node.has_wrong_clock:
            yield ClusterProblem(f"the clock of {quoted(node.name)} ({roles}) is {span_for_people(abs(node.clock_skew_s))} "
                                 f"{'ahead of' if node.clock_skew_s > 0 else 'behind'} the clock of the database server",
                                 "set up time synchronization (NTP)", is_clock=True)
    alive = [node for node in facts.nodes if node.state is NodeState.ALIVE]
    if alive and not any("scheduler" in node.roles for node in alive):
        yield ClusterProblem("no process plans the schedules", "start `pipeline serve`")
    for queue in facts.waiting:
        if queue.oldest_at is not None and (now - queue.oldest_at).total_seconds() > WAITS_AFTER_S and alive and not facts.workers_of(queue.queue):
            yield ClusterProblem(f"{counted(queue.waiting, 'run')} of the queue {quoted(queue.queue)} cannot start, because no worker takes this queue",
                                 f"start `pipeline worker --queues {quoted(queue.queue)}`")


def cluster_reasons(facts: ClusterFacts, now: datetime, zone: tzinfo) -> Iterator[str]:
    """Yield the problems of the nodes as reasons of the health."""
    for problem in cluster_problems(facts, now, zone):
        yield f"nodes: {problem.what}; {problem.fix}"
