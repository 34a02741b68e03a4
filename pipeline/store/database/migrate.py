"""From the schema a store has to the one this program needs: forward only, a copy of the database kept before."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, PrimaryKeyConstraint, String, Table, insert, inspect

from pipeline.errors import StoreError
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import metadata

HEAD = "0003"
"""The migration this code is written for; a test holds it against migrations/."""
MIGRATIONS = Path(__file__).parent / "migrations"
KEPT_BEFORE = "backups"
"""The folder in data_dir where a migration leaves what was there before."""

# As Alembic makes it.
_version = Table("alembic_version", MetaData(), Column("version_num", String(32), nullable=False),
                 PrimaryKeyConstraint("version_num", name="alembic_version_pkc"))


def revision(store: Store) -> str | None:
    """The migration a store is at; None for one without tables."""
    with store.read() as connection:
        return revision_of(connection)


def revision_of(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return None if found is None else str(found)


def refuse_newer(found: str | None, where: str) -> None:
    """Migrations are numbered. Raises StoreError for one that this program does not know yet."""
    if found is not None and found > HEAD:
        raise StoreError(f"its schema is at {found}, this version knows up to {HEAD}", where=where,
                         fix="it was written by a newer version: upgrade")


def refuse_other(found: str | None, where: str) -> None:
    """Raises StoreError for any schema but ours."""
    refuse_newer(found, where)
    if found != HEAD:
        raise StoreError(f"its schema is at {found or 'nothing'}, this version needs {HEAD}", where=where,
                         fix="run any `pipeline` command that writes, such as `pipeline serve`")


def upgrade(store: Store, *, to: str = HEAD, scripts: Path = MIGRATIONS) -> None:
    """Bring the tables to `to`, all or nothing. A store that has some is copied to backups/ in data_dir before; one that has
    none gets those of schema.py, without Alembic, which takes 150 ms and then 11 MB for as long as the process lives.

    Several processes may start at once: whoever gets the write lock second finds the work done. Raises StoreError,
    DiskFullError.
    """
    with store.write(durable=True) as connection:
        found = revision_of(connection)
        if found == to:
            return
        if found is not None:
            # The write lock is ours and nothing is written yet: this is the last state of the old schema.
            kept = store.files.path(f"{KEPT_BEFORE}/before-{to}-from-{found}.{store.kind}")
            kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            store.dump(kept)
        elif to == HEAD:
            create(connection)
            return
        run(connection, to=to, scripts=scripts)


def create(connection: Connection) -> None:
    """Make the tables of HEAD where there are none, inside the transaction of `connection`."""
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
