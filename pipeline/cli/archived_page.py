"""Finds one page of the archive for `pipeline archive show`, and writes it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path
from typing import BinaryIO, Literal

import click

from pipeline.archive.reading.capture_at import CaptureAt, capture_at
from pipeline.archive.reading.page_urls import archived_url
from pipeline.archive.reading.reader import ArchivedPage, raw_record, read
from pipeline.archive.reading.shown_html import text_of
from pipeline.atomic_write import replacing
from pipeline.errors import UsageError
from pipeline.settings import Settings
from pipeline.store import Store
from pipeline.text import escape_controls

Output = Literal["content", "headers", "dom", "screenshot", "record"]


@dataclass(frozen=True)
class Found:
    """A page of the archive. spider, url: as the archive names them."""

    spider: str
    url: str
    capture: CaptureAt
    page: ArchivedPage

    def lines(self, zone: tzinfo, wanted: datetime | None) -> Iterator[str]:
        """Yield what is said about the record. wanted: the time that a person gave."""
        page, capture = self.page, self.capture
        status = f"status {page.status}, " if page.status else ""
        method = "" if page.method == "GET" else f"{page.method} "
        yield f"{self.spider}: {method}{page.url} as of {_stamp(page.at, zone)}, {status}{page.digest or 'no content'}, in {page.file.key}"
        if capture.exact == "after" and wanted is not None:
            yield f"  nothing was archived up to {_stamp(wanted, zone)}; this is the first record after that"
        neighbours = [f"{text} {_stamp(each.at, zone)}" for text, each in (("before:", capture.previous), ("after:", capture.following)) if each is not None]
        if neighbours:
            yield f"  records {', '.join(neighbours)}"
        if page.refers_to is not None:
            yield f"  the content has not changed since the record of {_stamp(page.refers_to, zone)}"
        if page.missing:
            yield f"  {page.missing}"
        yield f"  redacted: {', '.join(page.redacted) or 'nothing'}"
        if page.file.timestamped_at is not None:
            yield f"  the file has a timestamp of {_stamp(page.file.timestamped_at, zone)}: {page.file.timestamp_key}"


def find(store: Store, settings: Settings, spider: str, url: str, at: datetime) -> Found:
    """Return the page at a time. Raises UsageError if the archive has no record of it, ArchiveError, StoreError."""
    named = archived_url(settings, spider, url)
    found = capture_at(store, spider, named, at)
    if found is None:
        raise UsageError(f"the archive has no record of {url}", where=spider, fix=f"`pipeline archive list {spider} --url PART` lists the pages")
    return Found(spider, named, found, read(store, found.chosen))


def kind_of_output(**chosen: bool) -> Output:
    """Return what the options ask for. Raises click.UsageError if they ask for several things."""
    wanted: list[Output] = [kind for kind in ("headers", "dom", "screenshot", "record") if chosen.get(kind)]
    if len(wanted) > 1:
        raise click.UsageError(f"give only one of {', '.join(f'--{kind}' for kind in wanted)}")
    return wanted[0] if wanted else "content"


def write(store: Store, found: Found, kind: Output, output: Path | None) -> None:
    """Write a part of a page to a file, or to standard output. Raises UsageError."""
    pieces, is_text = _pieces(store, found, kind)
    if output is not None:
        with replacing(output) as path, path.open("wb") as file:
            _copy(pieces, file)
        return
    if sys.stdout.isatty():
        if not is_text:
            raise UsageError("this content is no text and cannot be written to the terminal", where=f"archive show {found.spider}", fix="give a file with --output FILE")
        content_type = found.page.content_type if kind == "content" else "text/plain; charset=utf-8"
        click.echo(escape_controls(text_of(b"".join(pieces), content_type)))
        return
    _copy(pieces, sys.stdout.buffer)


def _pieces(store: Store, found: Found, kind: Output) -> tuple[Iterable[bytes], bool]:
    """Return the content in pieces, and whether it is text. Raises UsageError if the record has no such part."""
    page = found.page
    if kind == "record":
        return raw_record(store, found.capture.chosen), False
    if kind == "headers":
        head = [f"HTTP {page.status} {page.reason}", *(f"{name}: {value}" for name, value in page.headers)]
        return [("\n".join(head) + "\n").encode("utf-8", "replace")], True
    if kind == "content":
        return [page.body], page.is_text
    part = page.dom if kind == "dom" else page.screenshot
    if part is None:
        raise UsageError(f"this record has no {'page of a browser' if kind == 'dom' else 'picture'}", where=f"archive show {found.spider}", fix="only pages that were rendered have one")
    return [part], kind == "dom"


def _copy(pieces: Iterable[bytes], to: BinaryIO) -> None:
    for piece in pieces:
        to.write(piece)
    to.flush()


def _stamp(at: datetime, zone: tzinfo) -> str:
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M:%S %Z}"
