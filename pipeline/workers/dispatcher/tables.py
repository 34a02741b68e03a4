"""Create and upgrade the tables of procrastinate with its own scripts.

A comment on one of the tables records which script was applied last. Tables without this comment belong to another program.
"""

from __future__ import annotations

from pathlib import Path

from procrastinate.schema import SchemaManager
from sqlalchemy import Connection, text

from pipeline.errors import StoreError
from pipeline.store import Store

_LOCK = 0x63746F6A  # number of the advisory lock: "ctoj"
_MARK = "crawl-to-inbox: "
"""The comment on the table consists of this mark and the name of the script that was applied last."""
_COMMENT = text("SELECT obj_description(oid, 'pg_class') FROM pg_class WHERE relname = 'procrastinate_jobs' AND pg_table_is_visible(oid)")
"""This query reads pg_class itself. to_regclass() may answer from a cache that is as old as the beginning of the transaction, and so may not
see the tables for which the transaction has waited.
"""


def prepare_tables(store: Store) -> None:
    """Create the tables of procrastinate, or upgrade them to the installed version. Raises StoreError.

    Several processes may call this function at the same time.
    """
    scripts = _scripts()
    with store.read() as connection:
        if _applied(connection, store) == scripts[-1].stem:
            return
    while True:  # each script in a transaction of its own: a later script may use what an earlier one has added to a type
        with store.write(durable=True) as connection:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            applied = _applied(connection, store)
            if applied is None:
                _apply(connection, SchemaManager.get_schema(), scripts[-1])
                return
            later = [script for script in scripts if script.stem > applied]
            if not later:
                return
            _apply(connection, later[0].read_text("utf-8"), later[0])


def _scripts() -> list[Path]:
    """Return the migration scripts of the installed version of procrastinate, in the order in which they must be applied."""
    return sorted(Path(SchemaManager.get_migrations_path()).glob("*.sql"))


def _applied(connection: Connection, store: Store) -> str | None:
    """Return the name of the script that was applied last; None if there are no tables.

    Raises StoreError if the tables belong to another program, or if a newer version of procrastinate has upgraded them.
    """
    found = connection.execute(_COMMENT).first()
    if found is None:
        return None
    comment = found[0] or ""
    if not comment.startswith(_MARK):
        raise StoreError("the database has tables of procrastinate that another program has created", where=store.where,
                         fix='use another database, or set [cluster] dispatcher = "local"')
    applied = comment.removeprefix(_MARK)
    if applied > _scripts()[-1].stem:
        raise StoreError(f"a newer version of procrastinate has upgraded its tables (the last script is {applied})", where=store.where,
                         fix="run `pip install --upgrade 'crawl-to-inbox[cluster]'` on this node")
    return applied


def _apply(connection: Connection, sql: str, script: Path) -> None:
    connection.exec_driver_sql(sql, execution_options={"no_parameters": True})
    connection.exec_driver_sql(f"COMMENT ON TABLE procrastinate_jobs IS '{_MARK}{script.stem}'")
