"""Finds and reads archived pages in the segments and day files of a spider, which the database lists."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import TypeVar

from pipeline.archive.errors import ArchiveError, RecordError
from pipeline.archive.format import cdxj
from pipeline.archive.format.decoding import decoded
from pipeline.archive.format.http_block import ParsedBlock, parse
from pipeline.archive.format.members import StoredRecord, records_of
from pipeline.archive.format.records import DOM, VIEW, time_of
from pipeline.archive.format.surt import surt
from pipeline.archive.reading.stored_file import StoredBytes
from pipeline.model import HeaderLines
from pipeline.store import Store
from pipeline.store.files.archive_files import ArchiveFile, files_of

logger = logging.getLogger(__name__)

_ATTEMPTS = 3
LATEST = datetime(9999, 1, 1, tzinfo=UTC)
"""The latest time that can be asked for. Later ones are as far away, and nothing can be added to the last ones."""
_LATE = timedelta(days=1)
"""A record may be in the file of the day after its own: it was fetched before midnight and committed after it."""
_REMOVED = "the content was in a file of the archive that was removed"
_UNDECODED = "the content cannot be decoded, and is as it was sent"

_TEXTS = frozenset(f"application/{name}" for name in (
    "json", "x-json", "xml", "javascript", "x-javascript", "ecmascript", "x-ndjson", "ndjson", "jsonl", "json-seq", "yaml", "x-yaml", "toml",
    "x-www-form-urlencoded"))
"""Media types of text beside text/*, +json and +xml."""

T = TypeVar("T")


@dataclass(frozen=True)
class Capture:
    """A line of an index: one archived response. status: None if no response was archived, only what a
    browser made of it. content_type: without parameters; "" for a revisit, whose content is that of an earlier capture.
    """

    spider: str
    url: str
    at: datetime
    status: int | None
    content_type: str
    digest: str
    is_revisit: bool
    method: str
    file: ArchiveFile
    offset: int
    length: int


@dataclass(frozen=True)
class ArchivedPage:
    """An archived page. All of it comes from a site and is not trusted.

    status: 0 if no response was archived, only what a browser made of it, which then is the body. body: decoded. dom: the page after
    rendering, as HTML in UTF-8; screenshot: as PNG; both None if no browser was used. refers_to: the time of the record that has the content,
    because the content had not changed since. missing: why there is no content, or not the decoded one; "" if nothing is missing. redacted:
    what was removed from the exchange. method: of the request; the response to a POST is not what a link to the URL shows.
    """

    url: str
    at: datetime
    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    content_type: str
    body: bytes
    digest: str
    file: ArchiveFile
    dom: bytes | None = None
    screenshot: bytes | None = None
    refers_to: datetime | None = None
    missing: str = ""
    redacted: tuple[str, ...] = field(default=())
    method: str = "GET"

    @property
    def media_type(self) -> str:
        """The type of the content without parameters, in lower case."""
        return self.content_type.partition(";")[0].strip().lower()

    @property
    def is_text(self) -> bool:
        """Whether people can read the content as text, by its media type."""
        return self.media_type.startswith("text/") or self.media_type.endswith(("+json", "+xml")) or self.media_type in _TEXTS


def captures(store: Store, spider: str, url: str, *, before: datetime | None = None, after: datetime | None = None, limit: int = 1) -> list[Capture]:
    """Return the captures of a page, the newest first; with `after`, the oldest first.

    url: as Redaction.url returns it. If the archive does not have exactly this URL, captures of URLs that replay tools take for the same are
    returned. before, after: only captures strictly earlier, or strictly later. Raises StoreError, ArchiveError.
    """
    before = min(before, LATEST) if before is not None else None
    exact = _captures(store, spider, url, before=before, after=after, limit=limit, is_exact=True)
    return exact or _captures(store, spider, url, before=before, after=after, limit=limit, is_exact=False)


def read(store: Store, capture: Capture) -> ArchivedPage:
    """Return the page of a capture. Raises StoreError, ArchiveError."""
    return _where_it_is(store, capture, lambda at: _read(store, at))


def raw_record(store: Store, capture: Capture) -> Iterator[bytes]:
    """Yield the records of a capture as they are stored: response, request and what belongs to them. Raises StoreError, ArchiveError."""
    def ranges(at: Capture) -> list[bytes]:
        file = StoredBytes(store.files, at.file.key)
        return [file.range(record.offset, record.length) for record in _exchange(file, at)]
    yield from _where_it_is(store, capture, ranges)


def _captures(store: Store, spider: str, url: str, *, before: datetime | None, after: datetime | None, limit: int, is_exact: bool) -> list[Capture]:
    key, is_forward = surt(url), after is not None
    found: list[Capture] = []
    files = files_of(store, spider, first_day=_day(after) if after else "", last_day=_day(before + _LATE) if before else "")
    has_enough = False
    for _, day in groupby(files if is_forward else reversed(files), attrgetter("day")):
        for file in day:
            found += [capture for capture in _in_file(store, file, key) if (not is_exact or capture.url == url)
                      and (before is None or capture.at < before) and (after is None or capture.at > after)]
        if has_enough:  # with one day more than seems needed, because of _LATE
            break
        has_enough = len(found) >= limit
    found.sort(key=lambda capture: (capture.at, capture.file.day, capture.offset), reverse=not is_forward)
    # A page that was held when its process was killed can be in two segments; and a file can be listed twice while segments are merged.
    return list({(capture.url, capture.at, capture.digest, capture.is_revisit, capture.method): capture for capture in reversed(found)}.values())[::-1][:limit]


def _in_file(store: Store, file: ArchiveFile, key: str) -> list[Capture]:
    try:
        with store.files.local(file.index_key).open("rb") as index:
            entries = list(cdxj.entries_of(index, key))
    except FileNotFoundError:  # merged meanwhile, or on another node
        current = [] if file.node else files_of(store, file.spider, first_day=file.day, last_day=file.day)
        replaced = [each for each in current if each.id > file.id]
        if not replaced:
            logger.warning("The index %s of the archive cannot be read here: there is no such file.", file.index_key)
        return [capture for each in replaced for capture in _in_file(store, each, key)]
    except ValueError as error:
        raise ArchiveError(f"the index is damaged: {error}", where=file.index_key) from error
    return [Capture(file.spider, entry.url, entry.at, entry.status,
                    "" if entry.is_revisit else entry.mime, entry.digest, entry.is_revisit, entry.method, file, entry.offset, entry.length)
            for entry in entries]


def _where_it_is(store: Store, capture: Capture, reads: Callable[[Capture], T]) -> T:
    """Read a capture, also if its segment was merged into a day file meanwhile."""
    for _ in range(_ATTEMPTS):
        try:
            return reads(capture)
        except FileNotFoundError:
            same = [each for file in files_of(store, capture.spider, first_day=capture.file.day, last_day=capture.file.day) if file.id != capture.file.id
                    for each in _in_file(store, file, surt(capture.url))
                    if (each.url, each.at, each.digest, each.is_revisit) == (capture.url, capture.at, capture.digest, capture.is_revisit)]
            if not same:
                break
            capture = same[0]
        except RecordError as error:
            raise RecordError(error.what, where=capture.file.key) from error
    raise ArchiveError("the file cannot be read here: there is no such file", where=capture.file.key)


def _exchange(file: StoredBytes, capture: Capture) -> Iterator[StoredRecord]:
    """Yield the record of a capture, and those that belong to it, which follow it. Raises RecordError."""
    records = records_of(file, capture.offset)
    first = next(records, None)
    if first is None or first.headers.get("warc-target-uri") != capture.url:
        raise RecordError("the index names another place than that of the record")
    yield first
    for record in records:
        if record.headers.get("warc-concurrent-to") != first.headers.get("warc-record-id"):
            break
        yield record


def _read(store: Store, capture: Capture) -> ArchivedPage:
    first, *others = _exchange(StoredBytes(store.files, capture.file.key), capture)
    head = parse(first.block) if first.headers.get("content-type", "").startswith("application/http") else ParsedBlock(b"", (), first.block)
    content, missing = _content(store, capture, first, head)
    body = decoded(content.headers, content.body)
    if body is None:
        body, missing = content.body, _UNDECODED
    parts: dict[str, bytes] = {}
    redacted: list[str] = []
    for record in others:
        uri = record.headers.get("warc-target-uri", "")
        if record.kind == "metadata":
            redacted += [line.removeprefix("redacted: ") for line in record.block.decode("utf-8", "replace").splitlines() if line.startswith("redacted: ")]
        elif uri.startswith((DOM, VIEW)):
            part, gone = _content(store, capture, record, ParsedBlock(b"", (), record.block))
            if gone:
                missing = missing or gone
            else:
                parts[uri[:len(DOM)] if uri.startswith(DOM) else VIEW] = part.body
    is_resource = not head.first_line
    return ArchivedPage(
        url=capture.url, at=_time(first), status=head.status, reason=_text(head.reason), headers=tuple((_text(name), _text(value)) for name, value in head.headers),
        content_type=first.headers.get("content-type", "") if is_resource else _content_type(head.headers) or _content_type(content.headers),
        body=body, digest=first.headers.get("warc-payload-digest", ""), file=capture.file, dom=body if is_resource else parts.get(DOM),
        screenshot=parts.get(VIEW), refers_to=_refers_to(first), missing=missing, redacted=tuple(redacted), method=capture.method)


def _content(store: Store, capture: Capture, record: StoredRecord, head: ParsedBlock) -> tuple[ParsedBlock, str]:
    """Return the block that has the content of a record: its own, or that of the record to which it refers. Also why it is missing, or ""."""
    at = _refers_to(record)
    if at is None:
        return head, ""
    url, digest = record.headers.get("warc-refers-to-target-uri", ""), record.headers.get("warc-payload-digest", "")
    last_day = max(capture.file.day, _day(at + _LATE))  # the later one if the clock was set back between them
    for file in files_of(store, capture.spider, first_day=_day(at), last_day=last_day):
        for original in _in_file(store, file, surt(url)):
            if (original.url, original.digest, original.is_revisit) == (url, digest, False) and original.at in (at, at.replace(microsecond=0)):
                found = _where_it_is(store, original, lambda place: next(_exchange(StoredBytes(store.files, place.file.key), place)))
                is_http = found.headers.get("content-type", "").startswith("application/http")
                return (parse(found.block) if is_http else ParsedBlock(b"", (), found.block)), ""
    return ParsedBlock(head.first_line, (), b""), _REMOVED


def _refers_to(record: StoredRecord) -> datetime | None:
    return _time(record, "warc-refers-to-date") if record.kind == "revisit" else None


def _time(record: StoredRecord, name: str = "warc-date") -> datetime:
    try:
        return time_of(record.headers[name])
    except (KeyError, ValueError) as error:
        raise RecordError(f"the record has no valid {name}") from error


def _content_type(headers: HeaderLines) -> str:
    return next((_text(value) for name, value in headers if name.lower() == b"content-type"), "")


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _day(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d}"
