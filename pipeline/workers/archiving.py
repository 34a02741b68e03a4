"""How the pages of a run are archived, from the settings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from pipeline.archive.writing.originals import MAX_REFERENCE_AGE
from pipeline.archive_names import segments_folder
from pipeline.crawl.archiving import Archiving
from pipeline.model import DRY_RUN, Run
from pipeline.settings import Settings, SpiderArchiveTable
from pipeline.settings.masking import secret_values
from pipeline.store import Store

if TYPE_CHECKING:
    from pipeline.archive.writing.part_file import ClosedSegment


def archiving_of(store: Store, settings: Settings, run: Run) -> Archiving | None:
    """Return how the pages of a run are archived; None if they are not, as in a dry run."""
    table = settings.spiders[run.spider].archive
    if table is None or run.reason == DRY_RUN:
        return None
    def add_files(closed: Sequence[ClosedSegment]) -> None:
        from pipeline.archive.housekeeping.segments import store_segments  # noqa: PLC0415  only runs that archive need it
        store_segments(store, settings, run.spider, run.id, closed)

    return Archiving(table, segments_folder(store.data_dir, run.spider), secret_values(settings), _max_age(settings, table),
                     settings.pipeline.keep_free, add_files)


def _max_age(settings: Settings, table: SpiderArchiveTable) -> timedelta:
    """Return how old a record may be to which another one refers in place of the page's content: it must not be deleted first."""
    keep_s = table.keep if table.keep is not None else settings.archive.keep
    return MAX_REFERENCE_AGE if keep_s is None else max(timedelta(), min(MAX_REFERENCE_AGE, timedelta(seconds=keep_s) - timedelta(days=1)))
