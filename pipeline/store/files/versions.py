"""The versions of downloaded files, and the rows of versions that are being deleted.

To delete a version, its row is marked and committed, then the file is deleted, and then the row. If this is interrupted, the
mark shows the next time which deletions must be completed.
A file that a digest has yet to report is never marked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, delete, false, func, or_, select, update

from pipeline.model import MessageState
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import digest_runs, digests, download_files, downloads, messages, runs
from pipeline.store.runs import leases

_CHUNK = 500


@dataclass(frozen=True)
class Version:
    """A version of a downloaded file.

    current: whether this is the newest version of the file.
    seen_at: when the server was last known to have this version; for an older version, when the next version was downloaded.
    held: whether the version must not be deleted now, because a digest needs it or because it is being downloaded again.
    """

    id: int
    download_id: int
    spider: str
    key: str
    size_bytes: int
    sha256: str
    fetched_at: datetime
    seen_at: datetime
    current: bool
    held: bool


def versions(store: Store, spider: str, *, waiting: Mapping[str, Sequence[str]], now: datetime) -> list[Version]:
    """Return all versions of all files of a spider, the oldest first.

    waiting: maps each digest in the settings to the names of its spiders. A version that one of these digests has yet to report is
    returned as held.
    """
    held = _held(spider, waiting, now)
    with store.read() as connection:
        rows = connection.execute(
            select(download_files, downloads.c.file_key, downloads.c.done_at, held.label("held"))
            .join(downloads, downloads.c.id == download_files.c.download_id)
            .where(download_files.c.spider == spider, download_files.c.doomed_at.is_(None))
            .order_by(download_files.c.id.desc())).all()
    newer: dict[int, datetime] = {}
    found = []
    for row in rows:
        current = row.key == row.file_key
        seen_at = max(row.fetched_at, row.done_at or row.fetched_at) if current else newer.get(row.download_id, row.fetched_at)
        newer[row.download_id] = row.fetched_at
        found.append(Version(row.id, row.download_id, row.spider, row.key, row.size_bytes, row.sha256, row.fetched_at,
                             seen_at, current, bool(row.held)))
    return found[::-1]


def sizes(store: Store) -> dict[str, int]:
    """Return a mapping from each spider to the total size of the spider's files in bytes.

    A file that is stored under two names is counted twice.
    """
    with store.read() as connection:
        rows = connection.execute(select(download_files.c.spider, func.sum(download_files.c.size_bytes)).where(
            download_files.c.doomed_at.is_(None)).group_by(download_files.c.spider))
        return {spider: int(size) for spider, size in rows}


def mark_for_deletion(store: Store, spider: str, ids: Sequence[int], *, waiting: Mapping[str, Sequence[str]], now: datetime) -> None:
    """Mark files for deletion, except files that must not be deleted now (see Version.held).

    A marked file is not downloaded again until the file on the server changes.
    waiting: maps each digest in the settings to the names of its spiders. Files that one of these digests has yet to report are not
    marked.
    """
    for chunk in _chunks(ids):
        with store.write() as connection:
            keys = connection.execute(
                update(download_files).where(download_files.c.id.in_(chunk), download_files.c.id.not_in(
                    select(download_files.c.id).join(downloads, downloads.c.id == download_files.c.download_id)
                    .where(download_files.c.id.in_(chunk), _held(spider, waiting, now))))
                .values(doomed_at=now).returning(download_files.c.key)).scalars().all()
            connection.execute(update(downloads).where(
                downloads.c.spider == spider, downloads.c.file_key.in_(keys)).values(file_key=""))


def marked_for_deletion(store: Store) -> list[tuple[int, str, str, int]]:
    """Return the id, spider, key and size of each file that is marked for deletion."""
    with store.read() as connection:
        rows = connection.execute(select(
            download_files.c.id, download_files.c.spider, download_files.c.key, download_files.c.size_bytes,
        ).where(download_files.c.doomed_at.is_not(None)).order_by(download_files.c.spider, download_files.c.id))
        return [(row.id, row.spider, row.key, row.size_bytes) for row in rows]


def forget(store: Store, ids: Sequence[int]) -> None:
    """Delete the rows of files that were marked for deletion and have been deleted."""
    for chunk in _chunks(ids):
        with store.write() as connection:
            connection.execute(delete(download_files).where(
                download_files.c.id.in_(chunk), download_files.c.doomed_at.is_not(None)))


def _held(spider: str, waiting: Mapping[str, Sequence[str]], now: datetime) -> ColumnElement[bool]:
    """Return SQL for the files of a spider that must not be deleted now.

    These are files that are being downloaded again, files of a run that has not ended, and files of a run that a digest has yet to
    report, is reporting, or has reported in a message that is not sent yet.
    waiting: maps each digest in the settings to the names of its spiders.
    """
    telling = [name for name, spiders in waiting.items() if spider in spiders]
    untold = or_(false(), *(runs.c.id.not_in(select(digest_runs.c.run_id).where(digest_runs.c.name == name))
                            for name in telling))
    claimed_by = func.coalesce(digests.c.rebuild_of, digests.c.id)
    unsent = select(digest_runs.c.run_id).join(digests, claimed_by == digest_runs.c.digest_id).join(
        messages, messages.c.digest_id == digests.c.id).where(
        messages.c.state.in_((MessageState.WAITING.value, MessageState.PARKED.value)))
    unfinished = select(digest_runs.c.run_id).join(digests, claimed_by == digest_runs.c.digest_id).where(
        digests.c.closed_at.is_(None))
    wanted = select(runs.c.id).where(runs.c.spider == spider, or_(
        runs.c.ended_at.is_(None), untold, runs.c.id.in_(unsent), runs.c.id.in_(unfinished)))
    return or_(~leases.free(downloads, now),
               and_(download_files.c.run_id.is_not(None), download_files.c.run_id.in_(wanted)))


def _chunks(ids: Sequence[int]) -> list[Sequence[int]]:
    return [ids[start:start + _CHUNK] for start in range(0, len(ids), _CHUNK)]
