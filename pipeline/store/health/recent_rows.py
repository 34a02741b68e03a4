"""The newest changes, downloads and messages of a spider or a run, for the heartbeat's HTML pages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, select

from pipeline.model import Change, ChangeKind, MessageState
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import changes, download_files, downloads, runs

ROWS = 100


@dataclass(frozen=True)
class DownloadRow:
    """A download of a spider.

    name, size_bytes, fetched_at: the name, the size and the time of the last complete version of the file. If there is no complete
    version yet, size_bytes and fetched_at are None. key: key of the file in the file store; "" if the file is not stored.
    """

    url: str
    state: str
    error: str
    requested_at: datetime
    name: str
    size_bytes: int | None
    fetched_at: datetime | None
    key: str = ""


@dataclass(frozen=True)
class MessageRow:
    """A message in the outbox, without its recipients."""

    id: int
    subject: str
    state: MessageState
    created_at: datetime
    sent_at: datetime | None
    next_attempt_at: datetime
    attempt: int
    size_bytes: int
    last_error: str


def changes_of_spider(store: Store, spider: str, *, limit: int = ROWS) -> list[Change]:
    # By run, because no index sorts the changes of a spider by id.
    last_runs = select(runs.c.id).where(runs.c.spider == spider).order_by(runs.c.id.desc()).limit(limit)
    return _changes(store, select(changes).where(changes.c.run_id.in_(last_runs)), limit)


def changes_of_run(store: Store, run_id: int, *, limit: int = ROWS) -> list[Change]:
    return _changes(store, select(changes).where(changes.c.run_id == run_id), limit)


def _changes(store: Store, wanted: Select[Any], limit: int) -> list[Change]:
    with store.read() as connection:
        return [Change(row.id, row.spider, row.key, ChangeKind(row.kind), row.at, row.run_id, row.before, row.after, row.page_key)
                for row in connection.execute(wanted.order_by(changes.c.id.desc()).limit(limit))]


def downloads_of(store: Store, spider: str, *, limit: int = ROWS) -> list[DownloadRow]:
    file = download_files.alias()
    wanted = select(downloads, file.c.name.label("file_name"), file.c.size_bytes, file.c.fetched_at, file.c.key).outerjoin(
        file, file.c.key == downloads.c.file_key).where(downloads.c.spider == spider)
    with store.read() as connection:
        return [DownloadRow(row.url, row.state, row.error, row.requested_at, row.file_name or row.name, row.size_bytes,
                            row.fetched_at, row.key or "")
                for row in connection.execute(wanted.order_by(downloads.c.id.desc()).limit(limit))]
