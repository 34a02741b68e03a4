"""Delete downloaded files that exceed the limits on the number of versions, on age and on total size.

Files are deleted in this order: first, versions of a file beyond the allowed number of versions; second, versions that were last
seen on the site longer ago than the allowed age; third, files beyond the spider's quota. To meet the quota, superseded versions
are deleted, oldest first, and then current files, least recently requested first. The quota for all spiders is applied last, in
the same way.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from pipeline.download.storage.open_folder import open_folder
from pipeline.settings import Settings
from pipeline.store import Store
from pipeline.store.database import schema_version
from pipeline.store.files import download_queue
from pipeline.store.files import versions as stored
from pipeline.store.files.prefix_owner import OWNER, owns_files
from pipeline.store.files.versions import Version
from pipeline.text import size_for_people

_log = logging.getLogger(__name__)
_BATCH = 200
"""The number of files in one batch: after each batch of files, the rows of these files are deleted from the store."""


@dataclass(frozen=True)
class FileRetention:
    """Limits on the files of one spider.

    versions: how many versions of each file are kept; 0 means all. age: how long a version is kept after it was last seen on the
    site; None means forever. quota_bytes: the maximum total size of all files; None means no limit.
    """

    versions: int = 0
    age: timedelta | None = None
    quota_bytes: int | None = None

    def __bool__(self) -> bool:
        return self != FileRetention()


@dataclass(frozen=True)
class DeletedFiles:
    """The number and size of deleted files.

    over_bytes: by how many bytes the remaining files exceed the quotas. Files that a digest has not sent yet are not deleted.
    """

    files: int = 0
    bytes: int = 0
    over_bytes: int = 0


def delete_surplus(store: Store, settings: Settings, *, now: datetime, by_age: bool = True) -> DeletedFiles:
    """Delete all files beyond the limits in the settings.

    First, finish deletions that a kill has interrupted. by_age: whether to delete files because of their age; False if the system
    clock cannot be trusted (clock_trust). Raise StoreError, or DownloadError for a folder that cannot be used.
    """
    waiting = {name: digest.spiders for name, digest in settings.digests.items()}
    files, size_bytes = _delete_marked(store)
    over_bytes = 0
    for name, spider in settings.spiders.items():
        table = spider.downloads
        rules = FileRetention(table.versions,
                               timedelta(seconds=table.keep_for) if table.keep_for is not None and by_age else None, table.quota)
        if rules:
            kept = stored.versions(store, name, waiting=waiting, now=now)
            surplus, over = surplus_versions(kept, rules, now=now, linked=table.link_duplicates and not store.files.is_remote)
            over_bytes += over
            stored.mark_for_deletion(store, name, [version.id for version in surplus], waiting=waiting, now=now)
    over_bytes += _mark_over_total_quota(store, settings, waiting, now)
    more, more_bytes = _delete_marked(store)
    return DeletedFiles(files + more, size_bytes + more_bytes, over_bytes)


def _mark_over_total_quota(store: Store, settings: Settings, waiting: Mapping[str, Sequence[str]], now: datetime) -> int:
    """Mark the files beyond `pipeline.downloads_quota` for deletion.

    Return by how many bytes the remaining files exceed the quota.
    """
    quota = settings.pipeline.downloads_quota
    sizes = stored.sizes(store) if quota is not None else {}
    if quota is None or sum(sizes.values()) <= quota:
        return 0
    linked = {name for name, spider in settings.spiders.items() if spider.downloads.link_duplicates and not store.files.is_remote}
    kept = [version for name in sizes for version in stored.versions(store, name, waiting=waiting, now=now)]
    surplus, over = _beyond_quota(kept, quota, linked)
    for name in sizes:
        stored.mark_for_deletion(store, name, [version.id for version in surplus if version.spider == name], waiting=waiting, now=now)
    return over


def surplus_versions(kept: Sequence[Version], rules: FileRetention, *, now: datetime,
                     linked: bool = False) -> tuple[list[Version], int]:
    """Return the versions of one spider to delete, in order of deletion, and the remaining excess in bytes.

    The remaining excess is by how much the files that must be kept for digests or runs still exceed the quota. linked: whether
    files with the same content are hard links; if so, their size counts only once.
    """
    surplus: dict[int, Version] = {}
    if rules.versions:
        by_file = defaultdict(list)
        for version in sorted(kept, key=lambda version: version.id, reverse=True):
            by_file[version.download_id].append(version)
        surplus |= _deletable(version for versions in by_file.values() for version in versions[rules.versions:])
    if rules.age is not None:
        surplus |= _deletable(version for version in kept if now - version.seen_at > rules.age)
    over = 0
    if rules.quota_bytes is not None:
        left = [version for version in kept if version.id not in surplus]
        more, over = _beyond_quota(left, rules.quota_bytes, {version.spider for version in left} if linked else set())
        surplus |= _deletable(more)
    return list(surplus.values()), over


def _deletable(versions: Iterable[Version]) -> dict[int, Version]:
    """Return the versions that no digest and no run still needs, by id."""
    return {version.id: version for version in versions if not version.held}


def _beyond_quota(kept: Sequence[Version], quota_bytes: int, linked: set[str]) -> tuple[list[Version], int]:
    """Return the versions to delete to meet the quota, and by how many bytes the rest exceeds the quota.

    linked: the names of the spiders whose files with the same content are hard links; the size of such files counts only once.
    """
    def content(version: Version) -> tuple[str, str | int]:
        return version.spider, version.sha256 if version.spider in linked else version.id

    names = Counter(content(version) for version in kept)
    size = sum({content(version): version.size_bytes for version in kept}.values())
    surplus = []
    for version in sorted(kept, key=lambda version: (version.current, version.seen_at, version.id)):
        if size <= quota_bytes:
            break
        if version.held:
            continue
        surplus.append(version)
        names[content(version)] -= 1
        if not names[content(version)]:
            size -= version.size_bytes
    return surplus, max(0, size - quota_bytes)


def _delete_marked(store: Store) -> tuple[int, int]:
    """Delete the files that are marked for deletion. Return the number of files and their size in bytes."""
    by_spider = defaultdict(list)
    for row_id, spider, key, size_bytes in stored.marked_for_deletion(store):
        by_spider[spider].append((row_id, key, size_bytes))
    files = total = 0
    for spider, rows in by_spider.items():
        with open_folder(store, spider) as folder:
            for start in range(0, len(rows), _BATCH):
                batch = rows[start:start + _BATCH]
                for _, key, size_bytes in batch:
                    if folder.remove(key, size_bytes):
                        files, total = files + 1, total + size_bytes
                    else:
                        _log.warning("%s was not deleted, because another file has replaced the downloaded file; the record of the download is removed", key)
                stored.forget(store, [row_id for row_id, _, _ in batch])
        _log.info("%s: deleted %d downloaded files (%s) that exceeded the configured limits", spider, len(rows),
                  size_for_people(sum(size for _, _, size in rows)))
    return files, total


def delete_left_behind(store: Store, settings: Settings, *, now: datetime) -> None:
    """Delete the objects that killed processes uploaded and no row names. Raise StoreError.

    On the disk, the next attempt of the download finds such a file; in an object store, another node may have made that attempt.
    Objects that are older than the tables of this database are kept: another database may have their rows. For the same reason, nothing
    is deleted if another database was the first to use this prefix of the bucket.
    """
    if not store.files.is_remote:
        return
    with store.read() as connection:
        complete_since = schema_version.complete_since(connection).replace(microsecond=0)  # as precise as the times of objects
        own = schema_version.database_id(connection)
    if not owns_files(store.files, own):
        _log.warning("another database uses the same [pipeline] storage: files that interrupted processes have uploaded are not deleted. Give each "
                     "database a prefix of its own; if the other database is no longer in use, delete the object %s", OWNER)
        return
    from pipeline.download.storage.object_folder import left_behind  # noqa: PLC0415  files on the disk do not need obstore
    for spider in settings.spiders:
        keys = (found.key for found in left_behind(store.files, spider, now) if found.modified_at >= complete_since)
        while batch := list(islice(keys, _BATCH)):
            for key in sorted(set(batch) - download_queue.recorded(store, batch)):
                store.files.remove(key)
                _log.info("%s: deleted %s, which an interrupted process had uploaded", spider, key)
