"""One lease for everything that is worked on: runs, downloads, digests, messages.

A row belongs to `lease_owner` until `lease_until`; who dies lets it run out, and whoever comes next takes it.
Every write of a result checks the lease in the same transaction, so that one who was given up for dead and
wakes up changes nothing.

Clocks are set. Forward, every lease has run out at once: who is alive on this machine keeps it. Back, it would run for
ever: one that ends further ahead than any lasts has run out.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, or_, select, update

from pipeline.errors import LeaseLostError

TTL = timedelta(seconds=15)
"""Long enough to miss a few renewals on a busy machine, short enough that work does not lie about."""
LONGEST = timedelta(minutes=10)
"""No lease is given for longer."""


def new_owner() -> str:
    """A name for whose leases these are: machine, process id with its start, and which opening of the store."""
    return f"{_machine()}:{os.getpid()}{_start_of(os.getpid())}:{uuid.uuid4().hex[:8]}"


def _start_of(pid: int) -> str:
    """When a process began, in ticks since the machine did (proc(5)), as ".TICKS"; "" where the system does not say."""
    fields = _stat_of(pid)
    return f".{fields[19]}" if len(fields) > 19 else ""


def _is_zombie(pid: int) -> bool:
    """Whether a process has ended, and whoever started it has not asked how: its id is taken, and nobody works."""
    return _stat_of(pid)[:1] in (["Z"], ["X"])


def _stat_of(pid: int) -> list[str]:
    """What proc(5) says of a process, from its state on; nothing where there is no /proc or no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return []


def _machine() -> str:
    """Where process ids mean the same: the host as it runs since its last start, and the namespace on it.

    Names of hosts are no proof: two containers, or two machines made from one image, may share one, and the number of
    the first namespace is the same everywhere. The kernel's boot id is random (random(4)).
    """
    host = socket.gethostname().replace(":", "-")[:32]
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").replace("-", "").strip()[:16]
        namespace = os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        return host
    return f"{host}/{boot}/{namespace}"


def owner_is_alive(owner: str, own: str) -> bool | None:
    """Whether the process that an owner names still runs; None when that cannot be told from here.

    own: our own name. Another opening of the store by our process id is a process that is gone: in a container
    the number comes back. Elsewhere it does, too: a process that began at another time is another one.
    """
    if owner.startswith(own):
        return True
    machine, _, rest = owner.partition(":")
    number, dot, start = rest.partition(":")[0].partition(".")
    if machine != own.partition(":")[0] or not number.isdigit():
        return None
    if int(number) == os.getpid():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    if _is_zombie(int(number)):
        return False
    return not dot or _start_of(int(number)) in ("", f".{start}")


def release_dead(connection: Connection, tables: Sequence[Table], *, own: str, now: datetime) -> int:
    """End the leases of processes of this machine that are gone, so that nobody waits for them to run out."""
    released = 0
    for table in tables:
        held = connection.execute(select(table.c.lease_owner).where(table.c.lease_until > now).distinct()).scalars()
        gone = [owner for owner in held if owner_is_alive(owner, own) is False]
        if gone:
            released += connection.execute(update(table).where(table.c.lease_owner.in_(gone)).values(
                lease_until=now)).rowcount
    return released


def free(table: Table, now: datetime) -> ColumnElement[bool]:
    return or_(table.c.lease_until.is_(None), table.c.lease_until <= now, table.c.lease_until > now + LONGEST)


def take(connection: Connection, table: Table, where: ColumnElement[bool], *, owner: str, now: datetime,
         ttl: timedelta = TTL, order_by: Sequence[Any] = (), limit: int = 1, own_too: bool = False) -> list[int]:
    """Lease up to `limit` free rows that match, and say which. Their attempt counts one up.

    own_too: those that this owner holds already, too; it works on one at a time, and on none now.

    Those of other processes of this machine that are alive are not free, whatever the clock says.
    """
    takeable = and_(where, or_(free(table, now), table.c.lease_owner == owner) if own_too else free(table, now))
    own = ":".join(owner.split(":")[:3])
    held = connection.execute(select(table.c.lease_owner).where(takeable, table.c.lease_owner != "").distinct()).scalars()
    living = [other for other in held if not other.startswith(own) and owner_is_alive(other, own)]
    if living:
        takeable = and_(takeable, table.c.lease_owner.not_in(living))
    wanted = select(table.c.id).where(takeable).order_by(*order_by).limit(limit)
    if connection.dialect.name == "postgresql":
        wanted = wanted.with_for_update(skip_locked=True)
    rows = connection.execute(
        update(table).where(table.c.id.in_(wanted))
        .values(lease_owner=owner, lease_until=now + ttl, attempt=table.c.attempt + 1).returning(table.c.id))
    return sorted(row.id for row in rows)


def renew(connection: Connection, table: Table, row_id: int, *, owner: str, now: datetime,
          ttl: timedelta = TTL) -> bool:
    """Keep a lease for another `ttl`; False when it is no longer ours."""
    result = connection.execute(update(table).where(_ours(table, row_id, owner)).values(lease_until=now + ttl))
    return bool(result.rowcount == 1)


def verify(connection: Connection, table: Table, row_id: int, *, owner: str) -> None:
    """Check, inside the transaction that writes a result, that the row is still ours. Raises LeaseLostError."""
    if connection.execute(select(table.c.id).where(_ours(table, row_id, owner))).first() is None:
        raise LeaseLostError(f"{table.name} {row_id} was taken up by someone else")


def end(connection: Connection, table: Table, row_id: int, *, owner: str, **values: Any) -> None:
    """Write the last word on a row and give the lease back. Raises LeaseLostError."""
    verify(connection, table, row_id, owner=owner)
    connection.execute(update(table).where(table.c.id == row_id)
                       .values(lease_owner="", lease_until=None, **values))


def _ours(table: Table, row_id: int, owner: str) -> ColumnElement[bool]:
    return and_(table.c.id == row_id, table.c.lease_owner == owner)
