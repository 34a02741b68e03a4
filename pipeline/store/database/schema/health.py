"""Tables about the state of logins and services."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    String,
    Table,
    Text,
)

from pipeline.store.database.column_types import Id, Instant
from pipeline.store.database.schema.base import metadata

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
