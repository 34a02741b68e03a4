"""Tables of pages and items."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
    literal_column,
)

from pipeline.store.database.column_types import AnyText, Id, Instant, MaskedText
from pipeline.store.database.packed_json import PackedJson
from pipeline.store.database.schema.base import (
    count_column,
    error_column,
    lease_columns,
    metadata,
    partial_index,
    text_column,
)

frontier = Table(
    "frontier", metadata,
    Column("id", Id, primary_key=True),
    Column("pass_id", ForeignKey("passes.id"), nullable=False),
    Column("fingerprint", LargeBinary(20), nullable=False),
    Column("url", AnyText, nullable=False),
    Column("request", JSON, nullable=False),  # the differences from a plain GET
    Column("priority", Integer, nullable=False, default=0),
    Column("depth", Integer, nullable=False, default=0),
    Column("state", String(10), nullable=False, default="waiting"),
    Column("status", Integer),  # HTTP status of the page, once fetched
    Column("member_id", Id),  # the member of the run that fetches the page, if several nodes fetch the pages of the pass
    error_column("error"),
    UniqueConstraint("pass_id", "fingerprint"),
    Index(None, "pass_id", "state", "priority", "id"),
)

partial_index("ix_frontier_held", frontier.c.member_id, where=frontier.c.member_id.is_not(None))

pages = Table(
    "pages", metadata,
    Column("id", Id, primary_key=True),
    Column("pass_id", ForeignKey("passes.id"), nullable=False, index=True),
    Column("run_id", ForeignKey("runs.id"), nullable=False, index=True),
    Column("url", AnyText, nullable=False),
    Column("status", Integer, nullable=False),
    Column("fetched_at", Instant, nullable=False),
    count_column("size_bytes"),
    count_column("items"),
    Column("outcome", String(12), nullable=False, default="fetched", server_default="fetched"),
    error_column("error", 1000),
    Column("duration_ms", Integer),  # until the server had sent the headers, or until the page was rendered
    count_column("changes"),  # items that were new or changed
)

# SQLite uses a partial index only if the query has its condition without parameters.
FAILED_PAGE = pages.c.error != literal_column("''")
partial_index("ix_pages_failed", pages.c.run_id, where=FAILED_PAGE)

items = Table(
    "items", metadata,
    Column("id", Id, primary_key=True),
    Column("spider", String(64), nullable=False),
    Column("key", AnyText, nullable=False),
    Column("data", PackedJson, nullable=False),
    Column("reported", PackedJson, nullable=True),  # the data in the item's last change; NULL if equal to `data`
    Column("present", Boolean, nullable=False, default=True),
    Column("first_seen_at", Instant, nullable=False),
    Column("changed_at", Instant, nullable=False),
    Column("pass_id", Id, nullable=False),  # the last pass that saw the item
    UniqueConstraint("spider", "key"),
    Index(None, "spider", "pass_id"),
)

edited_items = Table(  # items that changed or were deleted since the search index of items has them (store/console/item_index.py)
    "edited_items", metadata,
    Column("item_id", Id, primary_key=True, autoincrement=False),
    Column("edits", Id, nullable=False),
)
_NOTE = "BEGIN INSERT INTO edited_items (item_id, edits) VALUES (OLD.id, 1) ON CONFLICT (item_id) DO UPDATE SET edits = edits + 1; END"
NOTE_EDITED_ITEMS = (  # triggers of SQLite, so that no commit of a page needs a statement more
    f"CREATE TRIGGER note_edited_items AFTER UPDATE OF data ON items {_NOTE}", f"CREATE TRIGGER note_deleted_items AFTER DELETE ON items {_NOTE}")

changes = Table(
    "changes", metadata,
    Column("id", Id, primary_key=True),
    Column("run_id", ForeignKey("runs.id"), nullable=False, index=True),
    Column("spider", String(64), nullable=False),
    Column("key", AnyText, nullable=False),
    Column("kind", String(10), nullable=False),
    Column("at", Instant, nullable=False),
    Column("before", PackedJson, nullable=False, default=dict),
    Column("after", PackedJson, nullable=False, default=dict),
    text_column("page_key"),  # the saved page on which the change was found, if a digest attaches pages
    text_column("page_url"),  # of that page, if the spider archives its pages
    Index(None, "spider", "key"),
)

rejects = Table(
    "rejects", metadata,
    Column("id", Id, primary_key=True),
    Column("run_id", ForeignKey("runs.id"), nullable=False, index=True),
    Column("spider", String(64), nullable=False, index=True),
    Column("key", AnyText, nullable=False, default=""),
    Column("url", AnyText, nullable=False),
    Column("reason", MaskedText, nullable=False),
    Column("data", PackedJson, nullable=False),
    Column("at", Instant, nullable=False),
)

mendings = Table(  # the last proposal of new rules for each spider
    "mendings", metadata,
    Column("id", Id, primary_key=True),
    Column("spider", String(64), nullable=False, unique=True),
    Column("pass_id", Id, nullable=False),  # the suspect pass after which the proposal was made
    Column("run_id", Id, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("state", String(10), nullable=False, default="waiting", server_default="waiting"),
    Column("report", JSON, nullable=False, default=dict, server_default="{}"),  # see pipeline.workers.pages.mend
    *lease_columns(),
)
