"""Tables of downloads."""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
)

from pipeline.store.database.column_types import AnyText, Id, Instant, storable
from pipeline.store.database.schema.base import count_column, error_column, lease_columns, metadata, text_column


def _sha1_of_url(context: Any) -> bytes:
    url: str = context.get_current_parameters()["url"]
    return hashlib.sha1(storable(url).encode(), usedforsecurity=False).digest()


downloads = Table(
    "downloads", metadata,
    Column("id", Id, primary_key=True),
    Column("spider", String(64), nullable=False),
    Column("url", AnyText, nullable=False),
    Column("url_sha1", LargeBinary(20), nullable=False, default=_sha1_of_url),  # long URLs do not fit into an index
    Column("pass_id", Id, nullable=False, index=True),  # the last pass that requested the file
    Column("item_key", AnyText, nullable=False, default=""),
    text_column("name"),
    text_column("referer"),
    Column("headers", JSON, nullable=False, default=list),
    text_column("sha256_wanted"),
    Column("state", String(10), nullable=False, default="waiting"),
    Column("not_before", Instant),
    Column("requested_at", Instant, nullable=False),
    Column("done_at", Instant),
    Column("failures", Integer, nullable=False, default=0, server_default="0"),  # failures in a row; leases are counted separately
    Column("failed_passes", Integer, nullable=False, default=0, server_default="0"),  # permanent failures in a row
    error_column("error"),
    text_column("part_key"), text_column("part_etag"), text_column("part_last_modified"), Column("part_length", Id),
    # Of the last complete version. If file_key is "" and file_sha256 is not, the file was deleted to stay within the limits.
    text_column("file_key"), text_column("etag"), text_column("last_modified"), text_column("file_sha256"), Column("file_size", Id),
    *lease_columns(),
    UniqueConstraint("spider", "url_sha1"),
    Index(None, "state", "not_before"),
)

download_files = Table(
    "download_files", metadata,
    Column("id", Id, primary_key=True),
    Column("download_id", ForeignKey("downloads.id"), nullable=False, index=True),
    Column("run_id", ForeignKey("runs.id"), index=True),  # NULL: the row of the run was deleted, the file was not
    Column("spider", String(64), nullable=False, index=True),
    Column("url", AnyText, nullable=False),
    Column("key", AnyText, nullable=False, unique=True),
    Column("name", AnyText, nullable=False),
    count_column("size_bytes"),
    Column("sha256", String(64), nullable=False),
    Column("content_type", AnyText, nullable=False, default=""),
    Column("fetched_at", Instant, nullable=False),
    Column("doomed_at", Instant, index=True),  # set while the file is being deleted; then the row is deleted
)
