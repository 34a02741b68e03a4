"""Sessions of browsers that have signed in to the pages, stored without their secrets."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import delete, insert, select, update

from pipeline.store.database.engine import Store
from pipeline.store.database.schema import console_sessions

_BATCH = 1000


@dataclass(frozen=True)
class ConsoleSession:
    """A session. id_hash: SHA-256 of its secret. token_hash, token_name: of the token that was entered. source: the address of the browser."""

    id_hash: str
    token_hash: str
    token_name: str
    source: str
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime


def add(store: Store, session: ConsoleSession) -> None:
    with store.write() as connection:
        connection.execute(insert(console_sessions).values(**asdict(session)))


def find(store: Store, id_hash: str) -> ConsoleSession | None:
    """Return a session, also if it has expired."""
    with store.read() as connection:
        row = connection.execute(select(console_sessions).where(console_sessions.c.id_hash == id_hash)).first()
    if row is None:
        return None
    return ConsoleSession(row.id_hash, row.token_hash, row.token_name, row.source, row.created_at, row.last_seen_at, row.expires_at)


def note_use(store: Store, session: ConsoleSession) -> None:
    """Store `last_seen_at` and `expires_at` of a session that was not ended meanwhile."""
    with store.write() as connection:
        connection.execute(update(console_sessions).where(console_sessions.c.id_hash == session.id_hash).values(
            last_seen_at=session.last_seen_at, expires_at=session.expires_at))


def end(store: Store, id_hash: str) -> None:
    """Delete a session; it stays deleted, even after a power failure."""
    with store.write(durable=True) as connection:
        connection.execute(delete(console_sessions).where(console_sessions.c.id_hash == id_hash))


def delete_expired(store: Store, *, now: datetime) -> int:
    """Delete expired sessions, at most 1,000 at once; return how many."""
    with store.write() as connection:
        old = select(console_sessions.c.id).where(console_sessions.c.expires_at <= now).limit(_BATCH)
        return int(connection.execute(delete(console_sessions).where(console_sessions.c.id.in_(old))).rowcount)
