"""Tables of slots, passes and runs."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    ForeignKey,
    Index,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from pipeline.store.database.column_types import Id, Instant, MaskedJson
from pipeline.store.database.schema.base import error_column, lease_columns, metadata, partial_index

slots = Table(
    "slots", metadata,
    Column("id", Id, primary_key=True),
    Column("spider", String(64), nullable=False),
    Column("key", String(120), nullable=False),  # the due time by the wall clock, or the request that created the slot
    Column("due_at", Instant, nullable=False),
    Column("claimed_at", Instant, nullable=False),
    Column("reason", String(20), nullable=False),  # schedule, catch-up, after, manual
    UniqueConstraint("spider", "key"),
)

cursors = Table(  # up to which time each schedule was processed
    "cursors", metadata,
    Column("kind", String(10), primary_key=True),  # spider, digest
    Column("name", String(64), primary_key=True),
    Column("schedule", Text, primary_key=True),
    Column("planned", Instant, nullable=False),
)

passes = Table(
    "passes", metadata,
    Column("id", Id, primary_key=True),
    Column("spider", String(64), nullable=False, index=True),
    Column("slot_id", ForeignKey("slots.id"), nullable=False, unique=True),  # one slot, one pass
    Column("opened_at", Instant, nullable=False),
    Column("closed_at", Instant),  # NULL: the pass is open, and the next run resumes the pass
    Column("complete", Boolean, nullable=False, default=False),
    Column("resumable", Boolean, nullable=False, default=True),
    Column("coverage", JSON, nullable=False, default=dict, server_default="{}"),  # items seen, and how many had each field
)
# Only a few of very many passes are open.
partial_index("ix_passes_open", passes.c.spider, where=passes.c.closed_at.is_(None))

runs = Table(
    "runs", metadata,
    Column("id", Id, primary_key=True),
    Column("pass_id", ForeignKey("passes.id"), nullable=False, index=True),
    Column("slot_id", ForeignKey("slots.id"), nullable=False, index=True),
    Column("spider", String(64), nullable=False),
    Column("reason", String(20), nullable=False),  # the reason of the slot, or "resume" or "retry"
    Column("due_at", Instant, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("not_before", Instant),
    Column("started_at", Instant),
    Column("ended_at", Instant),
    Column("outcome", String(20)),
    Column("complete", Boolean, nullable=False, default=False),
    Column("suspect", Boolean, nullable=False, default=False),
    Column("error_kind", String(60), nullable=False, default=""),
    error_column("error", None),
    Column("progress", JSON, nullable=False, default=dict),
    Column("queue", String(64), nullable=False, default="default", server_default="default"),  # workers with this queue perform the run
    Column("stop_requested_at", Instant),  # when a person asked to stop the run
    Column("transfers", MaskedJson, nullable=False, default=list, server_default="[]"),  # downloads in progress, while the run is in progress
    *lease_columns(),
    Index(None, "spider", "ended_at"),
    Index(None, "ended_at"),
)
_waiting = runs.c.started_at.is_(None) & runs.c.ended_at.is_(None)
partial_index("ix_runs_waiting", runs.c.id, where=_waiting)
_at_work = runs.c.started_at.is_not(None) & runs.c.ended_at.is_(None)
partial_index("ix_runs_at_work", runs.c.spider, where=_at_work)

paused = Table(  # spiders whose slots are not claimed until the pause ends
    "paused", metadata,
    Column("spider", String(64), primary_key=True),
    Column("since", Instant, nullable=False),
    Column("until", Instant),  # NULL: until the spider is resumed
    error_column("reason", None),
)

host_pauses = Table(  # hosts with a Retry-After longer than a run waits
    "host_pauses", metadata,
    Column("host", String(320), primary_key=True),  # "name:port"
    Column("until", Instant, nullable=False),
    Column("spider", String(64), nullable=False),  # the spider whose run received the Retry-After
)
