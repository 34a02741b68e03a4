"""The pages that a run fetched, its rejected items and its downloads, the newest first."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Row, Select, and_, func, or_, select, union

from pipeline.model import DownloadState, Json, PageOutcome, Run
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import FAILED_PAGE, download_files, downloads, pages, rejects

SEARCH_S = 0.15
"""How long pages are searched for at once."""
_EXAMINED = 5000
PageFilter = Literal["", "failed", "changed", "unchanged", "not_modified", "rendered"]


@dataclass(frozen=True)
class PageRow:
    """A page of a run. changes: how many of its items were new or changed. duration_ms: None for a page that was not requested."""

    id: int
    url: str
    status: int
    outcome: PageOutcome
    error: str
    fetched_at: datetime
    duration_ms: int | None
    size_bytes: int
    items: int
    changes: int


@dataclass(frozen=True)
class RejectRow:
    """An item that was rejected. url: of the page on which it was found."""

    id: int
    key: str
    url: str
    reason: str
    data: dict[str, Json]
    at: datetime


@dataclass(frozen=True)
class RunDownload:
    """A download that the pass of a run requested.

    state: of the last pass that requested the file; "done" if the run has fetched it. is_new: whether the run has fetched this version.
    key, name, size_bytes, fetched_at: of this version, else of the last complete one; key is "" if no file is stored.
    """

    id: int
    url: str
    item_key: str
    state: DownloadState
    error: str
    is_new: bool
    key: str
    name: str
    size_bytes: int | None
    fetched_at: datetime | None


@dataclass(frozen=True)
class PageList:
    """Pages of a run. after: the next pages have a lower id; None if there are no more."""

    rows: list[PageRow]
    after: int | None


def pages_of(store: Store, run_id: int, *, limit: int, before: int | None = None, which: PageFilter = "", text: str = "",
             clock: Callable[[], float] = time.monotonic) -> PageList:
    """Return pages of a run with an id lower than `before`. text: a part of the URL, in any case of ASCII letters.

    A search examines pages for SEARCH_S, and may find fewer than `limit`, even none, although more follow.
    """
    deadline = clock() + SEARCH_S
    conditions = _conditions(which, text)
    is_indexed = not text and which in ("", "failed")
    found: list[PageRow] = []
    position = before
    while True:
        own = [pages.c.run_id == run_id, *([pages.c.id < position] if position is not None else [])]
        with store.read() as connection:
            lowest, count = None, 0
            if not is_indexed:
                batch = select(pages.c.id).where(*own).order_by(pages.c.id.desc()).limit(_EXAMINED).subquery()
                lowest, count = connection.execute(select(func.min(batch.c.id), func.count())).one()
            wanted = select(pages).where(*own, *conditions, *([pages.c.id >= lowest] if lowest is not None else []))
            found += map(_page, connection.execute(wanted.order_by(pages.c.id.desc()).limit(limit + 1 - len(found))))
        if len(found) > limit:
            return PageList(found[:limit], found[limit - 1].id)
        if is_indexed or count < _EXAMINED:
            return PageList(found, None)
        position = lowest
        if clock() > deadline:
            return PageList(found, position)


def _conditions(which: PageFilter, text: str) -> list[ColumnElement[bool]]:
    found = {"": [], "failed": [FAILED_PAGE], "changed": [pages.c.changes > 0], "unchanged": [pages.c.changes == 0, pages.c["items"] > 0]}.get(
        which, [pages.c.outcome == which])
    return [*found, func.lower(pages.c.url).contains(text.lower(), autoescape=True)] if text else found


def _page(row: Row[Any]) -> PageRow:
    return PageRow(row.id, row.url, row.status, PageOutcome(row.outcome), row.error, row.fetched_at, row.duration_ms, row.size_bytes,
                   row._mapping[pages.c["items"]], row.changes)


def rejects_of(store: Store, run_id: int, *, limit: int, before: int | None = None) -> list[RejectRow]:
    """Return items that a run rejected, with an id lower than `before`."""
    wanted = select(rejects).where(rejects.c.run_id == run_id)
    if before is not None:
        wanted = wanted.where(rejects.c.id < before)
    with store.read() as connection:
        return [RejectRow(row.id, row.key, row.url, row.reason, row.data, row.at)
                for row in connection.execute(wanted.order_by(rejects.c.id.desc()).limit(limit))]


def downloads_of(store: Store, run: Run, *, limit: int, before: int | None = None, state: DownloadState | None = None) -> list[RunDownload]:
    """Return downloads that the pass of a run requested, or that the run has fetched, with an id lower than `before`."""
    wanted = _of_run(run)
    if state is DownloadState.DONE:
        wanted = wanted.where(or_(_own.c.id.is_not(None), downloads.c.state == state.value))
    elif state is not None:
        wanted = wanted.where(_own.c.id.is_(None), downloads.c.state == state.value)
    if before is not None:
        wanted = wanted.where(downloads.c.id < before)
    with store.read() as connection:
        return [RunDownload(row.id, row.url, row.item_key, DownloadState(row.state) if row.own_key is None else DownloadState.DONE,
                            row.error if row.own_key is None else "", row.own_key is not None, row.own_key or row.last_key or "",
                            row.own_name or row.last_name or row.name, row.own_size if row.own_key is not None else row.last_size,
                            row.own_at or row.last_at)
                for row in connection.execute(wanted.order_by(downloads.c.id.desc()).limit(limit))]


_own = download_files.alias("own")
_last = download_files.alias("last")


def _of_run(run: Run) -> Select[Any]:
    ids = union(select(downloads.c.id).where(downloads.c.pass_id == run.pass_id),
                select(download_files.c.download_id).where(download_files.c.run_id == run.id))
    columns = [each.label(f"{name}_{label}") for name, table in (("own", _own), ("last", _last))
               for label, each in (("key", table.c.key), ("name", table.c.name), ("size", table.c.size_bytes), ("at", table.c.fetched_at))]
    return select(downloads, *columns).outerjoin(
        _own, and_(_own.c.download_id == downloads.c.id, _own.c.run_id == run.id, _own.c.doomed_at.is_(None))).outerjoin(
        _last, and_(_last.c.key == downloads.c.file_key, _last.c.doomed_at.is_(None))).where(downloads.c.id.in_(ids))
