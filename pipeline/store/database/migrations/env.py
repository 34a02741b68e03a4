"""Alembic's entry point: run the migrations inside the transaction that engine.py opened."""

from typing import Any, Literal

from alembic import context
from sqlalchemy import TypeDecorator

from pipeline.store.database.schema import metadata


def plain_type(kind: str, value: Any, autogenerate: Any) -> str | Literal[False]:
    """Return the name of the plain SQLAlchemy type that a migration uses for one of our own types.

    A migration must stay the same, but our own column types may change. For other types, return False: Alembic then chooses the name.
    """
    return f"sa.{type(value.impl_instance).__name__}()" if kind == "type" and isinstance(value, TypeDecorator) else False


context.configure(connection=context.config.attributes["connection"], target_metadata=metadata,
                  transactional_ddl=False, render_as_batch=True, render_item=plain_type)
context.run_migrations()
