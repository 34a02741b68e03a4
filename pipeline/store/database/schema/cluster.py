"""The table of applied migrations, and the tables of services that share a database (PostgreSQL)."""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, Float, ForeignKey, Integer, LargeBinary, String, Table

from pipeline.store.database.column_types import Id, Instant, MaskedJson
from pipeline.store.database.schema.base import lease_columns, metadata

nodes = Table(  # the processes of all nodes, each of which writes its row every few seconds
    "nodes", metadata,
    Column("owner", String(120), primary_key=True),  # the name under which the process takes leases
    Column("name", String(120), nullable=False),
    Column("version", String(40), nullable=False),
    Column("schema", String(32), nullable=False),  # the last migration that the program knows
    Column("started_at", Instant, nullable=False),
    Column("seen_at", Instant, nullable=False),
    Column("roles", JSON, nullable=False, default=list, server_default="[]"),  # scheduler, outbox, worker
    Column("queues", JSON, nullable=False, default=list, server_default="[]"),  # empty: all queues
    Column("concurrency", Integer, nullable=False, default=0, server_default="0"),
    Column("running", Integer, nullable=False, default=0, server_default="0"),
    Column("load", Float, nullable=False, default=0.0, server_default="0"),  # load average of one minute divided by the cores
    Column("clock_skew_s", Float, nullable=False, default=0.0, server_default="0"),  # its clock minus the database's clock
    Column("leader", Boolean, nullable=False, default=False),
    Column("stopping", Boolean, nullable=False, default=False),
    Column("settings", String(16), nullable=False, default="", server_default=""),  # the fingerprint of its settings
)

session_files = Table(  # cookie jars, login states and proxy health of spiders
    "session_files", metadata,
    Column("spider", String(64), primary_key=True),
    Column("name", String(40), primary_key=True),
    Column("content", LargeBinary, nullable=False),
    Column("version", Id, nullable=False, default=1, server_default="1"),  # grows with each change
    Column("changed_at", Instant, nullable=False),
)

host_turns = Table(  # when the next request to each host is allowed (`delay`)
    "host_turns", metadata,
    Column("host", String(320), primary_key=True),
    Column("free_at", Instant, nullable=False),
)

host_permits = Table(  # the concurrent requests to each host that processes may send (`concurrency`)
    "host_permits", metadata,
    Column("host", String(320), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("owner", String(120), nullable=False),
    Column("until", Instant, nullable=False, index=True),
)

host_waits = Table(  # processes that hold less than their share of the permits of a host, in the order in which they wait
    "host_waits", metadata,
    Column("host", String(320), primary_key=True),
    Column("owner", String(120), primary_key=True),
    Column("since", Instant, nullable=False),
    Column("until", Instant, nullable=False),
)

run_members = Table(  # the processes that fetch pages of a run whose pass spans several nodes
    "run_members", metadata,
    Column("id", Id, primary_key=True),
    Column("run_id", ForeignKey("runs.id"), nullable=False, index=True),
    Column("joined_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("report", MaskedJson, nullable=False, default=dict, server_default="{}"),  # what the member tells the leader, and the reverse
    *lease_columns(),
)

schema_versions = Table(  # for each migration that was applied, the oldest program that works with the database afterwards
    "schema_versions", metadata,
    Column("revision", String(32), primary_key=True),
    Column("works_with", String(32), nullable=False),
    Column("migrated_at", Instant, nullable=False),
)
