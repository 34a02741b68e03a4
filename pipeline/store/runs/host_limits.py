"""The limits of requests to each host for all nodes that share a PostgreSQL database.

Permits (`concurrency`) and turns (`delay`).

A permit is a row with a number below the spider's `concurrency`, leased to one process until a time. The process that sends
requests renews its permits; those of a killed process expire. Every time is compared with the clock of the database, never with
that of a node. Each function executes single statements on a connection of Store.autocommit().
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, TextClause, text

PERMIT_S = 10.0
"""How long a permit is leased, in seconds."""
WAIT_S = 2.0
"""How long a process counts as waiting for a permit after it last asked, in seconds."""
MOST_TURNS = 1000
"""The longest plausible wait for a turn, as a multiple of the host's delay. A later time comes from a clock that was set back."""
_NOW = "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)"
"""The database's time, in microseconds since 1970."""
_SECOND = 1_000_000
_LONGEST = int(2 * PERMIT_S * _SECOND)
"""A permit that expires later than this was leased before the clock of the database was set back."""


@dataclass
class HostUse:
    """Who uses a host. permits: maps the number of each leased permit to its owner. waiting: the owners that wait, the first first."""

    permits: dict[int, str] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)

    def without(self, dead: Collection[str]) -> HostUse:
        """Return the use of the host by other owners than `dead`."""
        return HostUse({number: owner for number, owner in self.permits.items() if owner not in dead},
                       [owner for owner in self.waiting if owner not in dead]) if dead else self


@dataclass(frozen=True)
class Wish:
    """What a process asks of a host. count: the number of permits that the host has for the spider of this process.

    wanted: how many further permits the process can use. lowest: the lowest number that it can use. starving: whether none of its
    requests that wait was sent for a while, for example because the permits of the process are used by long downloads.
    """

    host: str
    count: int
    wanted: int
    lowest: int = 0
    starving: bool = False


@dataclass(frozen=True)
class Renewed:
    """The permits of one host that a process has renewed.

    numbers: their numbers. waiting: whether other processes wait for a permit. others: how many other processes hold one or wait.
    """

    numbers: frozenset[int] = frozenset()
    waiting: bool = False
    others: int = 0


def grant(wish: Wish, use: HostUse, owner: str) -> tuple[list[int], bool]:
    """Return the numbers of the permits that a process may lease now, and whether it must wait for more.

    A process may use all free permits while no other process waits. Otherwise it gets no more than its share, which is the number
    of permits divided by the number of processes, unless its requests starve, and only what those that wait longer leave. Then it
    gets the highest numbers, because a spider with a smaller `concurrency` can use only the lowest.
    """
    free = [number for number in range(wish.lowest, wish.count) if number not in use.permits]
    held = sum(holder == owner for holder in use.permits.values())
    share = max(1, wish.count // len({*use.permits.values(), *use.waiting, owner}))
    ahead = use.waiting.index(owner) if owner in use.waiting else len(use.waiting)
    allowed = wish.wanted
    if any(each != owner for each in use.waiting):
        allowed = min(allowed, len(free) - ahead, wish.wanted if wish.starving else share - held)
        free.reverse()
    given = sorted(free[:max(0, allowed)])
    return given, len(given) < wish.wanted and (wish.starving or held + len(given) < share)


def look(connection: Connection, hosts: Iterable[str]) -> Mapping[str, HostUse]:
    """Return who uses each of the hosts."""
    rows = connection.execute(_sql("""
        SELECT host, number, owner, 0 AS since FROM host_permits
        WHERE host = ANY(CAST(:hosts AS text[])) AND until > $now AND until <= $now + :longest
        UNION ALL
        SELECT host, NULL, owner, since FROM host_waits
        WHERE host = ANY(CAST(:hosts AS text[])) AND until > $now AND until <= $now + :longest
        ORDER BY since, owner"""), {"hosts": list(hosts), "longest": _LONGEST})
    found: dict[str, HostUse] = defaultdict(HostUse)
    for row in rows:
        if row.number is None:
            found[row.host].waiting.append(row.owner)
        else:
            found[row.host].permits[row.number] = row.owner
    return found


def lease(connection: Connection, owner: str, permits: Sequence[tuple[str, int]], *, dead: Collection[str] = ()) -> set[tuple[str, int]]:
    """Lease permits, given as pairs of host and number. Return those that no other process has leased meanwhile.

    dead: owners that no longer exist, whose permits have perhaps not yet expired.
    """
    if not permits:
        return set()
    rows = connection.execute(_sql("""
        INSERT INTO host_permits AS p (host, number, owner, until)
        SELECT host, number, :owner, $now + :ttl
        FROM unnest(CAST(:hosts AS text[]), CAST(:numbers AS int[])) AS wanted(host, number) ORDER BY host, number
        ON CONFLICT (host, number) DO UPDATE SET owner = excluded.owner, until = excluded.until
        WHERE p.until <= $now OR p.until > $now + :longest OR p.owner = ANY(CAST(:dead AS text[]))
        RETURNING host, number"""), {
            "owner": owner, "hosts": [host for host, _ in permits], "numbers": [number for _, number in permits], "dead": list(dead),
            "ttl": int(PERMIT_S * _SECOND), "longest": _LONGEST})
    return {(row.host, row.number) for row in rows}


def wait(connection: Connection, owner: str, hosts: Collection[str]) -> None:
    """Record that a process waits for a permit of each of the hosts."""
    connection.execute(_sql("""
        INSERT INTO host_waits AS w (host, owner, since, until)
        SELECT host, :owner, $now, $now + :ttl FROM unnest(CAST(:hosts AS text[])) AS wanted(host)
        ON CONFLICT (host, owner) DO UPDATE SET until = excluded.until,
        since = CASE WHEN w.until <= $now THEN excluded.since ELSE w.since END"""),
        {"owner": owner, "hosts": list(hosts), "ttl": int(WAIT_S * _SECOND)})


def stop_waiting(connection: Connection, owner: str, hosts: Collection[str]) -> None:
    """Record that a process no longer waits for a permit of the hosts."""
    connection.execute(_sql("DELETE FROM host_waits WHERE owner = :owner AND host = ANY(CAST(:hosts AS text[]))"),
                       {"owner": owner, "hosts": list(hosts)})


def renew(connection: Connection, owner: str) -> Mapping[str, Renewed]:
    """Renew all permits of a process. Return them by host; a permit that is missing was leased to another process after it had expired."""
    rows = connection.execute(_sql("""
        WITH renewed AS (UPDATE host_permits SET until = $now + :ttl WHERE owner = :owner RETURNING host, number),
        mine AS (SELECT host, array_agg(number) AS numbers FROM renewed GROUP BY host),
        waiting AS (SELECT host, owner FROM host_waits JOIN mine USING (host) WHERE owner <> :owner AND until > $now),
        others AS (SELECT host, owner FROM host_permits JOIN mine USING (host) WHERE owner <> :owner AND until > $now
                   UNION SELECT host, owner FROM waiting)
        SELECT host, numbers, host IN (SELECT host FROM waiting) AS waiting,
               (SELECT count(*) FROM others WHERE others.host = mine.host) AS others FROM mine"""),
        {"owner": owner, "ttl": int(PERMIT_S * _SECOND)})
    return {row.host: Renewed(frozenset(row.numbers), row.waiting, row.others) for row in rows}


def release(connection: Connection, owner: str, permits: Collection[tuple[str, int]]) -> None:
    """Give permits back, given as pairs of host and number."""
    connection.execute(_sql("""
        DELETE FROM host_permits WHERE owner = :owner AND (host, number) IN (
            SELECT * FROM unnest(CAST(:hosts AS text[]), CAST(:numbers AS int[])))"""),
        {"owner": owner, "hosts": [host for host, _ in permits], "numbers": [number for _, number in permits]})


def release_all(connection: Connection, owner: str) -> None:
    """Give back all permits of a process, and no longer wait for any."""
    connection.execute(_sql("WITH gone AS (DELETE FROM host_waits WHERE owner = :owner) DELETE FROM host_permits WHERE owner = :owner"),
                       {"owner": owner})


def reserve_turns(connection: Connection, wanted: Mapping[str, tuple[int, float]]) -> Mapping[str, float]:
    """Reserve turns, which follow each other after the host's delay. wanted: the number of turns and the delay in seconds, by host.

    Returns the seconds from now until the first of the turns, by host.
    """
    found = _reserve(connection, wanted)
    if new := [host for host in wanted if host not in found]:
        connection.execute(_sql("INSERT INTO host_turns (host, free_at) SELECT host, 0 FROM unnest(CAST(:hosts AS text[])) AS new(host)"
                                " ORDER BY host ON CONFLICT DO NOTHING"), {"hosts": new})
        found |= _reserve(connection, {host: wanted[host] for host in new})
    return found


def _reserve(connection: Connection, wanted: Mapping[str, tuple[int, float]]) -> dict[str, float]:
    rows = connection.execute(_sql("""
        WITH wish AS (SELECT * FROM unnest(CAST(:hosts AS text[]), CAST(:turns AS bigint[]), CAST(:delays AS bigint[])) AS w(host, turns, delay)),
        locked AS (SELECT t.host FROM host_turns t JOIN wish USING (host) ORDER BY t.host FOR UPDATE OF t)
        UPDATE host_turns t SET free_at = w.turns * w.delay + greatest($now, CASE WHEN t.free_at <= $now + :most * w.delay THEN t.free_at END)
        FROM wish w JOIN locked USING (host) WHERE t.host = w.host
        RETURNING t.host, t.free_at - w.turns * w.delay - $now AS wait"""), {
            "hosts": list(wanted), "turns": [turns for turns, _ in wanted.values()],
            "delays": [int(delay_s * _SECOND) for _, delay_s in wanted.values()], "most": MOST_TURNS})
    return {row.host: max(0.0, row.wait / _SECOND) for row in rows}


def delete_expired(connection: Connection) -> None:
    """Delete the rows of hosts to which no request has been sent for an hour."""
    for table, column in (("host_turns", "free_at"), ("host_permits", "until"), ("host_waits", "until")):
        connection.execute(_sql(f"DELETE FROM {table} WHERE {column} < $now - :hour"), {"hour": 3600 * _SECOND})  # noqa: S608  our own tables


def _sql(statement: str) -> TextClause:
    """Return a statement in which `$now` stands for the database's time."""
    return text(statement.replace("$now", _NOW))
