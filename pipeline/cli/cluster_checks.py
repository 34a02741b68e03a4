"""The checks of `pipeline doctor` for a database that several nodes share."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pipeline
from pipeline.cli.finding import Finding, State
from pipeline.heartbeat.snapshot.nodes import ClusterFacts, cluster_problems
from pipeline.settings import Settings
from pipeline.settings.fingerprint import fingerprint
from pipeline.store import Store
from pipeline.store.database.schema_version import HEAD
from pipeline.store.health.cluster_facts import (
    ClusterDatabase,
    cluster_database,
    delivers_notifications,
    keeps_sessions,
)
from pipeline.store.health.nodes import MAX_SKEW_S, Node, NodeState
from pipeline.text import counted, span_for_people

CONNECTIONS_WARN = 0.8
"""A warning is given when this part of the connections that the server accepts is in use."""


def check_cluster(store: Store, settings: Settings, now: datetime) -> Iterator[Finding]:
    """Yield what is wrong between the nodes and their database. Raises StoreError."""
    found = cluster_database(store)
    alive = [node for node in found.nodes if node.state is NodeState.ALIVE]
    yield from _nodes(store, settings, now, alive)
    yield from _clock(found)
    yield from _versions(found, alive)
    yield from _settings(settings, alive)
    yield from _files(settings, alive)
    yield _leader(found)
    yield _notifications(store)
    yield _connections(found)


def _nodes(store: Store, settings: Settings, now: datetime, alive: list[Node]) -> Iterator[Finding]:
    with store.read() as connection:
        problems = list(cluster_problems(ClusterFacts.read(connection, settings, now), now, settings.zone))
    for problem in problems:
        yield Finding("nodes", State.PROBLEM if problem.is_clock else State.WARNING, problem.what, problem.fix)
    if not problems:
        names = ", ".join(f"{node.name} ({', '.join(node.roles)})" for node in alive)
        yield Finding("nodes", State.OK, names or "no service and no worker runs")


def _clock(found: ClusterDatabase) -> Iterator[Finding]:
    if abs(found.clock_skew_s) > MAX_SKEW_S:
        yield Finding("clock", State.PROBLEM, f"the clock of this machine is {span_for_people(abs(found.clock_skew_s))} "
                      f"{'ahead of' if found.clock_skew_s > 0 else 'behind'} the clock of the database server", "set up time synchronization (NTP)")


def _versions(found: ClusterDatabase, alive: list[Node]) -> Iterator[Finding]:
    old = [node for node in alive if node.schema < found.works_with]
    others = sorted({f"{node.name} has {node.version}" for node in alive if node.version != pipeline.__version__})
    if old:
        yield Finding("versions", State.PROBLEM, f"the database needs a program with schema {found.works_with}, but these nodes are older: "
                      f"{', '.join(sorted({node.name for node in old}))}", "upgrade these nodes")
    if others:
        yield Finding("versions", State.WARNING, f"nodes have different versions: this program has {pipeline.__version__}, {', '.join(others)}",
                      "finish the upgrade of all nodes")
    newer = f", which a newer version has migrated; this program has schema {HEAD}" if found.revision > HEAD else ""
    if not old and not others:
        yield Finding("versions", State.OK, f"the database has schema {found.revision}{newer}; {counted(len(alive), 'process')} with this version")


def _settings(settings: Settings, alive: list[Node]) -> Iterator[Finding]:
    own = fingerprint(settings)
    others = sorted({node.name for node in alive if node.settings not in ("", own)})
    if others:
        yield Finding("settings", State.WARNING, f"these nodes use other settings than {settings.file}: {', '.join(others)}",
                      "use the same settings on all nodes, and reload them")


def _files(settings: Settings, alive: list[Node]) -> Iterator[Finding]:
    names = sorted({node.name for node in alive})
    if len(names) > 1 and settings.pipeline.storage is None:
        yield Finding("files", State.WARNING, f"the nodes {', '.join(names)} have no object store, so that each has only the files that it stored itself: "
                      "a mail waits for the node that built it, and its attachments lack the files of other nodes",
                      "set [pipeline] storage, unless data_dir is on a folder that all nodes share")


def _leader(found: ClusterDatabase) -> Finding:
    leader = next((node for node in found.nodes if node.leader), None)
    if found.leader is None:
        is_needed = any("scheduler" in node.roles and node.state is NodeState.ALIVE for node in found.nodes)
        return Finding("leader", State.WARNING if is_needed else State.OK, "no service holds the lock of the leader, so no schedule is planned",
                       "run this command again; if this lasts, see the logs of the services" if is_needed else "")
    name = leader.name if leader is not None else f"a session from {found.leader.address} (server process {found.leader.pid})"
    return Finding("leader", State.OK, f"{name} holds the lock of the leader; it is connected since {found.leader.since:%Y-%m-%d %H:%M:%S %Z}")


def _notifications(store: Store) -> Finding:
    if not keeps_sessions(store):
        return Finding("notifications", State.PROBLEM, "a connection pooler gives each transaction another session, so that neither notifications nor the lock of "
                       "the leader work", "let [pipeline] database name the server itself, or set pool_mode = session in PgBouncer")
    if not delivers_notifications(store):
        return Finding("notifications", State.PROBLEM, "a notification (LISTEN/NOTIFY) did not arrive within seconds",
                       "let [pipeline] database name the primary server itself, and not a pooler")
    return Finding("notifications", State.OK, "LISTEN and NOTIFY work")


def _connections(found: ClusterDatabase) -> Finding:
    text = f"{found.used} of {found.allowed} connections to the database server are in use"
    if found.used >= CONNECTIONS_WARN * found.allowed:
        return Finding("connections", State.WARNING, text, "increase max_connections in postgresql.conf, or run fewer processes")
    return Finding("connections", State.OK, text)
