"""The proof that the database can be written: one small row, written again."""

from __future__ import annotations

import socket
from datetime import datetime

from sqlalchemy import insert, update

from pipeline.store.database.engine import Store
from pipeline.store.database.schema import pulse


def write_pulse(store: Store, *, now: datetime) -> None:
    """Write this host's row in a transaction like any other. Raises StoreError when it cannot be written."""
    host = socket.gethostname()[:120]
    with store.write() as connection:
        if not connection.execute(update(pulse).where(pulse.c.host == host).values(at=now)).rowcount:
            connection.execute(insert(pulse).values(host=host, at=now))
