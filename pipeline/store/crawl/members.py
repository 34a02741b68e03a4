"""The members of a run: processes, on any node, that fetch and commit the pages of one pass.

One member is the leader: the process that holds the run's lease. Each member holds rows of the frontier (frontier.member_id)
that no other member fetches. All transactions here take the write lock of the spider, as commits do. Therefore a member either
holds its rows and can commit their pages, or it has lost all of its rows at once, and its next commit raises LeaseLostError.

run_members.report is what a member tells the leader: what it has committed and found so far. The member is the only process that
writes its report, and writes it in the transaction that commits pages, so that the reports of a run add up to what was committed.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, exists, func, insert, or_, select, true, update

from pipeline.errors import LeaseLostError
from pipeline.hosts import place_of
from pipeline.model import FrontierState, Json, Progress, Run
from pipeline.store.crawl.frontier import Queued, queued_of
from pipeline.store.database.bulk import is_one_of
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import frontier, passes, run_members, runs, session_files
from pipeline.store.runs import leases
from pipeline.store.session_files import DatabaseFile, put, versions

SESSION = "run"
"""The name in `session_files` of the session that the leader shares with the other members."""
COOKIES = "member-"
"""The start of the names in `session_files` of the cookies and web storage that responses and pages of other members have changed."""
NOTHING = Progress()
BATCH = 64
"""How many rows a member takes at a time, at most."""
_WAITING = frontier.c.state == FrontierState.WAITING.value
_FREE = frontier.c.member_id.is_(None)
_HELD = frontier.c.member_id.is_not(None)
"""SQL for the rows that a member holds. The commit of a page sets member_id to NULL; an index has the other rows only."""


@dataclass(frozen=True)
class Member:
    """One member of a run, as its own process knows it.

    owner: the owner of the member's lease; of the leader, the owner of the run's lease.
    """

    id: int
    run: Run
    owner: str
    leader: bool = False


@dataclass(frozen=True)
class Claim:
    """Rows of the frontier that a member has taken.

    hosts: hosts that start URLs of the pass redirected to, as far as members have committed the pages of these URLs.
    capped: whether max_pages left rows behind. over: whether, besides, no other member fetches pages any more.
    """

    rows: Sequence[Queued] = ()
    hosts: Sequence[str] = ()
    capped: bool = False
    over: bool = False


@dataclass(frozen=True)
class Other:
    """What one member of a run has stored. at_work: whether it has not ended. lost: whether it seems to have died."""

    id: int
    leader: bool
    at_work: bool
    lost: bool
    report: Mapping[str, Json]


@dataclass(frozen=True)
class View:
    """The state of a run that several members work on.

    in_progress: whether the run and this member have not ended. members: all members so far, this one included. free: whether
    rows wait that no member holds. held: whether members hold rows; held_here: whether this member does. versions: the versions of
    the spider's rows in `session_files`, by name.
    """

    in_progress: bool
    members: Sequence[Other]
    free: bool
    held: bool
    held_here: bool
    versions: Mapping[str, int]


def lead(store: Store, run: Run, session: bytes, *, followers: int, request: Callable[[Connection, Run], None],
         now: datetime) -> Member:
    """Make this process the leader of the run's members, and request as many others as the run lacks. Raises LeaseLostError.

    Rows that are held by members of earlier runs of the pass, or by a killed leader of this run, become free. If the pass starts
    over, all other members end.
    session: the session to share with the other members. followers: how many other processes the run should have. request: requests
    one of them, in the same transaction.
    """
    of_pass = select(runs.c.id).where(runs.c.pass_id == run.pass_id, runs.c.id != run.id)
    with store.write(spider=run.spider) as connection:
        leases.verify(connection, runs, run.id, owner=run.lease_owner)
        connection.execute(delete(run_members).where(run_members.c.run_id.in_(of_pass)))
        resumable = connection.execute(select(passes.c.resumable).where(passes.c.id == run.pass_id)).scalar_one()
        _end(connection, run, [row.id for row in _rows(connection, run) if row.report.get("leader") or not resumable], now)
        others = _ids_at_work(connection, run)
        connection.execute(update(frontier).where(
            frontier.c.pass_id == run.pass_id, _HELD, frontier.c.member_id.not_in(others),
        ).values(member_id=None))
        connection.execute(delete(session_files).where(
            session_files.c.spider == run.spider,
            session_files.c.name.startswith(COOKIES), session_files.c.name.not_in([f"{COOKIES}{each}" for each in others])))
        put(connection, run.spider, SESSION, session)
        member = _insert(connection, run, owner=run.lease_owner, leader=True, now=now)
        for _ in range(followers - len(others)):
            request(connection, run)
        return member


def join(store: Store, run: Run, *, owner: str, most: int, now: datetime) -> Member | None:
    """Make a process another member of a run in progress. Return None if the run has ended, has no leader yet, or
    has `most` other members already.

    owner: the owner of the new member's lease.
    """
    with store.write(spider=run.spider) as connection:
        in_progress = connection.execute(select(runs.c.id).where(_in_progress(run), runs.c.started_at.is_not(None))).first() is not None
        at_work = [row for row in _rows(connection, run) if row.ended_at is None]
        led = any(row.report.get("leader") for row in at_work)
        if not (in_progress and led) or len(at_work) > most:
            return None
        return _insert(connection, run, owner=owner, leader=False, now=now)


def _insert(connection: Connection, run: Run, *, owner: str, leader: bool, now: datetime) -> Member:
    report: dict[str, Json] = {"leader": True} if leader else {}
    row_id = connection.execute(insert(run_members).values(
        run_id=run.id, joined_at=now, report=report, lease_owner=owner, attempt=1, lease_until=leases.shared_time(connection, now) + leases.TTL,
    ).returning(run_members.c.id)).scalar_one()
    return Member(int(row_id), run, owner, leader)


def record(connection: Connection, member: Member, report: Mapping[str, Json], *, committed: Progress = NOTHING,
           cookies: bytes | None = None) -> None:
    """Store a member's report, and renew its lease, in the transaction that commits its pages.

    committed: what this transaction commits, which is added to the progress in the report. cookies: the cookies that responses to
    this member have set; None if there are no new ones. Raises LeaseLostError if the run has ended, or if the member has lost its
    rows.
    """
    stored = _verify(connection, member)
    total = added_up([stored])
    total.add(committed)
    new = {**report, "progress": {name: value for name, value in asdict(total).items() if value}} | ({"leader": True} if member.leader else {})
    connection.execute(update(run_members).where(run_members.c.id == member.id).values(
        report=new, lease_until=leases.shared_time(connection, datetime.now(UTC)) + leases.TTL))
    if cookies is not None:
        put(connection, member.run.spider, f"{COOKIES}{member.id}", cookies)


def _verify(connection: Connection, member: Member) -> Mapping[str, Json]:
    """Return the report of a member. Raises LeaseLostError if the run has ended, or if the member has lost its rows."""
    found: Mapping[str, Json] | None = connection.execute(select(run_members.c.report).where(
        run_members.c.id == member.id, run_members.c.lease_owner == member.owner, run_members.c.ended_at.is_(None),
        exists().where(_in_progress(member.run)))).scalar()
    if found is None:
        raise lost(member)
    return found


def lost(member: Member) -> LeaseLostError:
    return LeaseLostError(f"run {member.run.id} has ended, or its other processes have taken over the pages of this process")


def tell(store: Store, member: Member, report: Mapping[str, Json]) -> None:
    """Store a member's report. Raises LeaseLostError."""
    with store.write(spider=member.run.spider) as connection:
        record(connection, member, report)


def renew(store: Store, member: Member, *, now: datetime) -> bool:
    """Renew the lease of a member whose process is alive. Return False if the run has ended, or if the member has lost its rows."""
    with store.write(spider=member.run.spider) as connection:
        in_progress = connection.execute(select(runs.c.id).where(_in_progress(member.run))).first() is not None
        return in_progress and leases.renew(connection, run_members, member.id, owner=member.owner, now=now)


def claim(store: Store, member: Member, *, again: Sequence[int] = (), max_pages: int = 0) -> Claim:
    """Take rows that wait and that no member holds, the highest priority first. Raises LeaseLostError.

    again: ids of rows that the member holds already, to be returned again. max_pages: how many pages all members together may fetch
    in this pass; 0 means no limit.
    """
    run = member.run
    of_pass = frontier.c.pass_id == run.pass_id
    order = (frontier.c.priority, frontier.c.id)
    with store.write(spider=run.spider) as connection:
        _verify(connection, member)
        members = _rows(connection, run)
        here = [row.id for row in members if row.ended_at is None]
        hosts = list(dict.fromkeys(host for row in members for host in row.report.get("hosts", ())))
        held = connection.execute(select(frontier).where(
            _WAITING, is_one_of(connection, frontier.c.id, again), frontier.c.member_id == member.id)).all() if again else []
        room = BATCH
        if max_pages:
            ended = frontier.c.state.in_([state.value for state in FrontierState if state is not FrontierState.WAITING])
            issued = sum(connection.execute(select(func.count()).where(of_pass, each)).scalar_one() for each in (ended, _HELD))
            room = min(room, max(0, max_pages - issued))
        looked_at = connection.execute(select(frontier.c.id, frontier.c.url).where(
            of_pass, _WAITING, _FREE).order_by(*order).limit(BATCH * len(here))).all()
        chosen = choose([(row.id, row.url) for row in looked_at], rank=here.index(member.id), members=len(here))[:room]
        taken = connection.execute(update(frontier).where(is_one_of(connection, frontier.c.id, chosen)).values(
            member_id=member.id).returning(frontier)).all() if chosen else []
        capped = bool(looked_at) and not room
        over = capped and connection.execute(select(frontier.c.id).where(of_pass, _HELD).limit(1)).first() is None
        rows = sorted((*held, *taken), key=lambda row: (row.priority, row.id))
        return Claim([queued_of(row) for row in rows], hosts, capped, over)


def choose(rows: Sequence[tuple[int, str]], *, rank: int, members: int) -> list[int]:
    """Return the ids of the rows that one of several members takes.

    If the rows have several hosts, each host belongs to one member, so that the requests to a host come mostly from one process. A
    member without enough rows of its own hosts takes others.
    rows: ids and URLs, the highest priority first. rank: the number of the member, from 0.
    """
    share = min(BATCH, -(-len(rows) // members))
    hosts = {row_id: place_of(url) for row_id, url in rows}
    if members == 1 or len(set(hosts.values())) == 1:
        return [row_id for row_id, _ in rows[:share]]
    own = [row_id for row_id, _ in rows if zlib.crc32(hosts[row_id].encode("utf-8", "replace")) % members == rank][:share]
    enough = max(1, share // 4)
    if len(own) < enough:
        mine = set(own)
        own += [row_id for row_id, _ in rows if row_id not in mine][:enough - len(own)]
    return own


def release(store: Store, member: Member, ids: Sequence[int] | None) -> None:
    """Give back rows whose pages the member will not fetch, so that other members fetch them. ids: None means all its rows."""
    with store.write(spider=member.run.spider) as connection:
        which = true() if ids is None else is_one_of(connection, frontier.c.id, ids)
        connection.execute(update(frontier).where(which, frontier.c.member_id == member.id).values(member_id=None))


def look(store: Store, member: Member) -> View:
    """Return the state of the run that the member works on, as of one moment."""
    run = member.run
    of_pass = frontier.c.pass_id == run.pass_id
    with store.read() as connection:
        now = leases.shared_time(connection, datetime.now(UTC))
        in_progress = connection.execute(select(runs.c.id).where(_in_progress(run))).first() is not None
        others = [Other(row.id, bool(row.report.get("leader")), row.ended_at is None, _is_lost(row, member, now), row.report)
                  for row in _rows(connection, run)]
        free, held, held_here = (connection.execute(select(frontier.c.id).where(of_pass, where).limit(1)).first() is not None
                                 for where in (and_(_WAITING, _FREE), _HELD, frontier.c.member_id == member.id))
        here = any(other.id == member.id and other.at_work for other in others)
        return View(in_progress and here, others, free=free, held=held, held_here=held_here, versions=versions(connection, run.spider))


def _is_lost(row: Row[Any], member: Member, now: datetime) -> bool:
    """Return whether the process of a member has ended without saying so, as far as this process can know.

    The leader is never lost: it holds the lease of the run, and a lost run ends. now: the result of leases.shared_time().
    """
    if row.ended_at is not None or row.id == member.id or row.report.get("leader"):
        return False
    alive = leases.owner_is_alive(row.lease_owner, ":".join(member.owner.split(":")[:3]))
    return alive is False or (leases.is_free(row.lease_until, now) and not alive)


def free_lost(store: Store, leader: Member, ids: Sequence[int], *, now: datetime) -> list[int]:
    """End the members among `ids` that are still lost, and free their rows. Return the ids of the ended members."""
    with store.write(spider=leader.run.spider) as connection:
        shared = leases.shared_time(connection, now)
        lost = [row.id for row in _rows(connection, leader.run) if row.id in ids and _is_lost(row, leader, shared)]
        _end(connection, leader.run, lost, now)
        return lost


def leave(store: Store, member: Member, *, now: datetime) -> None:
    """End a member, and free the rows that it holds."""
    with store.write(spider=member.run.spider) as connection:
        _end(connection, member.run, [member.id], now)


def end_all(store: Store, leader: Member, *, now: datetime) -> dict[int, Mapping[str, Json]]:
    """End all members of the leader's run, free their rows, and return the report of each of them, by its id."""
    run = leader.run
    with store.write(spider=run.spider) as connection:
        leases.verify(connection, runs, run.id, owner=run.lease_owner)
        found = _rows(connection, run)
        _end(connection, run, [row.id for row in found], now)
        connection.execute(delete(session_files).where(session_files.c.spider == run.spider, or_(
            session_files.c.name == SESSION, session_files.c.name.startswith(COOKIES))))
        return {row.id: row.report for row in found}


def _end(connection: Connection, run: Run, ids: Sequence[int], now: datetime) -> None:
    connection.execute(update(run_members).where(is_one_of(connection, run_members.c.id, ids), run_members.c.ended_at.is_(None)).values(
        ended_at=now, lease_owner="", lease_until=None))
    connection.execute(update(frontier).where(
        frontier.c.pass_id == run.pass_id, _HELD, is_one_of(connection, frontier.c.member_id, ids)).values(member_id=None))


def _rows(connection: Connection, run: Run) -> Sequence[Row[Any]]:
    return connection.execute(select(run_members).where(run_members.c.run_id == run.id).order_by(run_members.c.id)).all()


def _ids_at_work(connection: Connection, run: Run) -> list[int]:
    return [row.id for row in _rows(connection, run) if row.ended_at is None]


def _in_progress(run: Run) -> Any:
    """Return SQL for the row of a run that has not ended, and that the same process still holds."""
    return and_(runs.c.id == run.id, runs.c.ended_at.is_(None), runs.c.lease_owner == run.lease_owner)


def share_session(store: Store, leader: Member, session: bytes) -> None:
    """Store the session for the other members. Raises LeaseLostError."""
    with store.write(spider=leader.run.spider) as connection:
        leases.verify(connection, runs, leader.run.id, owner=leader.run.lease_owner)
        put(connection, leader.run.spider, SESSION, session)


def read_file(store: Store, run: Run, name: str) -> bytes:
    """Return the row of `session_files` with this name; b"" if there is none."""
    return DatabaseFile(store, run.spider, name, run).read() or b""


def end_with_run(connection: Connection, run: Run, now: datetime) -> None:
    """End all members of a run that ends, in the same transaction. The next run of the pass frees their rows."""
    connection.execute(update(run_members).where(run_members.c.run_id == run.id, run_members.c.ended_at.is_(None)).values(
        ended_at=now, lease_owner="", lease_until=None))


def progress_of(connection: Connection, run: Run) -> Progress:
    """Return the progress of a run whose leader has died: what the leader reported last, and what all members have committed."""
    reports = [row.report for row in _rows(connection, run)]
    if not reports:
        return run.progress
    total = added_up(reports)
    counted = {name: getattr(run.progress, name) for name in ("gone", "waiting", "downloads", "downloads_unchanged", "downloads_failed", "download_bytes")}
    return replace(total, **counted)


def added_up(reports: Sequence[Mapping[str, Json]]) -> Progress:
    """Return the sum of what several members have committed."""
    total = Progress()
    for report in reports:
        total.add(Progress(**report.get("progress", {})))
    return total

