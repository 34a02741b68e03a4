"""The tables of the database.

The scripts in migrations/ bring older databases to this schema. Each table with rows that a process can lease has the three columns
of a lease (leases.py).
"""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    literal_column,
)

from pipeline.store.database.column_types import AnyText, Id, Instant, storable
from pipeline.store.database.packed_json import PackedJson


def _sha1_of_url(context: Any) -> bytes:
    url: str = context.get_current_parameters()["url"]
    return hashlib.sha1(storable(url).encode(), usedforsecurity=False).digest()


metadata = MetaData(naming_convention={
    "ix": "ix_%(table_name)s_%(column_0_N_name)s", "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s", "pk": "pk_%(table_name)s",
})


def _lease() -> list[Column[Any]]:
    return [Column("lease_owner", String(120), nullable=False, default="", server_default=""),
            Column("lease_until", Instant),
            Column("attempt", Integer, nullable=False, default=0, server_default="0")]


def _text(name: str) -> Column[str]:
    return Column(name, AnyText, nullable=False, default="", server_default="")


def _count(name: str) -> Column[int]:
    return Column(name, Id, nullable=False, default=0, server_default="0")


def _partial(name: str, *columns: Column[Any], where: ColumnElement[bool], unique: bool = False) -> Index:
    """Return an index of the rows that match `where` (a partial index). `where` is set only for SQLite.

    migrate.create() sets `where` for PostgreSQL: setting it here would import the PostgreSQL dialect at every start.
    """
    return Index(name, *columns, unique=unique, sqlite_where=where)


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
_partial("ix_passes_open", passes.c.spider, where=passes.c.closed_at.is_(None))

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
    _text("error"),
    Column("progress", JSON, nullable=False, default=dict),
    Column("transfers", JSON, nullable=False, default=list, server_default="[]"),  # downloads in progress, while the run is in progress
    *_lease(),
    Index(None, "spider", "ended_at"),
    Index(None, "ended_at"),
)
_waiting = runs.c.started_at.is_(None) & runs.c.ended_at.is_(None)
_partial("ix_runs_waiting", runs.c.id, where=_waiting)
_at_work = runs.c.started_at.is_not(None) & runs.c.ended_at.is_(None)
_partial("ix_runs_at_work", runs.c.spider, where=_at_work)

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
    _text("error"),
    UniqueConstraint("pass_id", "fingerprint"),
    Index(None, "pass_id", "state", "priority", "id"),
)

pages = Table(
    "pages", metadata,
    Column("id", Id, primary_key=True),
    Column("pass_id", ForeignKey("passes.id"), nullable=False, index=True),
    Column("run_id", ForeignKey("runs.id"), nullable=False, index=True),
    Column("url", AnyText, nullable=False),
    Column("status", Integer, nullable=False),
    Column("fetched_at", Instant, nullable=False),
    _count("size_bytes"),
    _count("items"),
)

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
    _text("page_key"),  # the saved page on which the change was found, if a digest attaches pages
    Index(None, "spider", "key"),
)

rejects = Table(
    "rejects", metadata,
    Column("id", Id, primary_key=True),
    Column("run_id", ForeignKey("runs.id"), nullable=False, index=True),
    Column("spider", String(64), nullable=False, index=True),
    Column("key", AnyText, nullable=False, default=""),
    Column("url", AnyText, nullable=False),
    Column("reason", AnyText, nullable=False),
    Column("data", PackedJson, nullable=False),
    Column("at", Instant, nullable=False),
)

downloads = Table(
    "downloads", metadata,
    Column("id", Id, primary_key=True),
    Column("spider", String(64), nullable=False),
    Column("url", AnyText, nullable=False),
    Column("url_sha1", LargeBinary(20), nullable=False, default=_sha1_of_url),  # long URLs do not fit into an index
    Column("pass_id", Id, nullable=False, index=True),  # the last pass that requested the file
    Column("item_key", AnyText, nullable=False, default=""),
    _text("name"),
    _text("referer"),
    Column("headers", JSON, nullable=False, default=list),
    _text("sha256_wanted"),
    Column("state", String(10), nullable=False, default="waiting"),
    Column("not_before", Instant),
    Column("requested_at", Instant, nullable=False),
    Column("done_at", Instant),
    Column("failures", Integer, nullable=False, default=0, server_default="0"),  # failures in a row; leases are counted separately
    Column("failed_passes", Integer, nullable=False, default=0, server_default="0"),  # permanent failures in a row
    _text("error"),
    _text("part_key"), _text("part_etag"), _text("part_last_modified"), Column("part_length", Id),
    # Of the last complete version. If file_key is "" and file_sha256 is not, the file was deleted to stay within the limits.
    _text("file_key"), _text("etag"), _text("last_modified"), _text("file_sha256"), Column("file_size", Id),
    *_lease(),
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
    _count("size_bytes"),
    Column("sha256", String(64), nullable=False),
    Column("content_type", AnyText, nullable=False, default=""),
    Column("fetched_at", Instant, nullable=False),
    Column("doomed_at", Instant, index=True),  # set while the file is being deleted; then the row is deleted
)

digests = Table(
    "digests", metadata,
    Column("id", Id, primary_key=True),
    Column("name", String(64), nullable=False, index=True),
    Column("slot_key", String(120), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("closed_at", Instant),  # NULL: claimed, and its messages are not yet in the outbox
    _text("error"),
    Column("rebuild", JSON(none_as_null=True)),  # NULL, or why an earlier digest is built again with less (model.Rebuild)
    Column("again", JSON(none_as_null=True)),  # NULL, or which runs are reported again to whom on request (model.Again)
    Column("rebuild_of", Id),  # NULL, or the id of the earlier digest, whose runs are reported again
    *_lease(),
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
    _text("subject"),
    Column("sender", AnyText, nullable=False),
    Column("file_key", AnyText, nullable=False),
    _count("size_bytes"),
    Column("state", String(10), nullable=False, default="waiting"),
    Column("created_at", Instant, nullable=False),
    Column("next_attempt_at", Instant, nullable=False),
    Column("sent_at", Instant),
    _text("last_error"),
    *_lease(),
    Index(None, "state", "next_attempt_at"),
)

recipients = Table(
    "recipients", metadata,
    Column("message_id", ForeignKey("messages.id"), primary_key=True, autoincrement=False),
    Column("address", String(320), primary_key=True),
    Column("state", String(10), nullable=False, default="waiting"),
    Column("code", Integer, nullable=False, default=0),
    _text("answer"),
    Column("seen_at", Instant),  # when a person has seen that the address was refused
)
UNSEEN = (recipients.c.state == literal_column("'refused'")) & recipients.c.seen_at.is_(None)
"""The recipients whom a mail server refused for good, and of whom no person has marked this as seen."""
_partial("ix_recipients_refused", recipients.c.address, where=UNSEEN)

deliveries = Table(
    "deliveries", metadata,
    Column("id", Id, primary_key=True),
    Column("message_id", ForeignKey("messages.id"), nullable=False, index=True),
    Column("at", Instant, nullable=False, index=True),
    Column("attempt", Integer, nullable=False),
    Column("accepted", Integer, nullable=False, default=0),
    Column("refused", Integer, nullable=False, default=0),
    _text("error"),
)

paused = Table(  # spiders whose slots are not claimed until they are resumed
    "paused", metadata,
    Column("spider", String(64), primary_key=True),
    Column("since", Instant, nullable=False),
)

host_pauses = Table(  # hosts with a Retry-After longer than a run waits
    "host_pauses", metadata,
    Column("host", String(320), primary_key=True),  # "name:port"
    Column("until", Instant, nullable=False),
    Column("spider", String(64), nullable=False),  # the spider whose run received the Retry-After
)

login_cookies = Table(  # cookies that keep a spider logged in and have an expiry, as last found in the spider's cookie jar
    "login_cookies", metadata,
    Column("id", Id, primary_key=True),
    Column("spider", String(64), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("site", Text, nullable=False),
    Column("login_at", Instant, nullable=False),  # time of the login or of the import of the cookies
    Column("brought_in", Boolean, nullable=False),
    Column("ends_at", Instant, nullable=False),
)

pulse = Table(  # written by every service periodically: proof that the database can be written
    "pulse", metadata,
    Column("host", String(120), primary_key=True),
    Column("at", Instant, nullable=False),
)

alerts = Table(
    "alerts", metadata,
    Column("id", Id, primary_key=True),
    Column("spider", String(64), nullable=False),
    Column("kind", String(20), nullable=False),  # failing, suspect, late, login, digest
    Column("since", Instant, nullable=False),
    Column("told_at", Instant, nullable=False),  # when the message about the start of the problem was put into the outbox
    Column("over_at", Instant),  # when the message about the end of the problem was put into the outbox; NULL: not over
    _text("error"),
)
# When two services see the same condition at the same moment, one of them sends the alert.
_partial("uq_alerts_open", alerts.c.spider, alerts.c.kind, unique=True, where=alerts.c.over_at.is_(None))

mendings = Table(  # the last proposal of new rules for each spider
    "mendings", metadata,
    Column("id", Id, primary_key=True),
    Column("spider", String(64), nullable=False, unique=True),
    Column("pass_id", Id, nullable=False),  # the suspect pass after which the proposal was made
    Column("run_id", Id, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("state", String(10), nullable=False, default="waiting", server_default="waiting"),
    Column("report", JSON, nullable=False, default=dict, server_default="{}"),  # see pipeline.workers.pages.mend
    *_lease(),
)
