"""Leases on the rows that processes work on: runs, downloads, digests, messages.

A row belongs to `lease_owner` until `lease_until`. If the owner's process dies, the lease expires, and another process takes
the row. Each write of a result verifies the lease in the same transaction, so that a process that lost its lease changes
nothing.

Nodes that share a database may have clocks that differ. Therefore, leases on PostgreSQL are compared by the clock of the database server
(shared_time).

If the clock is set forward, all leases seem to have expired, but living processes on this machine keep their rows. If the
clock is set back, leases would last too long; a lease that ends more than LONGEST from now therefore counts as expired.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, or_, select, update

from pipeline.errors import LeaseLostError

TTL = timedelta(seconds=15)
"""The duration of a lease.

The duration is long enough to survive some missed renewals on a busy machine, and short enough to resume work soon after a
crash.
"""
LONGEST = timedelta(minutes=10)
"""The longest duration of any lease."""
_COMPARE_EVERY_S = 5.0
"""How often each connection compares this machine's clock with the clock of the database server."""
_SMALL_ERROR = timedelta(seconds=1)


def shared_time(connection: Connection, now: datetime) -> datetime:
    """Return the time `now` of this process as the clock of the database server shows it.

    On SQLite, and if the two clocks differ by less than a second, this is `now` itself.
    """
    if connection.dialect.name != "postgresql":
        return now
    here_s, before = time.monotonic(), datetime.now(UTC)
    compared_s, compared_at, error = connection.info.get("clock error", (float("-inf"), before, timedelta()))
    passed_s = here_s - compared_s
    if passed_s > _COMPARE_EVERY_S or abs(before - compared_at - timedelta(seconds=passed_s)) > _SMALL_ERROR:  # or the clock was set
        server = connection.exec_driver_sql("SELECT clock_timestamp()").scalar_one()
        error = clock_error(before, server, datetime.now(UTC))
        connection.info["clock error"] = (here_s, before, error)
    return now + error if abs(error) > _SMALL_ERROR else now


def clock_error(before: datetime, server: datetime, after: datetime) -> timedelta:
    """Return how far the server's clock is ahead of this machine's clock: the smallest error that explains the three times.

    server: the server's time at some moment between `before` and `after`. The answer may have been late, because the network was cut or
    this process was suspended meanwhile; a late answer alone is no error.
    """
    if before <= server <= after:
        return timedelta()
    return server - (after if server > after else before)


def new_owner() -> str:
    """Return a new name for an owner of leases.

    The name consists of the machine, the process id with the start time of the process, and a random part.
    """
    return f"{_machine()}:{os.getpid()}{_start_of(os.getpid())}:{uuid.uuid4().hex[:8]}"


def _start_of(pid: int) -> str:
    """Return the start time of a process in ticks since boot (proc(5)), as ".TICKS"; "" if it is unknown."""
    fields = _stat_of(pid)
    return f".{fields[19]}" if len(fields) > 19 else ""


def _is_zombie(pid: int) -> bool:
    """Return whether a process is a zombie, which has ended although its process id is still in use."""
    return _stat_of(pid)[:1] in (["Z"], ["X"])


def _stat_of(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat (proc(5)) from the state on; [] if the file cannot be read."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return []


def _machine() -> str:
    """Return a name for this machine or container, within which a process id identifies one process.

    The name consists of the host name, the kernel's random boot id (random(4)) and the number of the process namespace. The host name
    alone is not enough: two containers, or two machines made from one image, may have the same host name. The number of the process
    namespace does not tell two machines apart, because the first namespace has the same number on every machine.
    """
    host = socket.gethostname().replace(":", "-")[:32]
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").replace("-", "").strip()[:16]
        namespace = os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        return host
    return f"{host}/{boot}/{namespace}"


def owner_is_alive(owner: str, own: str) -> bool | None:
    """Return whether the process that owns a lease is still running; None if unknown.

    For a process on another machine, the result is None.
    owner: the name of the owner of the lease. own: the name under which this process owns leases.
    Process ids are reused, so a process with the same id but another start time is another process. An owner whose name has the id
    of this process, but another random part, no longer exists: this happens, for example, after the restart of a container.
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
    """End the leases of dead processes on this machine.

    No process then has to wait until these leases expire.
    own: the name under which this process owns leases. Returns the number of ended leases.
    """
    now = shared_time(connection, now)
    released = 0
    for table in tables:
        held = connection.execute(select(table.c.lease_owner).where(table.c.lease_until > now).distinct()).scalars()
        gone = [owner for owner in held if owner_is_alive(owner, own) is False]
        if gone:
            released += connection.execute(update(table).where(table.c.lease_owner.in_(gone)).values(
                lease_until=now)).rowcount
    return released


def free(table: Table, now: datetime) -> ColumnElement[bool]:
    """Return SQL for the rows without a lease, or with an expired lease. now: the result of shared_time()."""
    return or_(table.c.lease_until.is_(None), table.c.lease_until <= now, table.c.lease_until > now + LONGEST)


def is_free(lease_until: datetime | None, now: datetime) -> bool:
    """Return whether a row with this `lease_until` has no lease, or an expired one, as `free` says in SQL."""
    return lease_until is None or lease_until <= now or lease_until > now + LONGEST


def take(connection: Connection, table: Table, where: ColumnElement[bool], *, owner: str, now: datetime,
         ttl: timedelta = TTL, order_by: Sequence[Any] = (), limit: int = 1, own_too: bool = False) -> list[int]:
    """Lease up to `limit` free rows that match `where`, add one to their `attempt`, and return their ids.

    own_too: whether to include rows that this owner already holds. Rows that other living processes on this machine hold are never
    taken, even if the clock was changed and their leases seem to have expired.
    """
    now = shared_time(connection, now)
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
    """Extend a lease to `ttl` from now; return False if another owner has taken the row."""
    until = shared_time(connection, now) + ttl
    result = connection.execute(update(table).where(_ours(table, row_id, owner)).values(lease_until=until))
    return bool(result.rowcount == 1)


def verify(connection: Connection, table: Table, row_id: int, *, owner: str) -> None:
    """Raise LeaseLostError unless the owner still holds the row.

    Call this function inside the transaction that writes a result.
    """
    if connection.execute(select(table.c.id).where(_ours(table, row_id, owner))).first() is None:
        raise LeaseLostError(f"another process has taken over row {row_id} of the table {table.name}")


def verify_and_hold(connection: Connection, table: Table, row_id: int, *, owner: str) -> None:
    """Do as `verify`, and keep other processes from taking the row until the transaction ends, even without the write lock."""
    row = select(table.c.id).where(_ours(table, row_id, owner)).with_for_update(read=True)
    if connection.execute(row).first() is None:
        raise LeaseLostError(f"another process has taken over row {row_id} of the table {table.name}")


def end(connection: Connection, table: Table, row_id: int, *, owner: str, **values: Any) -> None:
    """Write the result of a row, and give up its lease. Raises LeaseLostError."""
    verify(connection, table, row_id, owner=owner)
    connection.execute(update(table).where(table.c.id == row_id)
                       .values(lease_owner="", lease_until=None, **values))


def _ours(table: Table, row_id: int, owner: str) -> ColumnElement[bool]:
    return and_(table.c.id == row_id, table.c.lease_owner == owner)
