"""How the pages of a run are archived."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.archive.writing.originals import MAX_REFERENCE_AGE
from pipeline.settings import SpiderArchiveTable

if TYPE_CHECKING:
    from pipeline.archive.format.redaction import Redaction
    from pipeline.archive.writing.originals import Originals
    from pipeline.archive.writing.part_file import ClosedSegment


@dataclass(frozen=True)
class Archiving:
    """How the pages of a run are archived.

    folder: where the segments are written. secrets: values that are redacted. max_age: of a record to which another one refers in place of
    the page's content. keep_free_bytes: free space that must remain on the disk. add_files: called with the files of this process when it has
    written all; adds them to the archive of the spider.
    """

    table: SpiderArchiveTable
    folder: Path
    secrets: tuple[str, ...] = field(default=(), repr=False)
    max_age: timedelta = MAX_REFERENCE_AGE
    keep_free_bytes: int = 0
    add_files: Callable[[Sequence[ClosedSegment]], None] = lambda closed: None

    @cached_property
    def redaction(self) -> Redaction:
        """What is removed before anything is archived."""
        from pipeline.archive.format.redaction import Redaction  # noqa: PLC0415  an extra, which only runs that archive need
        return Redaction.of(self.table, self.secrets)


class ArchivedPages:
    """The pages that the archive has in full, so that a confirmation that they have not changed (status 304) is enough for it."""

    def __init__(self, archiving: Archiving) -> None:
        self._archiving = archiving
        self._originals: Originals | None = None

    def confirms(self, url: str, conditions: Mapping[str, bytes]) -> bool:
        """Return whether a 304 to a request with these headers confirms a page that the archive has, and that is not too old."""
        from pipeline.archive.writing.originals import Originals, confirms  # noqa: PLC0415  an extra, which only runs that archive need
        now = datetime.now(UTC)
        if self._originals is None:
            if not self._archiving.folder.is_dir():
                return False
            self._originals = Originals(self._archiving.folder, now, self._archiving.max_age)
        url = self._archiving.redaction.url(url)
        found = self._originals.find([url], now).get(url)
        return found is not None and confirms(found.etag, found.last_modified, {name.lower().encode(): value for name, value in conditions.items()})

    def close(self) -> None:
        if self._originals is not None:
            self._originals.close()
            self._originals = None
