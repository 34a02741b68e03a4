"""The audit log: who did what to what, from where, and with which outcome."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, insert, select

from pipeline.store.database.engine import Store
from pipeline.store.database.schema import audit_log

KEPT_FOR = timedelta(days=365)
_BATCH = 1000


@dataclass(frozen=True)
class AuditEntry:
    """An action of a person or a script.

    who: the name of a token, or the user of a command. source: an IP address, "Unix socket" or "command line". action: such as "pause".
    target: such as "spider books". outcome: "done", or why the action was refused or failed.
    """

    at: datetime
    who: str
    source: str
    action: str
    target: str = ""
    outcome: str = "done"


def write(store: Store, entry: AuditEntry) -> None:
    """Append an entry. Long texts are cut."""
    with store.write() as connection:
        connection.execute(insert(audit_log).values(
            at=entry.at, who=entry.who[:120], source=entry.source[:120], action=entry.action[:64], target=entry.target,
            outcome=entry.outcome))


def entries(store: Store, *, limit: int, who: str | None = None, since: datetime | None = None) -> list[AuditEntry]:
    """Return the newest `limit` entries, the oldest of them first. who, since: only entries of this name, and from this time."""
    wanted = select(audit_log)
    if who is not None:
        wanted = wanted.where(audit_log.c.who == who)
    if since is not None:
        wanted = wanted.where(audit_log.c.at >= since)
    with store.read() as connection:
        rows = connection.execute(wanted.order_by(audit_log.c.id.desc()).limit(limit)).all()
    return [AuditEntry(row.at, row.who, row.source, row.action, row.target, row.outcome) for row in reversed(rows)]


def fields(entry: AuditEntry) -> dict[str, object]:
    """Return an entry as fields for JSON."""
    return asdict(entry)


def delete_old(store: Store, *, now: datetime) -> int:
    """Delete entries older than a year, at most 1,000 at once; return how many."""
    with store.write() as connection:
        old = select(audit_log.c.id).where(audit_log.c.at < now - KEPT_FOR).order_by(audit_log.c.id).limit(_BATCH)
        return int(connection.execute(delete(audit_log).where(audit_log.c.id.in_(old))).rowcount)
