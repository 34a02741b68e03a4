"""The processes of all nodes that share a database (PostgreSQL).

Who they are, what they do, and when they were last seen.

Each process writes its own row every few seconds (report) and deletes the row when it stops (leave). A process that was not seen for
GONE_AFTER is gone. All times come from the clock of the database server, so that a node with a wrong clock is not reported as gone; the
error of its clock is measured with each report.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, insert, literal_column, or_, select, text, update

from pipeline.store.database.column_types import Instant
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import nodes as table
from pipeline.store.runs import leases

REPORT_EVERY_S = 5.0
GONE_AFTER = timedelta(seconds=15)
FORGOTTEN_AFTER = timedelta(days=1)
"""The row of a process that was not seen for this long is deleted."""
MAX_SKEW_S = 2.0
"""A difference between the clocks of a node and of the database server of more seconds than this is reported."""

_NOW = literal_column("(extract(epoch FROM now()) * 1000000)::bigint", Instant)
"""The time of the database server's clock at the start of the transaction."""
_CLOCK = text("SELECT clock_timestamp(), set_config('synchronous_commit', 'off', true)")


class NodeState(StrEnum):
    """Whether the process of a node is alive, is stopping, or has disappeared without a clean stop."""

    ALIVE = "alive"
    STOPPING = "stopping"
    GONE = "gone"


@dataclass(frozen=True)
class NodeReport:
    """What a process says about itself.

    name: the name of its node. schema: the last migration that the program knows. roles: what it does (scheduler, outbox, worker).
    queues: the queues whose runs it takes; empty means all. concurrency: how many runs it performs at the same time at most.
    running: how many runs it performs now. load: the load average of one minute, divided by the number of cores. leader: whether it is
    the leader of the schedulers. settings: the fingerprint of its settings.
    """

    name: str
    version: str
    schema: str
    roles: tuple[str, ...]
    queues: tuple[str, ...] = ()
    concurrency: int = 0
    running: int = 0
    load: float = 0.0
    leader: bool = False
    stopping: bool = False
    settings: str = ""


@dataclass(frozen=True, kw_only=True)
class Node(NodeReport):
    """The last report of a process.

    owner: the name under which the process takes leases. started_at, seen_at: its first and its last report, by the database's clock.
    age_s: the time since the last report. clock_skew_s: how far its clock is ahead of the database's clock (negative: behind).
    """

    owner: str
    started_at: datetime
    seen_at: datetime
    age_s: float
    clock_skew_s: float

    @property
    def state(self) -> NodeState:
        if self.age_s > GONE_AFTER.total_seconds():
            return NodeState.GONE
        return NodeState.STOPPING if self.stopping else NodeState.ALIVE

    @property
    def has_wrong_clock(self) -> bool:
        return abs(self.clock_skew_s) > MAX_SKEW_S


_FIELDS = tuple(field.name for field in fields(Node))


def utc_now() -> datetime:
    return datetime.now(UTC)


def report(store: Store, found: NodeReport, *, clock: Callable[[], datetime] = utc_now) -> float:
    """Write the row of this process, and return how many seconds its clock is ahead of the database's clock. Raises StoreError.

    Delete the rows of processes that were not seen for a day, and of those that this process has replaced: they had the same roles on
    the same node and disappeared before this process started.
    """
    own = table.c.owner == store.owner
    values: dict[str, Any] = {**vars(found), "roles": list(found.roles), "queues": list(found.queues), "seen_at": _NOW}
    with store.write_unlocked() as connection:
        values["clock_skew_s"] = skew_s = clock_skew_of(connection, clock)
        if not connection.execute(update(table).where(own).values(values)).rowcount:
            connection.execute(insert(table).values(values | {"owner": store.owner, "started_at": _NOW}))
        started_at = select(table.c.started_at).where(own).scalar_subquery()
        now = connection.execute(select(_NOW)).scalar_one()
        lost = connection.execute(select(table.c.owner, table.c.name, table.c.roles, table.c.seen_at).where(or_(
            table.c.seen_at < now - FORGOTTEN_AFTER,
            and_(table.c.name == found.name, table.c.seen_at < now - GONE_AFTER, table.c.seen_at < started_at)))).all()
        _delete(connection, [row.owner for row in lost if row.seen_at < now - FORGOTTEN_AFTER or tuple(row.roles) == found.roles])
    return skew_s


def leave(store: Store) -> None:
    """Delete the row of this process, which is stopping. Raises StoreError."""
    with store.write_unlocked() as connection:
        _delete(connection, [store.owner])


def read_nodes(connection: Connection) -> list[Node]:
    """Return the last reports of all processes, sorted by the names of their nodes; [] on SQLite, where there is only one node."""
    if connection.dialect.name == "sqlite":
        return []
    found = [_node(row) for row in connection.execute(select(table, _NOW.label("now")).order_by(table.c.name, table.c.started_at))]
    # A leader that was killed or frozen could not report that it is not the leader any more.
    leader = max((node for node in found if node.leader and node.state is not NodeState.GONE), key=lambda node: node.seen_at, default=None)
    return [replace(node, leader=node is leader) if node.leader else node for node in found]


def nodes(store: Store) -> list[Node]:
    """Return the last reports of all processes (see read_nodes). Raises StoreError."""
    with store.read() as connection:
        return read_nodes(connection)


def forget(store: Store, name: str) -> list[Node]:
    """Delete the rows of the processes of a node that are gone, and return them. Raises StoreError."""
    with store.write_unlocked() as connection:
        gone = [node for node in read_nodes(connection) if node.name == name and node.state is NodeState.GONE]
        _delete(connection, [node.owner for node in gone])
    return gone


def _delete(connection: Connection, owners: list[str]) -> None:
    if owners:
        connection.execute(delete(table).where(table.c.owner.in_(owners)))


def clock_skew_of(connection: Connection, clock: Callable[[], datetime]) -> float:
    """Return how many seconds this machine's clock is ahead of the database's clock.

    The answer takes a while to arrive. Within this time, the difference is unknown and counts as 0.
    """
    asked = clock()
    server = connection.execute(_CLOCK).one()[0]
    return -leases.clock_error(asked, server, clock()).total_seconds()


def _node(row: Row[Any]) -> Node:
    found = {name: row._mapping[name] for name in _FIELDS if name in row._mapping}
    return Node(**found | {"roles": tuple(row.roles), "queues": tuple(row.queues), "age_s": (row.now - row.seen_at).total_seconds()})
