"""Pages of runs, changes, downloads and messages, the newest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, and_, literal, select, tuple_

from pipeline.model import Change, ChangeKind, MessageState, Run
from pipeline.store.crawl.items import change_of
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import changes, download_files, downloads, messages, runs
from pipeline.store.runs.slots import run_of

_RUNS = 50
"""How many runs are searched for changes at once."""


@dataclass(frozen=True)
class DownloadRow:
    """A download. name, size_bytes, sha256, fetched_at, key: of its last complete version; key is "" if no file is stored."""

    id: int
    spider: str
    url: str
    item_key: str
    state: str
    error: str
    requested_at: datetime
    name: str
    size_bytes: int | None
    sha256: str
    fetched_at: datetime | None
    key: str


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


def runs_page(store: Store, *, limit: int, before: int | None = None, spider: str | None = None, outcome: str | None = None,
              state: str | None = None) -> list[Run]:
    """Return runs with an id lower than `before`. state: "waiting", "running" or "ended"; None means all."""
    wanted = select(runs)
    if before is not None:
        wanted = wanted.where(runs.c.id < before)
    if spider is not None:
        wanted = wanted.where(runs.c.spider == spider)
    if outcome is not None:
        wanted = wanted.where(runs.c.outcome == outcome)
    if state is not None:
        wanted = wanted.where(runs.c.ended_at.is_not(None) if state == "ended" else and_(
            runs.c.ended_at.is_(None), runs.c.started_at.is_not(None) if state == "running" else runs.c.started_at.is_(None)))
    with store.read() as connection:
        return [run_of(row) for row in connection.execute(wanted.order_by(runs.c.id.desc()).limit(limit))]


def neighbours(store: Store, run: Run) -> tuple[int | None, int | None]:
    """Return the ids of the runs of the same spider before and after a run; None where there is none."""
    own = select(runs.c.id).where(runs.c.spider == run.spider).limit(1)
    with store.read() as connection:
        return (connection.execute(own.where(runs.c.id < run.id).order_by(runs.c.id.desc())).scalar(),
                connection.execute(own.where(runs.c.id > run.id).order_by(runs.c.id)).scalar())


def changes_page(store: Store, *, limit: int, spider: str | None = None, run_id: int | None = None, kind: ChangeKind | None = None,
                 before: tuple[int, int] | None = None) -> list[Change]:
    """Return changes of a spider or of a run, those of the newest runs first. before: the run id and the id of the last change before."""
    found: list[Change] = []
    with store.read() as connection:
        last_run = before[0] + 1 if before is not None else None
        while len(found) < limit:
            of_runs = select(runs.c.id).order_by(runs.c.id.desc()).limit(_RUNS)
            of_runs = of_runs.where(runs.c.id == run_id) if run_id is not None else of_runs.where(runs.c.spider == spider)
            if last_run is not None:
                of_runs = of_runs.where(runs.c.id < last_run)
            ids = list(connection.execute(of_runs).scalars())
            if not ids:
                break
            found += [change_of(row) for row in connection.execute(_changes_of(ids, before, kind).limit(limit - len(found)))]
            last_run = min(ids)
    return found


def _changes_of(run_ids: Sequence[int], before: tuple[int, int] | None, kind: ChangeKind | None) -> Select[Any]:
    wanted = select(changes).where(changes.c.run_id.in_(run_ids)).order_by(changes.c.run_id.desc(), changes.c.id.desc())
    if before is not None:
        wanted = wanted.where(tuple_(changes.c.run_id, changes.c.id) < tuple_(literal(before[0]), literal(before[1])))
    return wanted.where(changes.c.kind == kind.value) if kind is not None else wanted


def changes_of_item(store: Store, spider: str, key: str, *, limit: int, before: int | None = None) -> list[Change]:
    """Return changes of an item, the newest first."""
    wanted = select(changes).where(changes.c.spider == spider, changes.c.key == key)
    if before is not None:
        wanted = wanted.where(changes.c.id < before)
    with store.read() as connection:
        return [change_of(row) for row in connection.execute(wanted.order_by(changes.c.id.desc()).limit(limit))]


_file = download_files.alias()
_downloads = select(downloads, _file.c.name.label("file_name"), _file.c.size_bytes, _file.c.sha256, _file.c.fetched_at, _file.c.key.label("stored_key")
                    ).outerjoin(_file, and_(_file.c.key == downloads.c.file_key, _file.c.doomed_at.is_(None)))


def downloads_page(store: Store, spider: str, *, limit: int, before: int | None = None, state: str | None = None) -> list[DownloadRow]:
    """Return downloads of a spider with an id lower than `before`."""
    wanted = _downloads.where(downloads.c.spider == spider)
    if before is not None:
        wanted = wanted.where(downloads.c.id < before)
    if state is not None:
        wanted = wanted.where(downloads.c.state == state)
    with store.read() as connection:
        return [_download(row) for row in connection.execute(wanted.order_by(downloads.c.id.desc()).limit(limit))]


def download(store: Store, spider: str, download_id: int) -> DownloadRow | None:
    """Return a download of a spider; None if this spider has no download with this id."""
    with store.read() as connection:
        row = connection.execute(_downloads.where(downloads.c.id == download_id, downloads.c.spider == spider)).first()
    return _download(row) if row is not None else None


def _download(row: Row[Any]) -> DownloadRow:
    return DownloadRow(row.id, row.spider, row.url, row.item_key, row.state, row.error, row.requested_at, row.file_name or row.name, row.size_bytes,
                       row.sha256 or "", row.fetched_at, row.stored_key or "")


def messages_page(store: Store, states: Sequence[MessageState], *, limit: int, before: int | None = None) -> list[MessageRow]:
    """Return messages in these states with an id lower than `before`."""
    wanted = select(messages).where(messages.c.state.in_([state.value for state in states]))
    if before is not None:
        wanted = wanted.where(messages.c.id < before)
    with store.read() as connection:
        return [MessageRow(row.id, row.subject, MessageState(row.state), row.created_at, row.sent_at, row.next_attempt_at, row.attempt,
                           row.size_bytes, row.last_error)
                for row in connection.execute(wanted.order_by(messages.c.id.desc()).limit(limit))]
