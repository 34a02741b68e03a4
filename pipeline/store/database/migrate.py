"""Migrate a database to the schema of this version.

A copy is made before a migration that may lose data.

There are no downgrades.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Column, Connection, MetaData, PrimaryKeyConstraint, String, Table, insert, inspect, select
from sqlalchemy.exc import DBAPIError

from pipeline.errors import DiskFullError, StoreError
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import NOTE_EDITED_ITEMS, metadata, nodes, schema_versions
from pipeline.store.database.schema_version import HEAD, OLDEST_PROGRAM, WORKS_WITH, refuse_unsupported, revision_of

if TYPE_CHECKING:
    from alembic.script import Script

__all__ = ["HEAD", "KEPT_BEFORE", "MIGRATIONS", "create", "oldest_program_after", "refuse_newer", "refuse_other", "refuse_unsupported_of", "revision", "revision_of",
           "run", "upgrade"]

MIGRATIONS = Path(__file__).parent / "migrations"
KEPT_BEFORE = "backups"
"""The folder in data_dir that holds the copies of the database made before migrations."""
LOCK_TIMEOUT_S = 3
"""How long a migration on PostgreSQL waits for the lock of a table. Every other query of the table waits behind it for as long."""
LOCK_RETRY_S = 1.0
GIVE_UP_S = 600.0
"""How long a migration on PostgreSQL is tried again while other transactions, such as a backup, use its tables."""
_LOCK_NOT_AVAILABLE = "55P03"
_NODE_IS_GONE = timedelta(seconds=60)

logger = logging.getLogger(__name__)

# The table as Alembic creates it.
_version = Table("alembic_version", MetaData(), Column("version_num", String(32), nullable=False),
                 PrimaryKeyConstraint("version_num", name="alembic_version_pkc"))


def revision(store: Store) -> str | None:
    """Return the number of the last migration applied to a store; None if the store has no tables."""
    with store.read() as connection:
        return revision_of(connection)


def refuse_newer(found: str | None, where: str) -> None:
    """Raise StoreError if the schema is newer than this version of the program.

    found: the number of the last migration.
    """
    if found is not None and found > HEAD:
        raise StoreError(f"the database schema is version {found}; this program supports versions up to {HEAD}", where=where,
                         fix="upgrade the program, because a newer version has written the database")


def refuse_other(found: str | None, where: str) -> None:
    """Raise StoreError if the schema is older than the schema of this version of the program.

    found: the number of the last migration; None if the database has no tables.
    """
    if found is None or found < HEAD:
        raise StoreError(f"the database schema is version {found or 'none'}; this program needs version {HEAD}", where=where,
                         fix="start `pipeline serve`, which migrates the database")


def refuse_unsupported_of(store: Store) -> None:
    """Raise SchemaVersionError if the store has a newer schema with which this program does not work; StoreError if it cannot be read."""
    with store.read() as connection:
        refuse_unsupported(connection, store.where)


def upgrade(store: Store, *, to: str = HEAD, scripts: Path = MIGRATIONS, copy: bool = True) -> None:
    """Migrate the tables to `to` in one transaction, after copying the database to backups/ in data_dir.

    If the store has no tables, they are created directly from schema/, because importing Alembic takes 150 ms and 11 MB.
    Several processes may start at once: the first one to get the write lock migrates, and the others find nothing left to do.
    copy: whether to copy the database. A shared database is copied only before a migration after which the program that wrote it no
    longer works, and while others write it. Raises StoreError, DiskFullError.
    """
    found = revision(store)
    if found is not None and found >= to:
        return
    kept = _copy(store, found, to) if copy and store.shared and found is not None and oldest_program_after(found, to, scripts) > found else None
    give_up = time.monotonic() + GIVE_UP_S
    while True:
        try:
            migrated = _migrate(store, to, scripts, copy=copy and not store.shared)
        except StoreError as error:
            if not _is_lock_timeout(error) or time.monotonic() > give_up:
                raise
            logger.warning("the migration waits, because another transaction uses the tables; it is tried again")
            time.sleep(LOCK_RETRY_S)
        else:
            break
    if kept is not None and not migrated:
        kept.unlink(missing_ok=True)  # another process was first, and this copy may have the new schema


def _migrate(store: Store, to: str, scripts: Path, *, copy: bool) -> bool:
    """Create or migrate the tables in one transaction; return False if another process has done so already."""
    with store.write(durable=True) as connection:
        found = revision_of(connection)
        if found is not None and found >= to:
            return False
        if found is None and to == HEAD:
            create(connection)
            return True
        if found is not None and copy:
            # This transaction has the write lock and has written nothing: the copy has the last state of the old schema.
            _copy(store, found, to)
        if store.shared:
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'")
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        run(connection, to=to, scripts=scripts)
        if store.shared:
            _warn_of_older_nodes(connection)
        return True


def _is_lock_timeout(error: StoreError) -> bool:
    return isinstance(error.__cause__, DBAPIError) and getattr(error.__cause__.orig, "sqlstate", None) == _LOCK_NOT_AVAILABLE


def _copy(store: Store, found: str, to: str) -> Path:
    kept = store.data_dir / KEPT_BEFORE / f"before-{to}-from-{found}.{store.kind}"
    kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        store.dump(kept)
    except DiskFullError as error:
        raise DiskFullError(f"the copy of the database before its migration cannot be written: {error.what}", where=str(kept), fix="free some disk space; or make a "
                            "backup elsewhere, and run `pipeline migrate --without-copy`") from error
    return kept


def create(connection: Connection) -> None:
    """Create the tables of migration HEAD in an empty database, inside the transaction of `connection`."""
    if connection.dialect.name == "postgresql":
        _add_conditions()
    metadata.create_all(connection, checkfirst=False)
    if connection.dialect.name == "sqlite":
        for trigger in NOTE_EDITED_ITEMS:
            connection.exec_driver_sql(trigger)
    _version.create(connection)
    connection.execute(insert(_version).values(version_num=HEAD))
    connection.execute(insert(schema_versions).values(revision=HEAD, works_with=WORKS_WITH, migrated_at=datetime.now(UTC)))


def _add_conditions() -> None:
    """Give the partial indexes of schema/ the same conditions on PostgreSQL as on SQLite."""
    for table in metadata.tables.values():
        for index in table.indexes:
            index.dialect_options["postgresql"]["where"] = index.dialect_options["sqlite"]["where"]


def run(connection: Connection, *, to: str = HEAD, scripts: Path = MIGRATIONS) -> None:
    """Run the migrations up to `to` inside the transaction of `connection`, and record the programs that work with each of them."""
    from alembic import command  # noqa: PLC0415  importing it takes 150 ms, and a store is seldom migrated
    from alembic.config import Config  # noqa: PLC0415

    found = revision_of(connection)
    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, to)
    if inspect(connection).has_table(schema_versions.name):
        connection.execute(insert(schema_versions), [{"revision": script.revision, "works_with": _works_with(script), "migrated_at": datetime.now(UTC)}
                                                     for script in _scripts(found, to, scripts)])


def oldest_program_after(found: str | None, to: str, scripts: Path = MIGRATIONS) -> str:
    """Return the oldest program that works with a database after its migration from `found` to `to`."""
    return max(_works_with(script) for script in _scripts(found, to, scripts))


def _scripts(found: str | None, to: str, scripts: Path) -> list[Script]:
    from alembic.script import ScriptDirectory  # noqa: PLC0415  as in run()

    return list(ScriptDirectory(str(scripts)).iterate_revisions(to, found or "base"))


def _works_with(script: Script) -> str:
    """Return the oldest program that works with the database after a migration: only itself if the migration does not say."""
    return str(getattr(script.module, "works_with", script.revision))


def _warn_of_older_nodes(connection: Connection) -> None:
    """Log the nodes that work now with a program that does not work with the migrated database."""
    needed = connection.exec_driver_sql(OLDEST_PROGRAM).scalar()
    names = connection.execute(select(nodes.c.name).distinct().where(
        nodes.c.schema < needed, nodes.c.seen_at > datetime.now(UTC) - _NODE_IS_GONE).order_by(nodes.c.name)).scalars().all()
    if names:
        logger.warning("the database was migrated: the programs of these nodes are too old for it and stop now: %s", ", ".join(names))
