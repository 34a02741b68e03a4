"""The PostgreSQL backend: one writer at a time for each spider, and a snapshot for each reader.

A writing transaction first takes the advisory lock WRITERS, which has the effect of BEGIN IMMEDIATE on SQLite: until the
transaction ends, no other process can change what it has read. Therefore, the same queries are correct on both databases, and
no transaction fails with a serialization error.

A transaction that uses only the rows of one spider takes WRITERS in shared mode, and the lock of the spider in exclusive mode.
Such transactions of several spiders run at the same time, and exclude all transactions that use all rows. There is no deadlock,
because every transaction takes WRITERS before the lock of a spider, and takes one spider's lock at most. No transaction waits
for ever: PostgreSQL grants locks in the order of the requests, so that new shared requests wait behind an exclusive request.

The server ends a transaction, and so releases its locks, if the client of the transaction has disappeared
(idle_in_transaction_session_timeout, TCP keepalive).
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Column, Connection, Engine, MetaData, String, Table, create_engine, inspect, select
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from pipeline.errors import DiskFullError, StoreError
from pipeline.store.database.schema import metadata, schema_versions
from pipeline.store.database.schema_version import HEAD, OLDEST_PROGRAM, too_old
from pipeline.text import counted

if TYPE_CHECKING:
    import psycopg

SIZE = "SELECT pg_database_size(current_database())"
VERSION = "SHOW server_version"
NEEDED = (12,)
LOCK_TIMEOUT_S = 30
CONNECT_TIMEOUT_S = 10
IDLE_TIMEOUT_S = 15
"""The server ends a transaction that is idle for this long, because the client of the transaction has disappeared.

A healthy client is idle for only milliseconds between two statements. The limit is below LOCK_TIMEOUT_S: if a node is cut off while it
holds the write lock, the other nodes wait, and no write fails.
"""
LOST_AFTER_S = 15
"""A connection is closed if the server does not acknowledge data, or does not answer keepalive probes, for this long.

A longer time would be of no use: by then, the leases of this process have expired (leases.TTL).
"""
STATEMENT_TIMEOUT_S = 300
_VERSION = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))
WRITERS = 0x63746F69
"""The number of the advisory lock of all writing transactions ("ctoi"), and the first number of the locks of spiders.

PostgreSQL keeps locks with one number and locks with two numbers apart.
"""


def open_engine(url: URL) -> Engine:
    """Create the SQLAlchemy engine for a PostgreSQL URL. Raises StoreError if the driver is not installed."""
    try:
        return create_engine(url.set(drivername="postgresql+psycopg"), connect_args=_arguments(url), pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise StoreError(f"PostgreSQL needs the package {error.name}, which is not installed",
                         where="pipeline.database", fix="run `pip install 'crawl-to-inbox[postgres]'`") from error


def _arguments(url: URL) -> dict[str, Any]:
    options = {"lock_timeout": LOCK_TIMEOUT_S * 1000, "statement_timeout": STATEMENT_TIMEOUT_S * 1000,
               "idle_in_transaction_session_timeout": IDLE_TIMEOUT_S * 1000}
    return {
        "connect_timeout": CONNECT_TIMEOUT_S, "application_name": "pipeline", "client_encoding": "utf8",
        "options": _with_options(url.query.get("options", ""), options),
        "keepalives_idle": LOST_AFTER_S // 3, "keepalives_interval": LOST_AFTER_S // 3, "keepalives_count": 2,
        "tcp_user_timeout": LOST_AFTER_S * 1000,
    }


def _with_options(given: object, options: Mapping[str, int]) -> str:
    """Return the parameter `options` of a connection: what the URL has given, and then settings of the server for the session."""
    return " ".join([str(given), *(f"-c {name}={value}" for name, value in options.items())]).strip()


def connect(engine: Engine, *, options: Mapping[str, int] = MappingProxyType({}), **arguments: Any) -> psycopg.Connection[Any]:
    """Open a session outside the engine's pool, in which each statement is a transaction of its own. Raises psycopg.Error.

    options: settings of the server for this session. arguments: of psycopg.connect().
    """
    import psycopg  # noqa: PLC0415  only installed where PostgreSQL is used
    found = engine.dialect.create_connect_args(engine.url)[1]
    if options:
        found["options"] = _with_options(found.get("options", ""), options)
    return psycopg.connect(**{**found, **arguments}, autocommit=True)


def driver_arguments(engine: Engine) -> dict[str, Any]:
    """Return the arguments of psycopg.connect() with which the engine opens its connections."""
    arguments = {**engine.dialect.create_connect_args(engine.url)[1], **_arguments(engine.url)}
    return {name: value for name, value in arguments.items() if name != "context"}  # SQLAlchemy's own types


def begin(connection: Connection, *, write: bool, durable: bool, spider: str = "") -> None:
    """Start a transaction.

    A writing transaction takes the write lock; a reading transaction sees a single snapshot.
    durable: whether the commit waits until the server has written the transaction to disk (synchronous_commit).
    spider: the spider whose rows a writing transaction uses; "" means all rows.
    """
    if write:
        # READ COMMITTED, whatever the server's default: statements after the lock see what the last writer committed.
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE")
        locks = f"pg_advisory_xact_lock({WRITERS})" if not spider else \
            f"pg_advisory_xact_lock_shared({WRITERS}), pg_advisory_xact_lock({WRITERS}, {_number_of(spider)})"
        connection.exec_driver_sql(f"SELECT set_config('synchronous_commit', '{'on' if durable else 'off'}', true), {locks}")
        _refuse_unsupported(connection)
    else:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


def begin_unlocked(connection: Connection) -> None:
    """Start a writing transaction that takes no lock, if this program is not too old for the database."""
    connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE")
    _refuse_unsupported(connection)


def _refuse_unsupported(connection: Connection) -> None:
    """Raise SchemaVersionError if a newer version has migrated the database, so that this program must not write to it.

    The query follows the locks, so it sees the migration for which this transaction has waited. As a statement of its own, it is
    prepared once in each session; a DO block with it and the locks would be compiled each time, and take three times as long.
    """
    if not connection.info.get("has_versions"):
        connection.info["has_versions"] = connection.exec_driver_sql("SELECT to_regclass('schema_versions') IS NOT NULL").scalar()
        if not connection.info["has_versions"]:  # the tables have yet to be created or migrated
            return
    needed = connection.exec_driver_sql(OLDEST_PROGRAM).scalar()
    if needed is not None and needed > HEAD:
        raise too_old(needed, connection.engine.url.render_as_string(hide_password=True))


def _number_of(spider: str) -> int:
    """Return the second number of a spider's lock, a signed number of 32 bits. Two spiders may share a number, and so a lock."""
    return zlib.crc32(spider.encode()) - 2**31


END = b"\\.\n"
"""The line that ends the rows of a table in a dump, as COPY writes it; no row looks like this line."""


def dump(engine: Engine, target: Path) -> None:
    """Write all tables, as of one snapshot, to the file `target` in COPY format.

    A line of JSON with the name and the columns of the table precedes the rows of each table. The table `schema_versions` is left
    out: the migrations of a restore fill it.
    """
    with engine.connect() as connection, connection.begin(), target.open("wb") as file:
        begin(connection, write=False, durable=False)
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        cursor = connection.connection.cursor()
        there = set(inspect(connection).get_table_names())  # before a migration, tables of later versions are missing
        for table in (*(table for table in metadata.sorted_tables if table.name in there and table is not schema_versions), _VERSION):
            columns = _columns(connection, table.name)
            file.write(json.dumps({"table": table.name, "columns": columns}).encode() + b"\n")
            with cursor.copy(f"COPY {table.name} ({_listed(columns)}) TO STDOUT") as copy:
                for rows in copy:
                    file.write(rows)
            file.write(END)
        file.flush()
        os.fsync(file.fileno())


def load(connection: Connection, source: Path) -> None:
    """Fill the empty tables from a dump of the same schema, inside the transaction of `connection`."""
    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    cursor = connection.connection.cursor()
    with source.open("rb") as file:
        while head := file.readline():
            found = json.loads(head)
            if found["table"] == _VERSION.name:
                return  # the migrations have written this table already
            with cursor.copy(f"COPY {found['table']} ({_listed(found['columns'])}) FROM STDIN") as copy:
                while (row := file.readline()) not in (END, b""):
                    copy.write(row)
            if "id" in found["columns"]:
                connection.exec_driver_sql(
                    f"SELECT setval(pg_get_serial_sequence('{found['table']}', 'id'), "  # noqa: S608  our own tables
                    f"(SELECT coalesce(max(id), 1) FROM {found['table']}))")


def _columns(connection: Connection, table: str) -> list[str]:
    return [column["name"] for column in inspect(connection).get_columns(table)]


def _listed(columns: list[str]) -> str:
    return ", ".join(f'"{column}"' for column in columns)


def damage(connection: Connection) -> Iterator[str]:
    """Yield a description of each problem that the server knows of, such as an invalid index.

    Damage can be an unreadable table, a failed checksum or an invalid index. The server repairs its own files after a crash.
    This function does not read every page; the tool pg_amcheck does.
    """
    for table in metadata.sorted_tables:
        connection.execute(select(table).limit(1)).all()
    failed = connection.exec_driver_sql(
        "SELECT checksum_failures, checksum_last_failure FROM pg_stat_database WHERE datname = current_database()").one()
    if failed.checksum_failures:
        yield (f"{counted(failed.checksum_failures, 'page')} of the database had a wrong checksum, last at "
               f"{failed.checksum_last_failure:%Y-%m-%d %H:%M %Z} (after the repair, reset this count with pg_stat_reset())")
    broken = connection.exec_driver_sql(
        "SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class ON pg_class.oid = indrelid"
        " WHERE relnamespace = current_schema()::regnamespace AND NOT indisvalid ORDER BY 1").scalars()
    yield from (f"the index {name} is not valid: rebuild the index with REINDEX" for name in broken)


_BY_STATE = {
    "55P03": (f"another transaction held the write lock for {LOCK_TIMEOUT_S} s", "find the transaction in pg_stat_activity and end it", True),
    "57014": (f"an SQL statement took longer than {STATEMENT_TIMEOUT_S} s", "check the log and the load of the database server", True),
    "25P03": ("the database server ended a transaction that was idle for too long", "the pipeline tries again", True),
    "57P01": ("the database server is shutting down", "the pipeline tries again", True),
    "57P02": ("the database server crashed", "the pipeline tries again", True),
    "57P03": ("the database server is starting or stopping", "the pipeline tries again", True),
    "53300": ("the database server accepts no more connections", "increase `max_connections` in postgresql.conf", True),
    "42703": ("the database lacks a column", "if a newer version has migrated the database, upgrade this program", False),
    "42P01": ("the database lacks a table", "if a newer version has migrated the database, upgrade this program", False),
    "42501": ("the database user lacks a permission", "make the user the owner of the database, or grant the user CREATE on the schema", False),
    "25006": ("the database server is read-only, as a standby is", "set [pipeline] database to the primary server", True),
    "XX001": ("the database is damaged", "restore a backup", False),
    "XX002": ("an index of the database is damaged", "rebuild the index with REINDEX, or restore a backup", False),
}


def translated(error: DBAPIError, where: str) -> StoreError | DiskFullError:
    """Return the StoreError or DiskFullError to raise for an error of the PostgreSQL driver."""
    state = getattr(error.orig, "sqlstate", None)
    reason = " ".join(str(error.orig).split())
    if state == "53100":
        return DiskFullError(f"the database cannot be written: {reason}", where=where,
                             fix="free some disk space on the database server; no committed data was lost", retry=True)
    if state in _BY_STATE:
        what, fix, retry = _BY_STATE[state]
        return StoreError(f"{what}: {reason}", where=where, fix=fix, retry=retry)
    if "unsupported startup parameter" in reason:
        return StoreError(f"a connection pooler refuses the settings of a session: {reason}", where=where,
                          fix="let [pipeline] database name the server itself; or set pool_mode = session and ignore_startup_parameters = options in PgBouncer")
    lost = state is None and isinstance(error, (OperationalError, InterfaceError))
    if lost or error.connection_invalidated or (state or "").startswith("08"):
        return StoreError(f"the database does not respond: {reason}", where=where,
                          fix="check that the database server runs, and that [pipeline] database names a user who may connect and a "
                          "database that exists (`createdb` creates a database)", retry=True)
    return StoreError(f"the database reported an error: {reason}", where=where, retry=(state or "")[:2] in ("40", "53", "57"))
