"""Finds the capture of a page at a time, with those before and after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from pipeline.archive.format import cdxj
from pipeline.archive.format.redaction import Redaction
from pipeline.archive.reading import reader
from pipeline.archive.reading.reader import Capture
from pipeline.settings import Settings
from pipeline.store import Store
from pipeline.store.files.archive_files import ArchiveFile, files_of

_SEARCHED_BYTES = 32 * 1024 * 1024
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class Around:
    """A capture and its neighbours; None where there is none.

    exact: "at" if the page was as in the capture at the wanted time, as far as the archive knows; "after" if it was first archived later.
    """

    chosen: Capture
    previous: Capture | None
    following: Capture | None
    exact: Literal["at", "after"]


def around(store: Store, spider: str, url: str, at: datetime) -> Around | None:
    """Return the last capture of a page up to a time, or else the first one after it; None if there is none. Raises StoreError, ArchiveError."""
    at = min(at, reader.LATEST)
    older = reader.captures(store, spider, url, before=at + _TICK, limit=2)
    newer = reader.captures(store, spider, url, after=at, limit=2)
    if older:
        return Around(older[0], older[1] if len(older) > 1 else None, newer[0] if newer else None, "at")
    if newer:
        return Around(newer[0], None, newer[1] if len(newer) > 1 else None, "after")
    return None


def archived_url(settings: Settings, spider: str, url: str) -> str:
    """Return the URL under which the archive has a page: without user info, fragment, and the parameters that the settings redact."""
    table = settings.spiders[spider].archive if spider in settings.spiders else None
    if "://" not in url.partition("#")[0]:  # the archive has no such page
        return url
    return (Redaction.of(table) if table is not None else Redaction()).url(url)


@dataclass(frozen=True)
class FoundPages:
    """Pages whose URLs contain a text. searched_to: the day up to which the newest files were searched; "" if all were."""

    urls: list[tuple[str, datetime]]
    searched_to: str


def pages_with(store: Store, spider: str, part: str, *, limit: int) -> FoundPages:
    """Return at most `limit` pages whose URL contains a text, those of the newest files first, with when they were last archived.

    Raises StoreError, ArchiveError.
    """
    found: dict[str, datetime] = {}
    left = _SEARCHED_BYTES
    for file in reversed(files_of(store, spider)):
        if left <= 0:
            return FoundPages(_newest(found, limit), file.day)
        left -= file.index_bytes
        for entry in _entries(store, file, part):
            at = datetime.strptime(f"{entry.timestamp}+0000", "%Y%m%d%H%M%S%z")
            found[entry.url] = max(at, found.get(entry.url, at))
        if len(found) >= limit:
            return FoundPages(_newest(found, limit), file.day)
    return FoundPages(_newest(found, limit), "")


def _newest(found: dict[str, datetime], limit: int) -> list[tuple[str, datetime]]:
    return sorted(found.items(), key=lambda each: (each[1], each[0]), reverse=True)[:limit]


def _entries(store: Store, file: ArchiveFile, part: str) -> Iterator[cdxj.Entry]:
    wanted = part.encode()
    with suppress(FileNotFoundError), store.files.local(file.index_key).open("rb") as index:  # merged meanwhile, or on another node
        for line in index:
            if wanted in line and not line.startswith(b"urn:"):
                entry = cdxj.parse(line)
                if part in entry.url:
                    yield entry
