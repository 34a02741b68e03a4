"""Migrate a database to the schema of this version, after making a copy of the database.

There are no downgrades.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, PrimaryKeyConstraint, String, Table, insert, inspect

from pipeline.errors import StoreError
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import metadata

HEAD = "0008"
"""The number of the last migration of this version; a test compares this number with migrations/."""
MIGRATIONS = Path(__file__).parent / "migrations"
KEPT_BEFORE = "backups"
"""The folder in data_dir that holds the copies of the database made before migrations."""

# The table as Alembic creates it.
_version = Table("alembic_version", MetaData(), Column("version_num", String(32), nullable=False),
                 PrimaryKeyConstraint("version_num", name="alembic_version_pkc"))


def revision(store: Store) -> str | None:
    """Return the number of the last migration applied to a store; None if the store has no tables."""
    with store.read() as connection:
        return revision_of(connection)


def revision_of(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return None if found is None else str(found)


def refuse_newer(found: str | None, where: str) -> None:
    """Raise StoreError if the schema is newer than this version of the program.

    found: the number of the last migration.
    """
    if found is not None and found > HEAD:
        raise StoreError(f"the database schema is version {found}; this program supports versions up to {HEAD}", where=where,
                         fix="upgrade the program, because a newer version has written the database")


def refuse_other(found: str | None, where: str) -> None:
    """Raise StoreError if the schema is not the schema of this version of the program.

    found: the number of the last migration; None if the database has no tables.
    """
    refuse_newer(found, where)
    if found != HEAD:
        raise StoreError(f"the database schema is version {found or 'none'}; this program needs version {HEAD}", where=where,
                         fix="start `pipeline serve`, which migrates the database")


def upgrade(store: Store, *, to: str = HEAD, scripts: Path = MIGRATIONS) -> None:
    """Copy the database to backups/ in data_dir, then migrate its tables to `to` in one transaction.

    If the store has no tables, they are created directly from schema/, because importing Alembic takes 150 ms and 11 MB.
    Several processes may start at once: the first one to get the write lock migrates, and the others find nothing left to do.
    Raises StoreError, DiskFullError.
    """
    with store.write(durable=True) as connection:
        found = revision_of(connection)
        if found == to:
            return
        if found is not None:
            # This transaction has the write lock and has written nothing: the copy has the last state of the old schema.
            kept = store.files.path(f"{KEPT_BEFORE}/before-{to}-from-{found}.{store.kind}")
            kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            store.dump(kept)
        elif to == HEAD:
            create(connection)
            return
        run(connection, to=to, scripts=scripts)


def create(connection: Connection) -> None:
    """Create the tables of migration HEAD in an empty database, inside the transaction of `connection`."""
    if connection.dialect.name == "postgresql":
        _add_conditions()
    metadata.create_all(connection, checkfirst=False)
    _version.create(connection)
    connection.execute(insert(_version).values(version_num=HEAD))


def _add_conditions() -> None:
    """Give the partial indexes of schema/ the same conditions on PostgreSQL as on SQLite."""
    for table in metadata.tables.values():
        for index in table.indexes:
            index.dialect_options["postgresql"]["where"] = index.dialect_options["sqlite"]["where"]


def run(connection: Connection, *, to: str = HEAD, scripts: Path = MIGRATIONS) -> None:
    """Run the migrations up to `to` inside the transaction of `connection`."""
    from alembic import command  # noqa: PLC0415  importing it takes 150 ms, and a store is seldom migrated
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, to)
