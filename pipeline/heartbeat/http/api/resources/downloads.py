"""The downloads of a spider, and the content of their files."""

from __future__ import annotations

from datetime import datetime

from aiohttp import web
from pydantic import Field

from pipeline.heartbeat.http.api.paging import id_before, page_of
from pipeline.heartbeat.http.api.resources.runs import check_known_spider
from pipeline.heartbeat.http.api.resources.types import Number
from pipeline.heartbeat.http.api.route import DEFAULT_LIMIT, MOST, Call, Model, Page, PageQuery, Route, not_found
from pipeline.heartbeat.http.stored_files import in_file_thread, send_file, stored_file
from pipeline.model import DownloadState
from pipeline.store.console import lists
from pipeline.text import shown_url


class Download(Model):
    """A download. name, size_bytes, sha256, fetched_at: of its last complete version. has_content: whether the file is stored."""

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
    has_content: bool


class DownloadQuery(PageQuery):
    limit: Number = Field(DEFAULT_LIMIT, ge=1, le=MOST)
    state: DownloadState | None = None


def routes() -> list[Route]:
    return [
        Route("GET", "/spiders/{name}/downloads", "List the downloads of a spider, the newest first.", list_downloads, Page[Download], DownloadQuery,
              tag="downloads"),
        Route("GET", "/spiders/{name}/downloads/{id}", "Get a download.", get_download, Download, tag="downloads"),
        Route("GET", "/spiders/{name}/downloads/{id}/content", "Get the file, or a range of its bytes.", get_content, None, tag="downloads"),
    ]


def list_downloads(call: Call) -> Page[Download]:
    check_known_spider(call)
    found = lists.downloads_page(call.context.store, call.name, limit=call.query.limit + 1, before=id_before(call.query.after),
                                 state=call.query.state.value if call.query.state is not None else None)
    return page_of(found, call.query.limit, _download, lambda row: (row.id,))


def get_download(call: Call) -> Download:
    return _download(_row(call))


async def get_content(call: Call) -> web.StreamResponse:
    row = await in_file_thread(_row, call)
    found = await in_file_thread(stored_file, call.context.store, row.key) if row.key else None
    if found is None:
        raise not_found("no file of this download is stored")
    return await send_file(found, call.request)


def _row(call: Call) -> lists.DownloadRow:
    found = lists.download(call.context.store, call.name, call.id)
    if found is None:
        raise not_found("the spider has no download with this id")
    return found


def _download(row: lists.DownloadRow) -> Download:
    return Download(id=row.id, spider=row.spider, url=shown_url(row.url), item_key=row.item_key, state=row.state, error=row.error,
                    requested_at=row.requested_at, name=row.name, size_bytes=row.size_bytes, sha256=row.sha256, fetched_at=row.fetched_at,
                    has_content=bool(row.key))
