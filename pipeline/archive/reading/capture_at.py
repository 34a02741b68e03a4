"""Finds the capture of a page at a time, with those before and after it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from pipeline.archive.reading import reader
from pipeline.archive.reading.reader import Capture
from pipeline.store import Store

_TICK = timedelta(microseconds=1)
_MOST = 1000


@dataclass(frozen=True)
class CaptureAt:
    """The capture of a page at a time, and those before and after it; None where there is none.

    exact: "at" if the page was as in the capture at the wanted time, as far as the archive knows; "after" if it was first archived later.
    """

    chosen: Capture
    previous: Capture | None
    following: Capture | None
    exact: Literal["at", "after"]


def capture_at(store: Store, spider: str, url: str, at: datetime) -> CaptureAt | None:
    """Return the last capture of a page up to a time, or else the first one after it; None if there is none. Raises StoreError, ArchiveError."""
    at = min(at, reader.LATEST)
    older = reader.captures(store, spider, url, before=at + _TICK, limit=2)
    newer = reader.captures(store, spider, url, after=at, limit=2)
    if not older and not newer:  # a page can be in the file of an earlier day if the clock was set back before it was archived
        newer = reader.captures(store, spider, url, limit=_MOST)[::-1][:2]
    if older:
        return CaptureAt(older[0], older[1] if len(older) > 1 else None, newer[0] if newer else None, "at")
    if newer:
        return CaptureAt(newer[0], None, newer[1] if len(newer) > 1 else None, "after")
    return None
