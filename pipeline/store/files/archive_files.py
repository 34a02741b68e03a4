"""The rows of the files of the web archive: segments, and the files of whole days.

A file is stored before its row is added. To delete a file, its row is marked and committed, then the file is deleted, and then the row. If this
is interrupted, the mark shows the next time which deletions must be completed. A day file replaces its segments in one transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, delete, func, insert, select, update

from pipeline.archive_names import token_of
from pipeline.errors import StoreError
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import archive_files

SEGMENT, DAY = "segment", "day"
_CHUNK = 500


@dataclass(frozen=True)
class NewFile:
    """A file that is stored and has no row yet. The fields are those of the row."""

    spider: str
    day: str
    state: str
    key: str
    index_key: str
    size_bytes: int
    index_bytes: int
    records: int
    sha256: str
    oldest_day: str
    node: str = ""
    number: int = 1
    run_id: int | None = None


@dataclass(frozen=True)
class ArchiveFile:
    """A file of the archive with its row.

    spider, day: whose pages it contains, and of which day in UTC, as 2026-11-30. state: "segment", what one process wrote; or "day".
    number: 2 and more for a day file of what was found later. node: the node that has the files; "" if every node reaches them.
    oldest_day: the oldest day to whose files its revisit records refer; its own day if they refer to none.
    timestamp_key: the key of the timestamp token; "" if there is none. timestamp_error: why the last attempt to get one failed.
    """

    id: int
    spider: str
    day: str
    state: str
    number: int
    run_id: int | None
    node: str
    key: str
    index_key: str
    size_bytes: int
    index_bytes: int
    records: int
    sha256: str
    oldest_day: str
    created_at: datetime
    timestamp_key: str
    timestamped_at: datetime | None
    timestamp_error: str
    timestamp_attempts: int

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of all files that belong to the row, whether they exist or not."""
        return self.key, self.index_key, token_of(self.key)


@dataclass(frozen=True)
class ArchiveTotals:
    """The files of one spider.

    first_day, last_day: of its records. oldest_segment: the day of the oldest segment that is not merged yet; "" if there is none.
    without_timestamp: the number of day files without a timestamp token. timestamp_attempts, timestamp_error: the most attempts for one of
    them, and an error.
    """

    files: int
    size_bytes: int
    first_day: str
    last_day: str
    oldest_segment: str
    without_timestamp: int
    timestamp_attempts: int
    timestamp_error: str


_COLUMNS = [archive_files.c[name] for name in ArchiveFile.__dataclass_fields__]


def files_of(store: Store, spider: str | None = None, *, first_day: str = "", last_day: str = "", state: str = "") -> list[ArchiveFile]:
    """Return the files of a spider, or of all spiders, the oldest day first; without those that are being deleted. Raises StoreError.

    first_day, last_day: the range of days, as 2026-11-30, both inclusive; "" means no limit.
    """
    wanted: list[ColumnElement[bool]] = [archive_files.c.doomed_at.is_(None)]
    if spider is not None:
        wanted.append(archive_files.c.spider == spider)
    if first_day:
        wanted.append(archive_files.c.day >= first_day)
    if last_day:
        wanted.append(archive_files.c.day <= last_day)
    if state:
        wanted.append(archive_files.c.state == state)
    with store.read() as connection:
        rows = connection.execute(select(*_COLUMNS).where(and_(*wanted)).order_by(
            archive_files.c.spider, archive_files.c.day, archive_files.c.number, archive_files.c.id))
        return [ArchiveFile(**row._mapping) for row in rows]


def totals(connection: Connection) -> dict[str, ArchiveTotals]:
    """Return the totals of each spider that has files in the archive."""
    waits = and_(archive_files.c.state == DAY, archive_files.c.timestamp_key == "")
    rows = connection.execute(select(
        archive_files.c.spider, func.count().label("files"), func.sum(archive_files.c.size_bytes + archive_files.c.index_bytes).label("size_bytes"),
        func.min(archive_files.c.day).label("first_day"), func.max(archive_files.c.day).label("last_day"),
        func.coalesce(func.min(case((archive_files.c.state == SEGMENT, archive_files.c.day))), "").label("oldest_segment"),
        func.count(case((waits, 1))).label("without_timestamp"),
        func.coalesce(func.max(case((waits, archive_files.c.timestamp_attempts))), 0).label("timestamp_attempts"),
        func.coalesce(func.max(case((waits, archive_files.c.timestamp_error))), "").label("timestamp_error"),
    ).where(archive_files.c.doomed_at.is_(None)).group_by(archive_files.c.spider).order_by(archive_files.c.spider))
    return {row.spider: ArchiveTotals(row.files, int(row.size_bytes), *row[3:]) for row in rows}


def doomed(store: Store) -> list[ArchiveFile]:
    """Return the files that are being deleted. Raises StoreError."""
    with store.read() as connection:
        return [ArchiveFile(**row._mapping) for row in connection.execute(
            select(*_COLUMNS).where(archive_files.c.doomed_at.is_not(None)).order_by(archive_files.c.id))]


def known_keys(store: Store, prefix: str = "") -> set[str]:
    """Return the keys of all files that have a row, of which some are being deleted. prefix: what the keys begin with. Raises StoreError."""
    with store.read() as connection:
        return set(connection.execute(select(archive_files.c.key).where(archive_files.c.key.startswith(prefix, autoescape=True))).scalars())


def add(store: Store, new: NewFile, *, now: datetime) -> bool:
    """Add the row of a stored file. Return False if the file has a row already, because another process added it. Raises StoreError."""
    with store.write(durable=True) as connection:
        if connection.execute(select(archive_files.c.id).where(archive_files.c.key == new.key)).first() is not None:
            return False
        connection.execute(insert(archive_files).values(_values(new, now)))
    return True


def next_number(store: Store, spider: str, day: str) -> int:
    """Return the number of the next day file of a day. Raises StoreError."""
    with store.read() as connection:
        last = connection.execute(select(func.max(archive_files.c.number)).where(
            archive_files.c.spider == spider, archive_files.c.day == day, archive_files.c.state == DAY)).scalar()
    return (last or 0) + 1


def replace_by_day(store: Store, segments: Sequence[ArchiveFile], new: NewFile, *, now: datetime) -> None:
    """Add the row of a day file and mark its segments for deletion, in one transaction.

    Raises StoreError, and changes nothing, if another process has merged or deleted one of the segments meanwhile.
    """
    ids = [segment.id for segment in segments]
    with store.write(durable=True) as connection:
        marked = sum(connection.execute(update(archive_files).where(
            archive_files.c.id.in_(ids[start:start + _CHUNK]), archive_files.c.state == SEGMENT, archive_files.c.doomed_at.is_(None),
        ).values(doomed_at=now)).rowcount for start in range(0, len(ids), _CHUNK))
        taken = connection.execute(select(archive_files.c.id).where(archive_files.c.key == new.key)).first() is not None
        if marked != len(ids) or taken:
            raise StoreError("another process has merged or deleted these segments meanwhile", where=new.key, retry=True)
        connection.execute(insert(archive_files).values(_values(new, now)))


def doom(store: Store, ids: Sequence[int], *, now: datetime) -> None:
    """Mark files for deletion. Raises StoreError."""
    for start in range(0, len(ids), _CHUNK):
        with store.write(durable=True) as connection:
            connection.execute(update(archive_files).where(
                archive_files.c.id.in_(ids[start:start + _CHUNK]), archive_files.c.doomed_at.is_(None)).values(doomed_at=now))


def give_to(store: Store, files: Sequence[ArchiveFile], node: str) -> None:
    """Make files those of another node, unless they have become those of a third one meanwhile. Raises StoreError."""
    for file in files:
        with store.write(durable=True) as connection:
            connection.execute(update(archive_files).where(archive_files.c.id == file.id, archive_files.c.node == file.node).values(node=node))


def forget(store: Store, file_id: int) -> None:
    """Delete the row of a file that was marked for deletion and has been deleted. Raises StoreError."""
    with store.write() as connection:
        connection.execute(delete(archive_files).where(archive_files.c.id == file_id, archive_files.c.doomed_at.is_not(None)))


def note_timestamp(store: Store, file_id: int, key: str, *, at: datetime) -> None:
    """Note the stored timestamp token of a file. Raises StoreError."""
    with store.write(durable=True) as connection:
        connection.execute(update(archive_files).where(archive_files.c.id == file_id).values(
            timestamp_key=key, timestamped_at=at, timestamp_error=""))


def note_failed_timestamp(store: Store, file_id: int, why: str) -> None:
    """Note why no timestamp token could be obtained for a file. Raises StoreError."""
    with store.write() as connection:
        connection.execute(update(archive_files).where(archive_files.c.id == file_id, archive_files.c.timestamp_key == "").values(
            timestamp_error=why, timestamp_attempts=archive_files.c.timestamp_attempts + 1))


def _values(new: NewFile, now: datetime) -> dict[str, Any]:
    return {**asdict(new), "created_at": now}
