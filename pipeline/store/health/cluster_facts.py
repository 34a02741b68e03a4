"""What `pipeline doctor` asks a PostgreSQL database that several nodes share.

Notifications, leader, connections, schema, clock.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pipeline.errors import StoreError
from pipeline.store.database.engine import Store
from pipeline.store.database.leader_lock import LEADER
from pipeline.store.database.postgresql import connect
from pipeline.store.database.schema_version import oldest_program, revision_of
from pipeline.store.health.nodes import Node, clock_skew_of, read_nodes, utc_now
from pipeline.text import clean_line

if TYPE_CHECKING:
    import psycopg

LISTEN_TIMEOUT_S = 3.0
"""How long a notification may take."""
_LEADER = f"""SELECT a.pid, coalesce(host(a.client_addr), 'this machine') AS address, a.backend_start
FROM pg_locks l JOIN pg_stat_activity a USING (pid) JOIN pg_database d ON d.oid = l.database
WHERE l.locktype = 'advisory' AND l.granted AND l.classid = 0 AND l.objid = {LEADER} AND d.datname = current_database()"""  # noqa: S608  a number of our own
_CONNECTIONS = """SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS used,
current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int AS allowed"""


@dataclass(frozen=True)
class LeaderSession:
    """The database session that holds the lock of the leader. address: from where it is connected. since: when it began."""

    pid: int
    address: str
    since: datetime


@dataclass(frozen=True)
class ClusterDatabase:
    """The facts about a shared database.

    revision: its schema. works_with: the schema of the oldest program that may use it. clock_skew_s: how far the clock of this machine is
    ahead of the database's. leader: None if no session holds the lock. used, allowed: client connections of the whole server now, and at most.
    """

    nodes: tuple[Node, ...]
    revision: str
    works_with: str
    clock_skew_s: float
    leader: LeaderSession | None
    used: int
    allowed: int


def cluster_database(store: Store) -> ClusterDatabase:
    """Return the facts about a shared database. Raises StoreError."""
    with store.read() as connection:
        leader = connection.exec_driver_sql(_LEADER).first()
        connections = connection.exec_driver_sql(_CONNECTIONS).one()
        revision = revision_of(connection) or ""
        return ClusterDatabase(
            tuple(read_nodes(connection)), revision, oldest_program(connection) or revision, clock_skew_of(connection, utc_now),
            None if leader is None else LeaderSession(*leader), connections.used, connections.allowed)


def keeps_sessions(store: Store) -> bool:
    """Return whether two transactions on one connection use the same session of the server.

    This is not so behind a connection pooler that gives each transaction another session, such as PgBouncer with
    pool_mode = transaction. Raises StoreError.
    """
    with closing(_connect(store)) as first, closing(_connect(store)) as second:
        found = [(_backend(first), _backend(second)) for _ in range(3)]
    return len(set(found)) == 1 and found[0][0] != found[0][1]


def delivers_notifications(store: Store) -> bool:
    """Return whether NOTIFY of one connection arrives at another connection that listens. Raises StoreError."""
    import psycopg  # noqa: PLC0415  only installed where PostgreSQL is used
    try:
        with closing(_connect(store)) as listener, closing(_connect(store)) as sender:
            listener.execute("LISTEN pipeline_doctor")
            sender.execute("NOTIFY pipeline_doctor")
            return any(True for _ in listener.notifies(timeout=LISTEN_TIMEOUT_S, stop_after=1))
    except psycopg.Error as error:
        raise StoreError(f"notifications cannot be tested: {clean_line(str(error))}", where=store.where, retry=True) from error


def _backend(connection: psycopg.Connection[Any]) -> int:
    found = connection.execute("SELECT pg_backend_pid()").fetchone()
    return int(found[0]) if found is not None else 0


def _connect(store: Store) -> psycopg.Connection[Any]:
    import psycopg  # noqa: PLC0415  as above
    try:
        return connect(store.engine, connect_timeout=10, application_name="pipeline doctor")
    except psycopg.Error as error:
        raise StoreError(f"the database does not respond: {clean_line(str(error))}", where=store.where, retry=True) from error
