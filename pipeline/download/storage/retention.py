"""How much is kept of what was downloaded: n versions of a file, for so long, up to so many bytes.

What goes, in this order: versions of a file beyond the n newest; what the site has not had for too long; then, until
the spider is within its quota, versions that a newer one took the place of, the oldest first, and only then current
files, those first that were not asked for the longest; the same once more for all spiders together.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline.download.storage.part_files import Landing
from pipeline.settings import Settings
from pipeline.store import Store
from pipeline.store.files import versions as stored
from pipeline.store.files.versions import Version
from pipeline.text import size_for_people

_log = logging.getLogger(__name__)
_BATCH = 200
"""Files deleted before their rows are."""


@dataclass(frozen=True)
class Keeping:
    """What is kept of one spider's files. versions: of each file, 0: all; age: since the site last had it, None: any;
    quota_bytes: None: any."""

    versions: int = 0
    age: timedelta | None = None
    quota_bytes: int | None = None

    def __bool__(self) -> bool:
        return self != Keeping()


@dataclass(frozen=True)
class Tidied:
    """What was deleted, and by how many bytes the quotas are still exceeded: digests wait for those files."""

    files: int = 0
    bytes: int = 0
    over_bytes: int = 0


def tidy(store: Store, settings: Settings, *, now: datetime, by_age: bool = True) -> Tidied:
    """Delete what is beyond the limits of the settings; what a kill left half done first. by_age: whether the clock can
    be believed (clock_trust); else nothing goes for its age. Raises StoreError,
    DownloadError for a folder that cannot be used."""
    waiting = {name: digest.spiders for name, digest in settings.digests.items()}
    files, size_bytes = _delete_doomed(store)
    over_bytes = 0
    for name, spider in settings.spiders.items():
        table = spider.downloads
        keeping = Keeping(table.versions, timedelta(seconds=table.keep_for) if table.keep_for is not None and by_age else None,
                          table.quota)
        if keeping:
            kept = stored.versions(store, name, waiting=waiting, now=now)
            gone, over = surplus(kept, keeping, now=now, linked=table.link_duplicates)
            over_bytes += over
            stored.mark_for_deletion(store, name, [version.id for version in gone], waiting=waiting, now=now)
    over_bytes += _keep_total(store, settings, waiting, now)
    more, more_bytes = _delete_doomed(store)
    return Tidied(files + more, size_bytes + more_bytes, over_bytes)


def _keep_total(store: Store, settings: Settings, waiting: Mapping[str, Sequence[str]], now: datetime) -> int:
    """Keep all spiders together within pipeline.downloads_quota; by how many bytes they still exceed it."""
    quota = settings.pipeline.downloads_quota
    sizes = stored.sizes(store) if quota is not None else {}
    if quota is None or sum(sizes.values()) <= quota:
        return 0
    linked = {name for name, spider in settings.spiders.items() if spider.downloads.link_duplicates}
    kept = [version for name in sizes for version in stored.versions(store, name, waiting=waiting, now=now)]
    gone, over = _until_it_fits(kept, quota, linked)
    for name in sizes:
        stored.mark_for_deletion(store, name, [version.id for version in gone if version.spider == name], waiting=waiting, now=now)
    return over


def surplus(kept: Sequence[Version], keeping: Keeping, *, now: datetime, linked: bool = False) -> tuple[list[Version], int]:
    """Of one spider's files those that go, in the order in which they go; and the bytes above its quota that cannot.

    linked: files of one content are one file on the disk.
    """
    gone: dict[int, Version] = {}
    if keeping.versions:
        by_file = defaultdict(list)
        for version in sorted(kept, key=lambda version: version.id, reverse=True):
            by_file[version.download_id].append(version)
        gone |= _by_id(version for versions in by_file.values() for version in versions[keeping.versions:])
    if keeping.age is not None:
        gone |= _by_id(version for version in kept if now - version.seen_at > keeping.age)
    over = 0
    if keeping.quota_bytes is not None:
        left = [version for version in kept if version.id not in gone]
        more, over = _until_it_fits(left, keeping.quota_bytes, {version.spider for version in left} if linked else set())
        gone |= _by_id(more)
    return list(gone.values()), over


def _by_id(versions: Iterable[Version]) -> dict[int, Version]:
    return {version.id: version for version in versions if not version.held}


def _until_it_fits(kept: Sequence[Version], quota_bytes: int, linked: set[str]) -> tuple[list[Version], int]:
    def content(version: Version) -> tuple[str, str | int]:
        return version.spider, version.sha256 if version.spider in linked else version.id

    names = Counter(content(version) for version in kept)
    size = sum({content(version): version.size_bytes for version in kept}.values())
    gone = []
    for version in sorted(kept, key=lambda version: (version.current, version.seen_at, version.id)):
        if size <= quota_bytes:
            break
        if version.held:
            continue
        gone.append(version)
        names[content(version)] -= 1
        if not names[content(version)]:
            size -= version.size_bytes
    return gone, max(0, size - quota_bytes)


def _delete_doomed(store: Store) -> tuple[int, int]:
    """Delete what is marked; how many files and bytes."""
    by_spider = defaultdict(list)
    for row_id, spider, key, size_bytes in stored.marked_for_deletion(store):
        by_spider[spider].append((row_id, key, size_bytes))
    files = total = 0
    for spider, rows in by_spider.items():
        with Landing(store.files.root, spider) as landing:
            for start in range(0, len(rows), _BATCH):
                batch = rows[start:start + _BATCH]
                for _, key, size_bytes in batch:
                    if landing.remove(key, size_bytes):
                        files, total = files + 1, total + size_bytes
                    else:
                        _log.warning("%s: is no longer what was downloaded; left alone, and forgotten", key)
                stored.forget(store, [row_id for row_id, _, _ in batch])
        _log.info("%s: deleted %d downloaded files (%s) to keep within the limits", spider, len(rows),
                  size_for_people(sum(size for _, _, size in rows)))
    return files, total
