"""What a run fetched: its pages, the items that it rejected, and its downloads."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from pipeline.heartbeat.http.api.paging import cursor_of, id_before, page_of
from pipeline.heartbeat.http.api.resources.runs import run_of_call
from pipeline.heartbeat.http.api.resources.types import Number, Text
from pipeline.heartbeat.http.api.route import DEFAULT_LIMIT, MOST, Call, Model, Page, PageQuery, Route
from pipeline.model import DownloadState, Json, PageOutcome
from pipeline.store.console import run_rows
from pipeline.text import shown_url


class FetchedPage(Model):
    """A page that a run requested. status: 0 if there was no response.

    outcome: not_modified: the stored page was confirmed (304); forbidden: by robots.txt; ignored: by a middleware. duration_ms: until the
    server had sent the headers, or until the page was rendered; null if nothing was sent. changes: how many of its items were new or changed.
    """

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


class RejectedItem(Model):
    """An item that was not stored, and why. url: of the page on which it was found. data: its fields."""

    id: int
    key: str
    url: str
    reason: str
    data: dict[str, Json]
    at: datetime


class RunDownload(Model):
    """A download that the pass of a run requested. id: also that of the spider's download, where its content is.

    is_new: whether the run has fetched this version of the file. name, size_bytes, fetched_at: of this version, else of the last complete one.
    """

    id: int
    url: str
    item_key: str
    state: DownloadState
    error: str
    is_new: bool
    has_content: bool
    name: str
    size_bytes: int | None
    fetched_at: datetime | None


class PagesQuery(PageQuery):
    limit: Number = Field(DEFAULT_LIMIT, ge=1, le=MOST)
    show: Literal["failed", "changed", "unchanged", "not_modified", "rendered"] | None = Field(
        None, description="only pages that failed, with or without new or changed items, that were confirmed by 304, or that were rendered")
    q: Text | None = Field(None, description="a part of the URL")


class RejectsQuery(PageQuery):
    limit: Number = Field(DEFAULT_LIMIT, ge=1, le=MOST)


class DownloadsQuery(PageQuery):
    limit: Number = Field(DEFAULT_LIMIT, ge=1, le=MOST)
    state: DownloadState | None = None


def routes() -> list[Route]:
    return [
        Route("GET", "/runs/{id}/pages", "List the pages that a run requested, the newest first, as long as `[retention] pages` keeps them.", list_pages,
              Page[FetchedPage], PagesQuery, tag="runs"),
        Route("GET", "/runs/{id}/rejects", "List the items that a run rejected, the newest first.", list_rejects, Page[RejectedItem], RejectsQuery, tag="runs"),
        Route("GET", "/runs/{id}/downloads", "List the downloads of a run. Those in progress are in `transfers` of the run.", list_downloads,
              Page[RunDownload], DownloadsQuery, tag="runs"),
    ]


def list_pages(call: Call) -> Page[FetchedPage]:
    found = run_rows.pages_of(call.context.store, run_of_call(call).id, limit=call.query.limit, before=id_before(call.query.after),
                              which=call.query.show or "", text=call.query.q or "")
    return Page(items=[_page(row) for row in found.rows], next=cursor_of(found.after) if found.after is not None else None)


def list_rejects(call: Call) -> Page[RejectedItem]:
    found = run_rows.rejects_of(call.context.store, run_of_call(call).id, limit=call.query.limit + 1, before=id_before(call.query.after))
    return page_of(found, call.query.limit, lambda row: RejectedItem(**{**vars(row), "url": shown_url(row.url)}), lambda row: (row.id,))


def list_downloads(call: Call) -> Page[RunDownload]:
    found = run_rows.downloads_of(call.context.store, run_of_call(call), limit=call.query.limit + 1, before=id_before(call.query.after),
                                  state=call.query.state)
    return page_of(found, call.query.limit, _download, lambda row: (row.id,))


def _page(row: run_rows.PageRow) -> FetchedPage:
    return FetchedPage(**{**vars(row), "url": shown_url(row.url)})


def _download(row: run_rows.RunDownload) -> RunDownload:
    return RunDownload(id=row.id, url=shown_url(row.url), item_key=row.item_key, state=row.state, error=row.error, is_new=row.is_new,
                       has_content=bool(row.key), name=row.name, size_bytes=row.size_bytes, fetched_at=row.fetched_at)
