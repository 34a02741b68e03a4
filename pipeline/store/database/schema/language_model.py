"""Tables of what a language model was asked, and of what it answered."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, String, Table, UniqueConstraint

from pipeline.store.database.column_types import AnyText, Id, Instant, MaskedJson
from pipeline.store.database.schema.base import count_column, error_column, metadata

ai_requests = Table(  # requests to the language model, with the tokens that they used
    "ai_requests", metadata,
    Column("id", Id, primary_key=True),
    Column("digest", String(64), nullable=False, default="", server_default=""),
    Column("purpose", String(10), nullable=False),  # summary, filter, test
    Column("model", AnyText, nullable=False),
    Column("state", String(10), nullable=False),  # reserved, done, failed
    Column("started_at", Instant, nullable=False, index=True),
    Column("ended_at", Instant),
    count_column("input_tokens"),  # an estimate until the answer says how many there were
    count_column("output_tokens"),
    error_column("error", 500),
)

judgements = Table(  # whether a change meets the condition of a digest, made once for each change
    "judgements", metadata,
    Column("id", Id, primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("question_hash", String(64), nullable=False),  # SHA-256, hexadecimal, of `only_if`
    Column("change_id", ForeignKey("changes.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("content_hash", String(64), nullable=False),  # SHA-256, hexadecimal, of what the model was shown of the change
    Column("told", Boolean(name="told"), nullable=False),
    error_column("reason", None),
    Column("judged_at", Instant, nullable=False),
    UniqueConstraint("digest", "question_hash", "change_id", "content_hash"),
    Index(None, "digest", "told", "id"),  # what was left out of a digest, page by page
)

model_summaries = Table(  # the summary of a digest, made once for each group of recipients
    "model_summaries", metadata,
    Column("digest_id", ForeignKey("digests.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("recipients_of", Integer, primary_key=True, autoincrement=False),  # as in `messages`
    Column("content", MaskedJson, nullable=False),
    Column("created_at", Instant, nullable=False),
)
