"""The table of the files of the web archive."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, String, Table

from pipeline.store.database.column_types import AnyText, Id, Instant
from pipeline.store.database.schema.base import count_column, error_column, metadata, text_column

archive_files = Table(
    "archive_files", metadata,
    Column("id", Id, primary_key=True),
    Column("spider", String(64), nullable=False),
    Column("day", String(10), nullable=False),  # of the records, in UTC: 2026-11-30
    Column("state", String(10), nullable=False),  # segment (what one process wrote), day (all segments of a day in one file)
    Column("number", Integer, nullable=False, default=1, server_default="1"),  # of the day's file; 2 and more for what was found later
    Column("run_id", Id),  # of a segment; the run's row may be deleted earlier
    text_column("node"),  # where the files are; "" if they are in an object store
    Column("key", AnyText, nullable=False, unique=True),
    Column("index_key", AnyText, nullable=False),
    count_column("size_bytes"),
    count_column("index_bytes"),
    count_column("records"),
    Column("sha256", String(64), nullable=False),
    Column("oldest_day", String(10), nullable=False),  # the oldest day to which a revisit record of the file refers; its own if to none
    Column("created_at", Instant, nullable=False),
    text_column("timestamp_key"),
    Column("timestamped_at", Instant),
    error_column("timestamp_error"),
    Column("timestamp_attempts", Integer, nullable=False, default=0, server_default="0"),
    Column("doomed_at", Instant, index=True),  # set while the file is being deleted; then the row is deleted
    Index(None, "spider", "day"),
)
