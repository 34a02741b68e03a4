"""The metadata of all tables, and the columns that several tables have."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Index,
    Integer,
    MetaData,
    String,
)

from pipeline.store.database.column_types import AnyText, Id, Instant, MaskedText

metadata = MetaData(naming_convention={
    "ix": "ix_%(table_name)s_%(column_0_N_name)s", "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s", "pk": "pk_%(table_name)s",
})


def lease_columns() -> list[Column[Any]]:
    return [Column("lease_owner", String(120), nullable=False, default="", server_default=""),
            Column("lease_until", Instant),
            Column("attempt", Integer, nullable=False, default=0, server_default="0")]


def text_column(name: str) -> Column[str]:
    return Column(name, AnyText, nullable=False, default="", server_default="")


def error_column(name: str, most: int | None = 2000) -> Column[str]:
    """Return a column for errors, reasons and other texts that may repeat a secret. most: the number of characters that are kept."""
    return Column(name, MaskedText(most), nullable=False, default="", server_default="")


def count_column(name: str) -> Column[int]:
    return Column(name, Id, nullable=False, default=0, server_default="0")


def partial_index(name: str, *columns: Column[Any], where: ColumnElement[bool], unique: bool = False) -> Index:
    """Return an index of the rows that match `where` (a partial index). `where` is set only for SQLite.

    migrate.create() sets `where` for PostgreSQL: setting it here would import the PostgreSQL dialect at every start.
    """
    return Index(name, *columns, unique=unique, sqlite_where=where)
