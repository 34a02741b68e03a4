"""The queue of downloads: the files to download, their leases, partial files, results and failures.

A download has the state "waiting" until it is done or has failed. The key of a partial file and the validators (ETag,
Last-Modified) of its version are written in one transaction, so that bytes of two versions are never combined. A download
that starts again from the beginning gets a partial file with a new name. The column `attempt` counts leases. The column
`failures` counts the failed attempts in a row that received no data; an attempt that was killed or stopped is not counted.
If the download of a file fails permanently in several passes in a row, later passes skip the file for a while, longer each
time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, bindparam, case, delete, func, or_, select, update

from pipeline.hosts import place_of
from pipeline.model import DownloadState, QueuedDownload, Run
from pipeline.store.database.bulk import insert_of
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import download_files, downloads, items, runs
from pipeline.store.runs import leases

_LOOK_AHEAD = 500
"""How many rows beyond the requested number are searched for downloads from hosts that are below the limit per host."""
SET_ASIDE_AFTER = 5
"""The number of passes in a row in which a download must fail permanently before later passes skip the file."""
FIRST_REST = timedelta(hours=1)
"""How long such a file is skipped the first time. The time doubles with each further failure, up to LONGEST_REST."""
LONGEST_REST = timedelta(days=1)
_NO_PART = {"part_key": "", "part_etag": "", "part_last_modified": "", "part_length": None}


@dataclass(frozen=True)
class Remaining:
    """The downloads that a pass still waits for.

    waiting: the number of these downloads. due_at: when the first of these downloads can be leased; None if there are none.
    """

    waiting: int
    due_at: datetime | None


@dataclass(frozen=True)
class CompletedDownload:
    """The result of a successful download.

    If `key` is "", the file on the server has not changed; otherwise, the file was downloaded.
    wanted: the download in the queue. etag, last_modified: the validators of this version of the file.
    """

    wanted: QueuedDownload
    key: str = ""
    name: str = ""
    size_bytes: int = 0
    sha256: str = ""
    content_type: str = ""
    etag: str = ""
    last_modified: str = ""


def take(store: Store, run: Run, *, owner: str, now: datetime, limit: int, per_host: int | None = None,
         busy_hosts: Mapping[str, int] | None = None) -> list[QueuedDownload]:
    """Lease up to `limit` downloads of the run's pass that can start now, and return them.

    The oldest downloads are leased first.
    per_host: the maximum number of downloads in progress from one host; None means no limit.
    busy_hosts: maps each host to the number of downloads from the host that are already in progress.
    Raises LeaseLostError if another process has taken the run.
    """
    due = and_(downloads.c.pass_id == run.pass_id, downloads.c.spider == run.spider,
               downloads.c.state == DownloadState.WAITING.value,
               or_(downloads.c.not_before.is_(None), downloads.c.not_before <= now, downloads.c.requested_at > now))
    with store.write(spider=run.spider) as connection:
        leases.verify(connection, runs, run.id, owner=run.lease_owner)
        candidates = connection.execute(select(downloads.c.id, downloads.c.url).where(
            due, leases.free(downloads, leases.shared_time(connection, now))).order_by(downloads.c.id)
            .limit(limit if per_host is None else _LOOK_AHEAD + limit))
        chosen = _with_room([(row.id, row.url) for row in candidates], limit, per_host, busy_hosts or {})
        if not chosen:
            return []
        ids = leases.take(connection, downloads, and_(due, downloads.c.id.in_(chosen)), owner=owner, now=now,
                          order_by=[downloads.c.id], limit=limit)
        rows = connection.execute(
            select(downloads, items.c.data)
            .outerjoin(items, and_(items.c.spider == downloads.c.spider, items.c.key == downloads.c.item_key))
            .where(downloads.c.id.in_(ids)).order_by(downloads.c.id))
        return [_queued(row) for row in rows]


def _with_room(rows: Sequence[tuple[int, str]], limit: int, per_host: int | None,
               busy: Mapping[str, int]) -> list[int]:
    taken = Counter(busy)
    chosen: list[int] = []
    for row_id, url in rows:
        host = place_of(url)
        if len(chosen) < limit and (per_host is None or taken[host] < per_host):
            taken[host] += 1
            chosen.append(row_id)
    return chosen


def _queued(row: Row[Any]) -> QueuedDownload:
    return QueuedDownload(
        id=row.id, spider=row.spider, url=row.url, name=row.name, referer=row.referer,
        headers=tuple((name, value) for name, value in row.headers), sha256_wanted=row.sha256_wanted,
        attempt=row.attempt, part_key=row.part_key, part_etag=row.part_etag,
        part_last_modified=row.part_last_modified, part_length=row.part_length, file_key=row.file_key,
        etag=row.etag, last_modified=row.last_modified, file_sha256=row.file_sha256, file_size=row.file_size,
        requested_at=row.requested_at, item=row.data or {})


def renew(store: Store, spider: str, ids: Sequence[int], *, owner: str, now: datetime) -> set[int]:
    """Renew the leases of a spider's downloads in progress.

    Returns the ids of the downloads that this owner still holds.
    """
    with store.write(spider=spider) as connection:
        return {row_id for row_id in ids if leases.renew(connection, downloads, row_id, owner=owner, now=now)}


def record_part(store: Store, spider: str, row_id: int, *, owner: str, part_key: str, etag: str, last_modified: str,
                length: int | None) -> None:
    """Record the partial file of a spider's download, and the version of the file to which its bytes belong.

    part_key: the key of the partial file; "" means that the partial file no longer exists.
    etag, last_modified: the validators of the version.
    length: the size of the complete file in bytes, as the server announced it; None if unknown. Raises LeaseLostError.
    """
    with store.write(spider=spider) as connection:
        leases.verify(connection, downloads, row_id, owner=owner)
        connection.execute(update(downloads).where(downloads.c.id == row_id).values(
            part_key=part_key, part_etag=etag, part_last_modified=last_modified, part_length=length))


def record(store: Store, run: Run, arrived: Sequence[CompletedDownload], *, owner: str, now: datetime) -> set[int]:
    """Record downloaded and unchanged files and end their downloads, in one transaction.

    Returns the ids of the downloads that this owner still held. Downloads that other processes have taken are left unchanged.
    """
    with store.write(spider=run.spider) as connection:
        ours = set(connection.execute(select(downloads.c.id).where(
            downloads.c.id.in_([each.wanted.id for each in arrived]), downloads.c.lease_owner == owner)).scalars())
        kept = [each for each in arrived if each.wanted.id in ours]
        if kept:
            connection.execute(
                update(downloads).where(downloads.c.id == bindparam("row")).values(
                    state=DownloadState.DONE.value, done_at=now, error="", failures=0, failed_passes=0, not_before=None,
                    # The stored version may have been deleted since the lease: only a new version changes the key.
                    file_key=case((bindparam("new_key") == "", downloads.c.file_key), else_=bindparam("new_key")),
                    file_sha256=bindparam("new_sha256"), file_size=bindparam("new_size"),
                    etag=bindparam("new_etag"), last_modified=bindparam("new_date"),
                    lease_owner="", lease_until=None, **_NO_PART),
                [{"row": each.wanted.id, "new_key": each.key,
                  "new_sha256": each.sha256 or each.wanted.file_sha256,
                  "new_size": each.size_bytes if each.key else each.wanted.file_size,
                  "new_etag": each.etag or ("" if each.key else each.wanted.etag),
                  "new_date": each.last_modified or ("" if each.key else each.wanted.last_modified)} for each in kept])
        versions = [
            {"download_id": each.wanted.id, "run_id": run.id, "spider": each.wanted.spider, "url": each.wanted.url,
             "key": each.key, "name": each.name, "size_bytes": each.size_bytes, "sha256": each.sha256,
             "content_type": each.content_type[:120], "fetched_at": now} for each in kept if each.key]
        if versions:
            # The file of an older row with this key was deleted or moved by somebody: the name was free again.
            connection.execute(delete(download_files).where(
                download_files.c.key.in_([version["key"] for version in versions])))
            # On several nodes, another spider may insert a row with this key at the same time.
            statement = insert_of(connection)(download_files)
            connection.execute(statement.on_conflict_do_update(
                index_elements=["key"], set_={name: statement.excluded[name] for name in (*versions[0], "doomed_at")}), versions)
        return ours


def fail(store: Store, spider: str, row_id: int, *, owner: str, error: str, now: datetime, retry_at: datetime | None,
         attempts: int, progressed: bool = False) -> DownloadState:
    """Record a failed attempt, and return the new state of the spider's download. Raises LeaseLostError.

    retry_at: when to try again; None means that the failure is permanent. If this happens in several passes in a row, later passes
    skip the file for a while.
    attempts: the number of failures in a row after which the download is given up in this pass.
    progressed: whether the attempt received data before it failed; the count of failures then starts again at one.
    """
    # In the first lease of a pass, failures of earlier passes do not count.
    fresh: ColumnElement[bool] = downloads.c.attempt <= 1
    with store.write(spider=spider) as connection:
        leases.verify(connection, downloads, row_id, owner=owner)
        counted = connection.execute(
            update(downloads).where(downloads.c.id == row_id)
            .values(failures=1 if progressed else case((fresh, 1), else_=downloads.c.failures + 1))
            .returning(downloads.c.failures, downloads.c.failed_passes)).one()
        over = retry_at is None or counted.failures >= attempts
        state = DownloadState.FAILED if over else DownloadState.WAITING
        values: dict[str, Any] = {"failures": 0, "not_before": None} if over else {"not_before": retry_at}
        if retry_at is None:
            passes = counted.failed_passes + 1
            values["failed_passes"] = passes
            if passes >= SET_ASIDE_AFTER:
                values["not_before"] = now + min(FIRST_REST * 2 ** min(passes - SET_ASIDE_AFTER, 10), LONGEST_REST)
        leases.end(connection, downloads, row_id, owner=owner, state=state.value, error=error, **values)
        return state


@dataclass(frozen=True)
class SetAside:
    """The files that a pass skipped, because their downloads had failed in several passes in a row.

    count: the number of these files. first: the error of one of these files. until: the earliest time at which one of these files
    may be downloaded again; None if there are none.
    """

    count: int = 0
    first: str = ""
    until: datetime | None = None


def set_aside(store: Store, pass_id: int) -> SetAside:
    """Return which files a pass skipped, because their downloads had failed in several passes in a row."""
    where = and_(downloads.c.pass_id == pass_id, downloads.c.state == DownloadState.FAILED.value, downloads.c.attempt == 0,
                 downloads.c.not_before.is_not(None))
    with store.read() as connection:
        row = connection.execute(select(func.count().label("number"), func.min(downloads.c.not_before).label("until")).where(where)).one()
        first = connection.execute(select(downloads.c.error).where(where).order_by(downloads.c.id).limit(1)).scalar()
    return SetAside(row.number, first or "", row.until)


def failed(store: Store, pass_id: int) -> list[tuple[str, str]]:
    """Return the URL and the error of each file that the pass tried to download and that failed."""
    with store.read() as connection:
        return [(row.url, row.error) for row in connection.execute(select(downloads.c.url, downloads.c.error).where(
            downloads.c.pass_id == pass_id, downloads.c.state == DownloadState.FAILED.value, downloads.c.attempt > 0))]


def failures(store: Store, row_id: int) -> int:
    """Return how many attempts in a row to download a file have failed in this pass.

    The retry delay depends on this number.
    Before and during the first attempt of a pass, return 0.
    """
    with store.read() as connection:
        row = connection.execute(select(downloads.c.failures, downloads.c.attempt).where(
            downloads.c.id == row_id)).first()
        return 0 if row is None or row.attempt <= 1 else int(row.failures)


def release(store: Store, spider: str, ids: Sequence[int], *, owner: str) -> None:
    """Give up the leases of a spider's downloads that were stopped, so that the interrupted attempts are not counted.

    Downloads that other processes hold are left unchanged.
    """
    with store.write(spider=spider) as connection:
        connection.execute(
            update(downloads).where(downloads.c.id.in_(ids), downloads.c.lease_owner == owner)
            .values(lease_owner="", lease_until=None, attempt=downloads.c.attempt - 1))


def remaining(store: Store, run: Run) -> Remaining:
    """Return how many downloads the run's pass still waits for, and when the first of them can be leased.

    If another process holds a download, the download can be leased when the other process's lease expires.
    """
    # The maximum of two columns has no portable SQL function.
    waiting = and_(downloads.c.pass_id == run.pass_id, downloads.c.spider == run.spider,
                   downloads.c.state == DownloadState.WAITING.value)
    later = case(
        (downloads.c.not_before.is_(None), downloads.c.lease_until),
        (downloads.c.lease_until.is_(None), downloads.c.not_before),
        (downloads.c.lease_until > downloads.c.not_before, downloads.c.lease_until),
        else_=downloads.c.not_before)
    with store.read() as connection:
        row = connection.execute(select(
            func.count(), func.min(func.coalesce(later, downloads.c.requested_at), type_=downloads.c.requested_at.type),
        ).where(waiting)).one()
        return Remaining(int(row[0]), row[1])


def counts(store: Store, pass_id: int) -> dict[DownloadState, int]:
    """Return the number of downloads of a pass by state."""
    with store.read() as connection:
        rows = connection.execute(select(downloads.c.state, func.count()).where(
            downloads.c.pass_id == pass_id).group_by(downloads.c.state))
        return {DownloadState(state): count for state, count in rows}


def run_bytes(store: Store, run: Run) -> int:
    """Return the total size in bytes of the files that the pass of this run has downloaded.

    Files that earlier runs of the same pass downloaded are included.
    """
    with store.read() as connection:
        return int(connection.execute(
            select(func.coalesce(func.sum(download_files.c.size_bytes), 0))
            .join(runs, runs.c.id == download_files.c.run_id).where(runs.c.pass_id == run.pass_id)).scalar_one())


def part_keys(store: Store, spider: str) -> set[str]:
    """Return the keys of the partial files to which the spider's downloads refer.

    Any other partial file was left behind by a killed process.
    """
    with store.read() as connection:
        return set(connection.execute(select(downloads.c.part_key).where(
            downloads.c.spider == spider, downloads.c.part_key != "")).scalars())


def same_content(store: Store, spider: str, sha256: str, size_bytes: int) -> list[str]:
    """Return the keys of the spider's files that have this content, the oldest first."""
    with store.read() as connection:
        return list(connection.execute(select(download_files.c.key).where(
            download_files.c.spider == spider, download_files.c.sha256 == sha256,
            download_files.c.size_bytes == size_bytes, download_files.c.doomed_at.is_(None),
        ).order_by(download_files.c.id)).scalars())


def recorded(store: Store, keys: Sequence[str]) -> set[str]:
    """Return those of the file keys that finished downloads have."""
    with store.read() as connection:
        return set(connection.execute(select(download_files.c.key).where(download_files.c.key.in_(keys))).scalars())


def is_recorded(store: Store, key: str) -> bool:
    """Whether a finished download has this file key."""
    return bool(recorded(store, [key]))
