"""Migrate a database to the schema of this version, after a copy of it. There are no downgrades."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, PrimaryKeyConstraint, String, Table, insert, inspect

from pipeline.errors import StoreError
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import metadata

HEAD = "0003"
"""The migration that this version needs; a test compares it with migrations/."""
MIGRATIONS = Path(__file__).parent / "migrations"
KEPT_BEFORE = "backups"
"""The folder in data_dir for the copy of the database from before a migration."""

# As Alembic creates it.
_version = Table("alembic_version", MetaData(), Column("version_num", String(32), nullable=False),
                 PrimaryKeyConstraint("version_num", name="alembic_version_pkc"))


def revision(store: Store) -> str | None:
    """The number of a store's last migration; None for a store without tables."""
    with store.read() as connection:
        return revision_of(connection)


def revision_of(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return None if found is None else str(found)


def refuse_newer(found: str | None, where: str) -> None:
    """Raise StoreError when the schema is newer than this version knows. Migrations are numbered."""
    if found is not None and found > HEAD:
        raise StoreError(f"its schema is at {found}, this version knows up to {HEAD}", where=where,
                         fix="it was written by a newer version: upgrade")


def refuse_other(found: str | None, where: str) -> None:
    """Raise StoreError for any schema but that of this version."""
    refuse_newer(found, where)
    if found != HEAD:
        raise StoreError(f"its schema is at {found or 'nothing'}, this version needs {HEAD}", where=where,
                         fix="run any `pipeline` command that writes, such as `pipeline serve`")


def upgrade(store: Store, *, to: str = HEAD, scripts: Path = MIGRATIONS) -> None:
    """Migrate the tables to `to` in one transaction, after a copy of the database to backups/ in data_dir.

    A store without tables gets those of schema.py directly: Alembic takes 150 ms to import, and 11 MB. Several processes
    may start at once; the second to get the write lock finds the work done. Raises StoreError, DiskFullError.
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
    """Create the tables of HEAD in an empty database, inside the transaction of `connection`."""
    metadata.create_all(connection, checkfirst=False)
    _version.create(connection)
    connection.execute(insert(_version).values(version_num=HEAD))


def run(connection: Connection, *, to: str = HEAD, scripts: Path = MIGRATIONS) -> None:
    """Run the migrations up to `to` inside the transaction of `connection`."""
    from alembic import command  # noqa: PLC0415  it takes 150 ms, and a store is migrated once
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, to)
