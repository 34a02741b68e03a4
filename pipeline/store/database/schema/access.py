"""Tables about who may use the service, and what they did."""

from __future__ import annotations

from sqlalchemy import JSON, Column, Integer, String, Table, UniqueConstraint

from pipeline.store.database.column_types import Id, Instant
from pipeline.store.database.schema.base import error_column, metadata, text_column

api_tokens = Table(
    "api_tokens", metadata,
    Column("id", Id, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("token_hash", String(64), nullable=False, unique=True),  # SHA-256, hexadecimal: the token itself is stored nowhere
    Column("scope", String(10), nullable=False),  # read, full
    Column("created_at", Instant, nullable=False),
    Column("last_used_at", Instant),  # written at most once a minute
    Column("revoked_at", Instant),
)

audit_log = Table(  # what people and scripts did with this service
    "audit_log", metadata,
    Column("id", Id, primary_key=True),
    Column("at", Instant, nullable=False, index=True),
    Column("who", String(120), nullable=False),  # the name of a token, or the user of a command
    Column("source", String(120), nullable=False),  # an IP address, "Unix socket" or "command line"
    Column("action", String(64), nullable=False),
    error_column("target", 300),
    error_column("outcome", 300),
)

api_requests = Table(  # POST requests to the API that had an Idempotency-Key
    "api_requests", metadata,
    Column("id", Id, primary_key=True),
    Column("token", String(64), nullable=False),  # the name of the token
    Column("key_hash", String(64), nullable=False),  # SHA-256, hexadecimal, of the key
    Column("request_hash", String(64), nullable=False),  # SHA-256, hexadecimal, of the route, the parameters and the body
    Column("created_at", Instant, nullable=False, index=True),
    Column("status", Integer),  # NULL: the request is being performed, or the process has ended meanwhile
    Column("headers", JSON(none_as_null=True)),
    text_column("body"),
    UniqueConstraint("token", "key_hash"),
)

console_sessions = Table(  # browsers that have signed in to the pages
    "console_sessions", metadata,
    Column("id", Id, primary_key=True),
    Column("id_hash", String(64), nullable=False, unique=True),  # SHA-256, hexadecimal, of the secret in the cookie
    Column("token_hash", String(64), nullable=False),  # of the token that was entered: the session ends when this token is no longer valid
    Column("token_name", String(64), nullable=False),
    Column("source", String(120), nullable=False),  # the address from which the browser signed in
    Column("created_at", Instant, nullable=False),
    Column("last_seen_at", Instant, nullable=False),  # written at most once a minute
    Column("expires_at", Instant, nullable=False, index=True),
)
