"""The archive of a spider: its files, the captures of a page, one page at one time with its content."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from aiohttp import web
from pydantic import Field

from pipeline.archive.installed import is_installed
from pipeline.heartbeat.http.api.paging import page_of, position_in
from pipeline.heartbeat.http.api.problem import ApiProblem
from pipeline.heartbeat.http.api.resources.runs import check_known_spider
from pipeline.heartbeat.http.api.resources.types import Number, Time
from pipeline.heartbeat.http.api.route import DEFAULT_LIMIT, MOST, Call, Input, Model, Page, PageQuery, Route, not_found
from pipeline.heartbeat.http.request_threads import in_request_thread
from pipeline.heartbeat.http.stored_files import headers_of_file, in_file_thread
from pipeline.text import shown_url

if TYPE_CHECKING:
    from pipeline.archive.reading.reader import ArchivedPage, Capture
    from pipeline.store.files.archive_files import ArchiveFile

Part = Literal["content", "dom", "screenshot", "record"]
_TIME = "in which state the page is wanted: the last record up to this time, or else the first one after it; by default, the newest"
_URL = "URL of the page"


class File(Model):
    """A file of the archive. state: "segment" until the day (UTC) is over and its segments are merged. oldest_day: the oldest day to whose files its records refer."""

    id: int
    day: str
    state: str
    key: str
    records: int
    size_bytes: int
    sha256: str
    oldest_day: str
    timestamped_at: datetime | None
    timestamp_error: str


class CaptureModel(Model):
    """A record of a page. unchanged: the content is that of an earlier record."""

    url: str
    at: datetime
    method: str
    status: int | None
    content_type: str
    digest: str
    unchanged: bool


class Header(Model):
    """A line of the head of a response."""

    name: str
    value: str


class PageModel(Model):
    """A page at one time. redacted: what was removed before the page was archived. refers_to: the time of the record whose content it has. previous, following: the times of the records beside it."""

    url: str
    at: datetime
    method: str
    status: int | None
    reason: str
    headers: list[Header]
    content_type: str
    size_bytes: int
    digest: str
    redacted: list[str]
    refers_to: datetime | None
    missing: str = Field("", description="why the content is not here, if it should be")
    has_dom: bool
    has_screenshot: bool
    file: File
    previous: datetime | None
    following: datetime | None


class FileQuery(PageQuery):
    limit: Number = Field(DEFAULT_LIMIT, ge=1, le=MOST)


class CaptureQuery(PageQuery):
    limit: Number = Field(DEFAULT_LIMIT, ge=1, le=MOST)
    url: str = Field(min_length=1, max_length=4000, description=_URL)


class OnePageQuery(Input):
    url: str = Field(min_length=1, max_length=4000, description=_URL)
    at: Time | None = Field(None, description=_TIME)


class ContentQuery(OnePageQuery):
    part: Part = Field("content", description="the content, the page as a browser had built it, its picture, or the whole record as WARC")


def routes() -> list[Route]:
    own = "/spiders/{name}/archive"
    return [
        Route("GET", own, "List the files of the archive of a spider, the newest day first.", list_files, Page[File], FileQuery, tag="archive"),
        Route("GET", f"{own}/captures", "List the records of a page in the archive, the newest first.", list_captures, Page[CaptureModel], CaptureQuery,
              problems=("unavailable", "not-possible"), tag="archive"),
        Route("GET", f"{own}/page", "Get what the archive has of a page at one time.", get_page, PageModel, OnePageQuery, problems=("unavailable", "not-possible"), tag="archive"),
        Route("GET", f"{own}/content", "Get the content of an archived page, as a file.", get_content, None, ContentQuery, problems=("unavailable", "not-possible"), tag="archive"),
    ]


def list_files(call: Call) -> Page[File]:
    position = position_in(call.query.after, str, int)
    found = sorted(_files(call), key=_place, reverse=True)
    return page_of([file for file in found if position is None or _place(file) < position][:call.query.limit + 1], call.query.limit, _file, _place)


async def list_captures(call: Call) -> Page[CaptureModel]:
    position = position_in(call.query.after, str)
    before = _moment(str(position[0])) if position is not None else None
    found = await _read(call, lambda archive, store, url: archive.capture_list(store, call.name, url, limit=call.query.limit + 1, before=before))
    return page_of(found, call.query.limit, _capture, lambda each: (each.at.isoformat(),))


async def get_page(call: Call) -> PageModel:
    shown = await _read(call, lambda archive, store, url: archive.shown_capture(store, call.name, url, call.query.at or call.context.now()))
    if shown is None:
        raise not_found("the archive has no record of this page")
    page: ArchivedPage = shown.page
    capture = shown.capture
    return PageModel(url=shown_url(page.url), at=page.at, method=page.method, status=page.status, reason=page.reason, headers=[Header(name=name, value=value) for name, value in page.headers],
                     content_type=page.content_type, size_bytes=len(page.body), digest=page.digest, redacted=list(page.redacted), refers_to=page.refers_to,
                     missing=page.missing, has_dom=page.dom is not None, has_screenshot=page.screenshot is not None, file=_file(page.file),
                     previous=capture.previous.at if capture.previous is not None else None, following=capture.following.at if capture.following is not None else None)


async def get_content(call: Call) -> web.StreamResponse:
    found = await _read(call, lambda archive, store, url: archive.part_of(store, call.name, url, call.query.at or call.context.now(), call.query.part))
    if found is None:
        raise not_found(f"the archive has no {call.query.part} of this page")
    ending = {"content": "content", "dom": "html", "screenshot": "png", "record": "warc.gz"}[call.query.part]
    return web.Response(body=found, headers=headers_of_file(f"{call.name}.{ending}"))


async def _read(call: Call, read: Any) -> Any:
    """Return what `read` returns for the operations on the archive, the store, and the URL as the archive has it, in a thread that may wait for the object store."""
    await in_request_thread(_files, call)
    if not is_installed():
        raise ApiProblem("unavailable", "the archive needs the extra `archive`: pip install 'crawl-to-inbox[archive]'")

    def perform() -> Any:
        from pipeline.heartbeat.http.operations import archive  # noqa: PLC0415  it needs the extra
        return read(archive, call.context.store.quick, archive.archived_url(call.context.settings, call.name, call.query.url))
    return await in_file_thread(perform)


def _files(call: Call) -> list[ArchiveFile]:
    """Return the files of a spider. It may be gone from the settings and from the list of runs. Raises ApiProblem if nothing of it is known."""
    from pipeline.store.files.archive_files import files_of  # noqa: PLC0415  with the other modules of the archive
    found = files_of(call.context.store, call.name)
    if not found:
        check_known_spider(call)
    return found


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is not None:
            return found
    except ValueError:
        pass
    raise ApiProblem("invalid-parameter", "the cursor is not one of this list", errors=[("after", "use the value of `next` of a page of this list")])


def _place(file: ArchiveFile) -> tuple[str, int]:
    return file.day, file.id


def _file(file: ArchiveFile) -> File:
    return File(id=file.id, day=file.day, state=file.state, key=file.key, records=file.records, size_bytes=file.size_bytes, sha256=file.sha256,
                oldest_day=file.oldest_day, timestamped_at=file.timestamped_at, timestamp_error=file.timestamp_error)


def _capture(capture: Capture) -> CaptureModel:
    return CaptureModel(url=shown_url(capture.url), at=capture.at, method=capture.method, status=capture.status, content_type=capture.content_type, digest=capture.digest, unchanged=capture.is_revisit)
