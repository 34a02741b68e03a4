"""What the pages and the API show of the archive: captures of a page, their content, the files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from pipeline.archive.reading.capture_at import CaptureAt, capture_at
from pipeline.archive.reading.page_urls import archived_url, pages_with
from pipeline.archive.reading.reader import ArchivedPage, Capture, captures, raw_record, read
from pipeline.archive.reading.shown_html import shown_html, text_of, visible_text
from pipeline.display.field_diff import Place, places
from pipeline.heartbeat.http.operations.files import picture_type
from pipeline.settings.masking import Mask
from pipeline.store import Store
from pipeline.store.files.archive_files import ArchiveFile, files_of

__all__ = ["archived_url", "pages_with", "picture_type"]

Content = Literal["page", "text", "picture", "other", "nothing"]
MAX_TEXT = 1024 * 1024
PLACES = 100
_PAGES = ("text/html", "application/xhtml+xml")


@dataclass(frozen=True)
class ShownCapture:
    """A capture with its content. kind: how it can be shown. left_out: what the page has besides itself, which is not shown. is_cut: whether its end is missing."""

    capture: CaptureAt
    page: ArchivedPage
    kind: Content
    left_out: Mapping[str, int] = field(default_factory=dict)
    is_cut: bool = False


def shown_capture(store: Store, spider: str, url: str, at: datetime) -> ShownCapture | None:
    """Return the capture of a page at a time; None if the archive has none. Raises StoreError, ArchiveError."""
    found = capture_at(store, spider, url, at)
    if found is None:
        return None
    page = read(store, found.chosen)
    kind = kind_of(page) if page.status else "nothing"  # the content then is the page of the browser, which is shown anyway
    if kind != "page":
        return ShownCapture(found, page, kind, is_cut=kind == "text" and len(page.body) > MAX_TEXT)
    shown = shown_html(text_of(page.body, page.content_type))
    return ShownCapture(found, page, kind, shown.left_out, shown.is_cut)


def page_at(store: Store, spider: str, url: str, at: datetime) -> ArchivedPage | None:
    """Return the page of the capture that `shown_capture` returns. Raises StoreError, ArchiveError."""
    found = capture_at(store, spider, url, at)
    return read(store, found.chosen) if found is not None else None


def previous(store: Store, spider: str, url: str, at: datetime) -> datetime | None:
    """Return the time of the capture before the one of a time; None if there is none. Raises StoreError, ArchiveError."""
    found = capture_at(store, spider, url, at)
    return found.previous.at if found is not None and found.previous is not None else None


@dataclass(frozen=True)
class Compared:
    """Two captures of a page. before: None if there is none. places: where their texts differ; None if one of them has no text. more: how many further places.

    is_earlier: whether `after`, too, is from before the run of a change, which archived nothing of this page, and `before` is None.
    """

    before: ArchivedPage | None
    after: ArchivedPage
    kinds: tuple[Content, Content]
    places: list[Place] | None
    more: int = 0
    is_earlier: bool = False


def compared(store: Store, spider: str, url: str, at: datetime, *, since: datetime | None, mask: Mask) -> Compared | None:
    """Return a page at a time, and before: at `since`, or else at the capture before. None if it was never archived. Raises StoreError, ArchiveError."""
    found = capture_at(store, spider, url, at)
    if found is None:
        return None
    earlier = capture_at(store, spider, url, since) if since is not None else None
    first = (earlier.chosen if earlier.exact == "at" else None) if earlier is not None else found.previous
    if since is not None and first == found.chosen:  # a page with two records that are one would look as if nothing had changed
        after = read(store, found.chosen)
        return Compared(None, after, ("nothing", kind_of(after)), None, is_earlier=True)
    after, before = read(store, found.chosen), read(store, first) if first is not None else None
    if before is None:
        return Compared(None, after, ("nothing", kind_of(after)), None)
    kinds = kind_of(before), kind_of(after)
    if not set(kinds) <= {"page", "text"}:
        return Compared(before, after, kinds, None)
    differing, more = places(mask(_text_to_compare(before)), mask(_text_to_compare(after)), most=PLACES)
    return Compared(before, after, kinds, differing, more)


def _text_to_compare(page: ArchivedPage) -> str:
    """Return the text that people see: of a rendered page, that of its DOM."""
    if page.dom:
        return visible_text(text_of(page.dom, "text/html; charset=utf-8"))
    text = text_of(page.body, page.content_type)
    return visible_text(text) if kind_of(page) == "page" else text[:MAX_TEXT]


def record_at(store: Store, spider: str, url: str, at: datetime) -> bytes | None:
    """Return the records of the capture at a time as they are stored. Raises StoreError, ArchiveError."""
    found = capture_at(store, spider, url, at)
    return b"".join(raw_record(store, found.chosen)) if found is not None else None


def part_of(store: Store, spider: str, url: str, at: datetime, part: Literal["content", "dom", "screenshot", "record"]) -> bytes | None:
    """Return a part of the page at a time; None if there is no record, or no such part. Raises StoreError, ArchiveError."""
    if part == "record":
        return record_at(store, spider, url, at)
    page = page_at(store, spider, url, at)
    if page is None:
        return None
    return {"content": page.body, "dom": page.dom, "screenshot": page.screenshot}[part]


def capture_list(store: Store, spider: str, url: str, *, limit: int, before: datetime | None) -> Sequence[Capture]:
    return captures(store, spider, url, before=before, limit=limit)


def kind_of(page: ArchivedPage) -> Content:
    """Return how the content of a page can be shown, by its media type; pictures also by their first bytes."""
    if not page.body:
        return "nothing"
    if page.media_type in _PAGES:
        return "page"
    if picture_type(page.body):
        return "picture"
    return "text" if page.is_text else "other"


def html_of(page: ArchivedPage, mask: Mask) -> str:
    return shown_html(mask(text_of(page.body, page.content_type))).html


def dom_of(page: ArchivedPage, mask: Mask) -> str:
    return shown_html(mask(text_of(page.dom or b"", "text/html; charset=utf-8"))).html


def plain_of(page: ArchivedPage, mask: Mask) -> str:
    """Return the content as text; JSON with one value on each line, if it is not large."""
    text = text_of(page.body[:MAX_TEXT], page.content_type)
    if "json" in page.content_type and len(page.body) <= MAX_TEXT:
        with suppress(ValueError, RecursionError):
            text = json.dumps(json.loads(text), ensure_ascii=False, indent=2)
    return mask(text)


@dataclass(frozen=True)
class FilesPage:
    """Files of the archive, the newest day first. after: the last of these days; "" if there are no earlier ones."""

    shown: list[ArchiveFile]
    after: str


def files_page(store: Store, spider: str, *, limit: int, before: str = "") -> FilesPage:
    """Return the files of days before a day, "" meaning all: at least `limit`, and all of a day, if there are as many."""
    found = [file for file in reversed(files_of(store, spider)) if not before or file.day < before]
    last = found[limit - 1].day if len(found) > limit else ""
    shown = [file for file in found if file.day >= last]
    return FilesPage(shown, last if len(shown) < len(found) else "")


def file_with(store: Store, spider: str, file_id: int) -> ArchiveFile | None:
    return next((file for file in files_of(store, spider) if file.id == file_id), None)

