"""Tables of digests, messages and alerts."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    literal_column,
)

from pipeline.store.database.column_types import AnyText, Id, Instant
from pipeline.store.database.schema.base import (
    count_column,
    error_column,
    lease_columns,
    metadata,
    partial_index,
    text_column,
)

digests = Table(
    "digests", metadata,
    Column("id", Id, primary_key=True),
    Column("name", String(64), nullable=False, index=True),
    Column("slot_key", String(120), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("closed_at", Instant),  # NULL: claimed, and its messages are not yet in the outbox
    error_column("error"),
    Column("rebuild", JSON(none_as_null=True)),  # NULL, or why an earlier digest is built again with less (model.Rebuild)
    Column("again", JSON(none_as_null=True)),  # NULL, or which runs are reported again to whom on request (model.Again)
    Column("rebuild_of", Id),  # NULL, or the id of the earlier digest, whose runs are reported again
    *lease_columns(),
)

digest_mutes = Table(  # digests of which nothing is sent before a time
    "digest_mutes", metadata,
    Column("name", String(64), primary_key=True),
    Column("until", Instant, nullable=False),
)

digest_runs = Table(
    "digest_runs", metadata,
    Column("name", String(64), primary_key=True),
    Column("run_id", ForeignKey("runs.id"), primary_key=True, autoincrement=False, index=True),
    Column("digest_id", ForeignKey("digests.id"), nullable=False, index=True),
)

messages = Table(
    "messages", metadata,
    Column("id", Id, primary_key=True),
    Column("digest_id", ForeignKey("digests.id"), index=True),
    Column("message_id", String(255), nullable=False, unique=True),
    Column("recipients_of", Integer, nullable=False, default=0, server_default="0"),  # 0: the digest itself, 1: its first group, …
    Column("channel", AnyText, nullable=False, default="", server_default=""),  # "" for mail, else the reference of a channel's URL
    text_column("subject"),
    Column("sender", AnyText, nullable=False),
    Column("file_key", AnyText, nullable=False),
    count_column("size_bytes"),
    Column("state", String(10), nullable=False, default="waiting"),
    Column("created_at", Instant, nullable=False),
    Column("next_attempt_at", Instant, nullable=False),
    Column("sent_at", Instant),
    error_column("last_error"),
    *lease_columns(),
    Index(None, "state", "next_attempt_at"),
)

recipients = Table(
    "recipients", metadata,
    Column("message_id", ForeignKey("messages.id"), primary_key=True, autoincrement=False),
    Column("address", String(320), primary_key=True),
    Column("state", String(10), nullable=False, default="waiting"),
    Column("code", Integer, nullable=False, default=0),
    error_column("answer", None),
    Column("seen_at", Instant),  # when a person has seen that the address was refused
)
UNSEEN = (recipients.c.state == literal_column("'refused'")) & recipients.c.seen_at.is_(None)
"""The recipients whom a mail server refused for good, and of whom no person has marked this as seen."""
partial_index("ix_recipients_refused", recipients.c.address, where=UNSEEN)

deliveries = Table(
    "deliveries", metadata,
    Column("id", Id, primary_key=True),
    Column("message_id", ForeignKey("messages.id"), nullable=False, index=True),
    Column("at", Instant, nullable=False, index=True),
    Column("attempt", Integer, nullable=False),
    Column("accepted", Integer, nullable=False, default=0),
    Column("refused", Integer, nullable=False, default=0),
    error_column("error"),
)

alerts = Table(
    "alerts", metadata,
    Column("id", Id, primary_key=True),
    Column("spider", String(64), nullable=False),
    Column("kind", String(20), nullable=False),  # failing, suspect, late, login, digest, node
    Column("since", Instant, nullable=False),
    Column("told_at", Instant, nullable=False),  # when the message about the start of the problem was put into the outbox
    Column("over_at", Instant),  # when the message about the end of the problem was put into the outbox; NULL: not over
    error_column("error"),
)
# When two services see the same condition at the same moment, one of them sends the alert.
partial_index("uq_alerts_open", alerts.c.spider, alerts.c.kind, unique=True, where=alerts.c.over_at.is_(None))
