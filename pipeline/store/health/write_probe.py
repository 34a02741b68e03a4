"""Check that the database can be written, by writing one small row."""

from __future__ import annotations

import socket
from datetime import datetime

from sqlalchemy import insert, update

from pipeline.store.database.engine import Store
from pipeline.store.database.schema import pulse


def write_pulse(store: Store, *, now: datetime) -> None:
    """Write the current time to this host's row of the table `pulse`.

    Raises StoreError if the write fails.
    """
    host = socket.gethostname()[:120]
    with store.write() as connection:
        if not connection.execute(update(pulse).where(pulse.c.host == host).values(at=now)).rowcount:
            connection.execute(insert(pulse).values(host=host, at=now))
