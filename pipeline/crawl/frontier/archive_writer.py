"""Write the exchanges of pages to the archive of the spider, before and after their commit.

An archive that cannot be written fails by itself: the crawl goes on, and the run's line says what is missing.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pipeline.crawl.archiving import Archiving
from pipeline.errors import DiskFullError, PipelineError
from pipeline.model import Exchange, Page, Progress
from pipeline.text import clean_line, counted, size_for_people

if TYPE_CHECKING:
    from pipeline.archive.writing.part_file import ClosedSegment
    from pipeline.archive.writing.segment import SegmentWriter
    from pipeline.archive.writing.writer_process import WriterProcess

RETRY_S = 60.0
"""How long the archive is left alone after it could not be written."""
PAGES_IN_THREAD = 500
"""After so many pages, the archive is written by a process of its own: it takes 0.2 s of CPU and 30 MB, which shorter runs are spared.

It is started after half of them, so that the crawl does not wait for it.
"""

logger = logging.getLogger(__name__)


class ArchiveWriter:
    """Writes the exchanges of the pages of one run. Its methods are called in the thread of the committer."""

    def __init__(self, archiving: Archiving, spider: str, run_id: int) -> None:
        self._archiving = archiving
        self._only_changed = archiving.table.what == "changed"
        self._spider = spider
        self._run_id = run_id
        self._segment: SegmentWriter | WriterProcess | None = None
        self._process: WriterProcess | None = None
        self._closed: list[ClosedSegment] = []
        self._pages = 0
        self._again_s = 0.0
        self._held: list[int] = []
        self._not_held: list[int] = []
        self._uncounted = Progress()
        self._written_bytes = 0
        self._missing = 0
        self._not_by_us = 0
        self._reason = ""
        self._unclosed = ""

    def before_commit(self, pages: Sequence[Page]) -> Progress:
        """Write the exchanges of these pages to the disk. Return what was archived since the last call."""
        found = [(number, page) for number, page in enumerate(pages) if page.exchanges]
        self._not_by_us += sum(1 for page in pages if page.status and page.url and not page.exchanges)
        self._held = self._not_held = []
        if found:
            before, self._pages = self._pages, self._pages + len(found)
            if before < PAGES_IN_THREAD // 2 <= self._pages:
                self._start_process()
            if before < PAGES_IN_THREAD <= self._pages:
                self._use_process()
            is_written = self._attempt(lambda segment: self._write(segment, [page.exchanges for _, page in found]))
            numbers = [number for number, _ in found]
            if self._only_changed:
                self._held, self._not_held = (numbers, []) if is_written else ([], numbers)
            else:
                self._count(len(found), is_written=is_written)
        counts, self._uncounted = self._uncounted, Progress()
        return counts

    def named(self, url: str) -> str:
        """Return the URL under which the archive has a page: without what is redacted."""
        return self._archiving.redaction.url(url)

    def after_commit(self, changed: Collection[int]) -> None:
        """Keep the exchanges of the pages on which a change was found, by their number in the batch, if only these are archived."""
        held, self._held = self._held, []
        if held:
            kept = [place for place, number in enumerate(held) if number in changed]
            self._attempt(lambda segment: segment.keep(kept), must=True)
            self._count(len(kept), is_written=True)  # if this failed, the spool stays on the disk, and is completed later
        self._count(sum(number in changed for number in self._not_held), is_written=False)
        self._not_held = []

    def close(self) -> Progress:
        """Close the files, and add them to the archive of the spider. Return what was archived since the last call of before_commit()."""
        process = self._process
        if process is not None and process is not self._segment:
            process.end()
        self._replace_segment(None)
        if self._closed:
            self._try_to_close(lambda: self._archiving.add_files(self._closed))
        return self._uncounted

    @property
    def notes(self) -> list[str]:
        """What the run's line says about the archive."""
        found = []
        if self._missing:
            found.append(f"{counted(self._missing, 'page')} not archived: {self._reason}")
        if self._not_by_us:
            found.append(f"{counted(self._not_by_us, 'page')} not archived, because a component of the project fetched them or stopped their download")
        if self._unclosed:
            found.append(f"the files of the archive are completed later: {self._unclosed}")
        return found

    def _replace_segment(self, segment: WriterProcess | None) -> None:
        """Close the current segment, if there is one, and write to another from now on."""
        before, self._segment = self._segment, segment
        if before is not None:
            self._try_to_close(lambda: self._closed.extend(before.close()))

    def _try_to_close(self, close: Callable[[], None]) -> None:
        try:
            close()
        except (OSError, PipelineError) as error:
            self._unclosed = _reason(error)
        except Exception as error:
            logger.exception("the archive could not be closed")
            self._unclosed = type(error).__name__

    def _start_process(self) -> None:
        """Start the process that is to write later. If it cannot start, this process goes on."""
        from pipeline.archive.writing.writer_process import WriterProcess  # noqa: PLC0415  an extra, which only runs that archive need
        archiving = self._archiving
        try:
            self._process = WriterProcess(archiving.folder, self._spider, run_id=self._run_id, redaction=archiving.redaction, max_age=archiving.max_age)
        except OSError as error:
            logger.warning("no process for the archive could be started: %s", error)

    def _use_process(self) -> None:
        """Let the process write from now on."""
        if self._process is None:
            return
        self._replace_segment(self._process)
        self._written_bytes = 0

    def _leave_process(self) -> bool:
        """Return whether the process has ended unexpectedly, for example for lack of memory. This process then goes on; `repair` closes its files."""
        process = self._process
        if process is None or not process.has_ended:
            return False
        logger.warning("the process that writes the archive has ended; the run's process goes on with the archive")
        process.end()
        self._process = self._segment = None
        self._written_bytes = 0
        return True

    def _write(self, segment: SegmentWriter | WriterProcess, exchanges: Sequence[Sequence[Exchange]]) -> None:
        write = segment.hold if self._only_changed else segment.write
        write(exchanges, datetime.now(UTC))

    def _count(self, pages: int, *, is_written: bool) -> None:
        if not is_written:
            self._missing += pages
            self._uncounted.not_archived += pages
            return
        written = self._segment.written_bytes if self._segment is not None else 0
        self._uncounted.archived_pages += pages
        self._uncounted.archived_bytes += written - self._written_bytes
        self._written_bytes = written

    def _attempt(self, write: Callable[[SegmentWriter | WriterProcess], None], *, must: bool = False) -> bool:
        """Write to the archive, unless that has just failed or the disk is nearly full. Return whether it succeeded.

        must: whether to write in any case, because what is in the spool already would be lost with the next batch.
        """
        if not must and time.monotonic() < self._again_s:
            return False
        try:
            if not must:
                self._require_space()
            write(self._opened())
        except (OSError, DiskFullError) as error:
            if self._leave_process():  # what it held, `repair` keeps
                return must or self._attempt(write)
            self._failed(_reason(error))
        except Exception as error:  # whatever is wrong with a page or a library, the crawl goes on
            logger.exception("the archive could not be written")
            self._failed(type(error).__name__)
        else:
            return True
        return False

    def _require_space(self) -> None:
        """Raise DiskFullError if less than [pipeline] keep_free would remain."""
        free, least = shutil.disk_usage(self._archiving.folder.parents[2]).free, self._archiving.keep_free_bytes
        if free < least:
            raise DiskFullError(f"only {size_for_people(free)} free; [pipeline] keep_free requires {size_for_people(least)}")

    def _failed(self, reason: str) -> None:
        self._reason = reason
        self._again_s = time.monotonic() + RETRY_S
        logger.warning("the archive could not be written: %s; the next pages are not archived for %.0f s", reason, RETRY_S)

    def _opened(self) -> SegmentWriter | WriterProcess:
        if self._segment is None:
            from pipeline.archive.writing.segment import SegmentWriter  # noqa: PLC0415  an extra, which only runs that archive need
            self._segment = SegmentWriter(self._archiving.folder, self._spider, run_id=self._run_id, redaction=self._archiving.redaction,
                                          max_age=self._archiving.max_age)
        return self._segment


def _reason(error: OSError | PipelineError) -> str:
    if isinstance(error, PipelineError):
        return clean_line(error.what, 150)
    return clean_line(error.strerror or str(error) or type(error).__name__, 100)
