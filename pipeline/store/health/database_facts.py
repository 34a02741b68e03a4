"""The facts about a database that `pipeline doctor` checks: version, size and newest stored time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from pipeline.store.database.engine import BACKENDS, Store
from pipeline.store.database.schema import pulse, runs


@dataclass(frozen=True)
class DatabaseFacts:
    """The version, the size and the newest time of a database.

    needed: the oldest supported version of the database, or "" if `version` is supported.
    newest: the newest time stored in the database; None if the database is empty.
    """

    version: str
    needed: str
    size_bytes: int
    newest: datetime | None


def database_facts(store: Store) -> DatabaseFacts:
    """Return the facts about the store's database. Raises StoreError."""
    backend = BACKENDS[store.kind]
    with store.read() as connection:
        version = str(connection.exec_driver_sql(backend.VERSION).scalar()).split()[0]
        size_bytes = store.size_bytes(connection)
        times = (connection.execute(select(func.max(runs.c.created_at))).scalar(),
                 connection.execute(select(func.max(pulse.c.at))).scalar())
    too_old = tuple(int(part) for part in version.split(".") if part.isdigit()) < backend.NEEDED
    return DatabaseFacts(version, ".".join(map(str, backend.NEEDED)) if too_old else "", size_bytes,
                         max((at for at in times if at is not None), default=None))
