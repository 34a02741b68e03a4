"""Appends the exchanges of one run to a segment: WARC records, and the lines of their index.

A segment has the records that one process wrote for one spider on one day (UTC). While it is written, it is `NAME.warc.gz.part`, locked
with flock, with `NAME.cdxj.part`; then both lose the suffix. `repair.py` closes a part whose process was killed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex

from pipeline.archive.format.records import DOM, VIEW, RecordWriter, Written
from pipeline.archive.format.redaction import Redaction
from pipeline.archive.writing.originals import MAX_REFERENCE_AGE, Original, Originals
from pipeline.archive.writing.part_file import ClosedSegment, PartFile, utc_day
from pipeline.archive_names import WARC
from pipeline.model import Exchange

logger = logging.getLogger(__name__)

Pages = Sequence[Sequence[Exchange]]
"""The exchanges of each page."""


class SegmentWriter:
    """Writes the segments of one run. Used by one thread. Nothing is created before the first record.

    folder: of the spider's segments. max_age: maximum age of a record to which a revisit record refers; at most 7 days. It must be less
    than the time for which files are kept. level: of zlib.

    write, hold and keep raise OSError if a file cannot be written. The segment then ends with the last whole batch, and the next call
    tries again.
    """

    def __init__(self, folder: Path, spider: str, *, run_id: int | None, redaction: Redaction, max_age: timedelta = MAX_REFERENCE_AGE,
                 level: int = 1) -> None:
        self.written_bytes = 0
        self._folder = folder
        self._run_id = run_id
        self._max_age = max_age
        self._redaction = redaction
        self._records = RecordWriter(spider, run_id, redaction, level)
        self._spider = spider
        self._name = ""  # of the segment: the file may not exist yet
        self._day = ""
        self._warcinfo = b""
        self._part: PartFile | None = None
        self._spool: PartFile | None = None
        self._held: list[list[Written]] = []
        self._originals: Originals | None = None
        self._closed: list[ClosedSegment] = []

    def write(self, pages: Pages, now: datetime) -> None:
        """Append the records of all pages, and sync them to the disk once. At the first call of another day, a new segment begins."""
        if not any(pages):
            return
        self._begin(now)
        original_of, new = self._known(pages, now, with_own=True)
        self._append(self._segment(), (written for page in pages for exchange in page
                                       for written in self._records.records(exchange, original_of)), new)

    def hold(self, pages: Pages, now: datetime) -> None:
        """Write the records of all pages to the spool, and sync it. `keep` then says which of them belong to the segment.

        Pages that were held before without a call of `keep` remain on the disk, and become a segment by `repair`.
        """
        if self._held:
            self._leave_spool()
        self._held = []
        if not any(pages):
            return
        self._begin(now)
        original_of, _ = self._known(pages, now, with_own=False)
        if self._spool is None:
            self._spool = PartFile.create(self._folder, f"{self._name.rpartition('-')[0]}-{token_hex(6)}-spool")  # an abandoned one may be left
        held = [[written for exchange in page for written in self._records.records(exchange, original_of)] for page in pages]
        try:
            self._spool.append([Written(self._warcinfo), *(written for page in held for written in page)])
        except BaseException:
            self._spool.clear()
            raise
        self._held = held

    def keep(self, numbers: Collection[int]) -> None:
        """Append the records of these held pages to the segment, sync it, and empty the spool. numbers: their indexes in `hold`.

        If the segment cannot be written, the spool stays on the disk, and becomes a segment of its own by `repair`.
        """
        held, self._held = self._held, []
        kept = [written for number, page in enumerate(held) if number in numbers for written in page]
        spool, self._spool = self._spool, None
        try:
            if kept:
                self._append(self._segment(), kept, {})
        except BaseException:
            if spool is not None:
                spool.abandon()
            raise
        if spool is not None:
            spool.clear()
            self._spool = spool

    def close(self) -> list[ClosedSegment]:
        """Close the files, and return the segments that were written since the beginning. A segment that cannot be closed is left for `repair`."""
        self._close_segment()
        self._leave_spool()
        if self._originals is not None:
            self._originals.close()
            self._originals = None
        closed, self._closed = self._closed, []
        return closed

    def _begin(self, now: datetime) -> None:
        """Name a segment of the day of `now`, unless the present one is."""
        day = utc_day(now)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._originals is None:
            self._originals = Originals(self._folder, now, self._max_age)
        if day == self._day:
            return
        self._close_segment()
        self._leave_spool()  # its name must not say that the day before is still written
        run = "" if self._run_id is None else f"-r{self._run_id}"
        self._day, self._name = day, f"{day}-{now.astimezone(UTC):%H%M%S}{run}-{token_hex(6)}"
        self._warcinfo = self._records.warcinfo(self._name + WARC, now)

    def _segment(self) -> PartFile:
        if self._part is None:
            part = PartFile.create(self._folder, self._name)
            try:
                part.append([Written(self._warcinfo)])
            except BaseException:
                part.remove()
                raise
            self._part = part
        return self._part

    def _append(self, part: PartFile, written: Iterable[Written], new: dict[str, Original]) -> None:
        """new: the originals among the records, which this call adds to."""
        def noted() -> Iterable[Written]:
            for each in written:
                if each.original is not None:
                    new[each.original.url] = each.original
                yield each

        before = part.size
        try:
            part.append(noted())
        except BaseException:
            if part.is_broken:
                part.abandon()
                self._part, self._day = None, ""  # the next batch begins another segment
            raise
        self.written_bytes += part.size - before
        if self._originals is not None:
            self._originals.add(list(new.values()))

    def _known(self, pages: Pages, now: datetime, *, with_own: bool) -> tuple[Callable[[str], Original | None], dict[str, Original]]:
        """Return a function that returns the original of a URL, and the originals of this batch, of which the function knows if with_own."""
        new: dict[str, Original] = {}
        if self._originals is None:
            return new.get, new
        urls = set()
        for exchange in (exchange for page in pages for exchange in page):
            urls.add(url := self._redaction.url(exchange.url))
            if exchange.rendered is not None:
                urls |= {DOM + url, VIEW + url}
        found = self._originals.find(urls, now)
        return (lambda url: new.get(url) or found.get(url)) if with_own else found.get, new

    def _leave_spool(self) -> None:
        """Remove the spool. If pages are held of which nothing was said, leave it for `repair`: evidence is rather kept."""
        spool, self._spool = self._spool, None
        if spool is not None and self._held:
            spool.abandon()
        elif spool is not None:
            spool.remove()

    def _close_segment(self) -> None:
        part, self._part = self._part, None
        self._day = ""
        if part is None:
            return
        try:
            self._closed.append(part.close(self._spider))
        except OSError as error:
            logger.warning("The archive file %s could not be closed: %s. It is closed later.", part.path.name, os.strerror(error.errno or 0))
            part.abandon()
