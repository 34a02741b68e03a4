"""The URLs of archived pages: under which one the archive has a page, and which ones contain a text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from pipeline.archive.format import cdxj
from pipeline.archive.format.redaction import Redaction
from pipeline.settings import Settings
from pipeline.store import Store
from pipeline.store.files.archive_files import ArchiveFile, files_of

_SEARCHED_BYTES = 32 * 1024 * 1024


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
            found[entry.url] = max(entry.at, found.get(entry.url, entry.at))
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
