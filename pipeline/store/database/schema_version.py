"""The version of the schema, and which programs may use a database of a newer version.

Each migration says which is the oldest program that still works with the database afterwards (`works_with`, the number of the
last migration that this program knows). The table `schema_versions` keeps this for each migration that was applied. So services
of two versions can share a database during an upgrade: CONTRIBUTING.md, "How to write a migration".
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection, func, inspect, select, update

from pipeline.errors import StoreError
from pipeline.store.database.schema.cluster import schema_versions

HEAD = "0016"
"""The number of the last migration of this program; a test compares this number with migrations/."""
WORKS_WITH = "0008"
"""The oldest program that works with a database of migration HEAD; a test compares this number with migrations/."""
OLDEST_PROGRAM = "SELECT max(works_with) FROM schema_versions"


class SchemaVersionError(StoreError):
    """The database has a newer schema, with which this program no longer works."""


def revision_of(connection: Connection) -> str | None:
    """Return the number of the last migration applied to a database; None if the database has no tables."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return None if found is None else str(found)


def complete_since(connection: Connection) -> datetime:
    """Return since when the database has the rows of everything that its programs store: the creation of its tables, or the last restore."""
    found = connection.execute(select(func.max(schema_versions.c.migrated_at))).scalar()
    return datetime.max.replace(tzinfo=UTC) if found is None else found


def database_id(connection: Connection) -> str:
    """Return a text that tells this database from others: when its first tables were created, or when it was last restored."""
    found = connection.execute(select(func.min(schema_versions.c.migrated_at))).scalar()
    return "" if found is None else found.isoformat()


def count_as_restored(connection: Connection, now: datetime) -> None:
    """Note that a backup was restored: rows that were written between the backup and now may be missing."""
    connection.execute(update(schema_versions).values(migrated_at=now))


def oldest_program(connection: Connection) -> str | None:
    """Return the oldest program that may use the database; None if the database does not say so."""
    if not inspect(connection).has_table("schema_versions"):
        return None
    found = connection.exec_driver_sql(OLDEST_PROGRAM).scalar()
    return None if found is None else str(found)


def too_old(needed: str, where: str) -> SchemaVersionError:
    """Return the error for a program that is older than the oldest program that may use the database.

    needed: the number of the last migration that this oldest program knows.
    """
    return SchemaVersionError(f"a newer version has migrated the database, which needs a program with schema {needed} or later; this program has "
                              f"schema {HEAD}", where=where, fix="upgrade the program")


def refuse_unsupported(connection: Connection, where: str) -> None:
    """Raise SchemaVersionError if the database has a newer schema with which this program does not work."""
    found = revision_of(connection)
    if found is not None and found > HEAD:
        needed = oldest_program(connection) or found
        if needed > HEAD:
            raise too_old(needed, where)
