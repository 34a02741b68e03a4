"""The advisory lock of PostgreSQL that at most one of several services holds: the leader.

The lock belongs to a database session of its own. The server ends the session, and thereby releases the lock, as soon as the holder
does not confirm the lock for SESSION_TIMEOUT_S: because its machine is cut off, or because its process is frozen (a frozen process
still answers TCP keepalives). The session is therefore always inside a short transaction, for which the server has such a limit in
every supported version (idle_in_transaction_session_timeout). When the holder is killed, the server notices at once that the
connection is closed.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from pipeline.errors import StoreError
from pipeline.store.database.engine import Store
from pipeline.store.database.postgresql import connect
from pipeline.text import clean_line

if TYPE_CHECKING:
    import psycopg

LEADER = 0x63746F6C  # number of the advisory lock: "ctol"
SESSION_TIMEOUT_S = 6
"""The server ends the session if it was not confirmed for this long."""
CONNECT_TIMEOUT_S = 3
STATEMENT_TIMEOUT_S = 3
_CLIENT = {"connect_timeout": CONNECT_TIMEOUT_S, "keepalives": 1, "keepalives_idle": 2, "keepalives_interval": 1, "keepalives_count": 3,
           "tcp_user_timeout": 4000, "application_name": "pipeline leader"}
_SERVER = {"idle_in_transaction_session_timeout": SESSION_TIMEOUT_S * 1000, "statement_timeout": STATEMENT_TIMEOUT_S * 1000,
           "tcp_keepalives_idle": 2, "tcp_keepalives_interval": 1, "tcp_keepalives_count": 3, "tcp_user_timeout": 4000}


class LeaderLock:
    """Takes and confirms the lock. All methods block; only one thread may use an object at a time."""

    def __init__(self, store: Store) -> None:
        self._engine = store.engine
        self._where = store.where
        self._connection: psycopg.Connection[Any] | None = None
        self._is_held = False

    def hold(self) -> bool:
        """Take the lock, or confirm that this session still has it. Return whether it has the lock.

        Raises StoreError if the database cannot be used; the lock is then lost.
        """
        import psycopg  # noqa: PLC0415  only installed where PostgreSQL is used
        try:
            if self._connection is None:
                self._connection = connect(self._engine, options=_SERVER, **_CLIENT)
            if self._is_held:
                self._connection.execute("COMMIT; BEGIN; SELECT 1")
                return True
            found = self._connection.execute(f"SELECT pg_try_advisory_lock({LEADER})").fetchone()
            if found is not None and found[0]:
                self._connection.execute("BEGIN; SELECT 1")
                self._is_held = True
        except psycopg.Error as error:
            self.release()
            raise StoreError(f"the session of the leader was lost: {clean_line(str(error))}", where=self._where, retry=True) from error
        return self._is_held

    def release(self) -> None:
        """Release the lock, and close the session."""
        connection, self._connection, self._is_held = self._connection, None, False
        if connection is not None:
            with contextlib.suppress(Exception):  # if the session is broken, the server has released the lock, or will soon
                connection.execute(f"COMMIT; SELECT pg_advisory_unlock({LEADER})")
            connection.close()
