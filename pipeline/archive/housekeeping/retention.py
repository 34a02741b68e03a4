"""Retention of the archive: which files are older than [archive] keep, or exceed its quota.

A file stays while a file that is kept refers to it: a page that had not changed is archived as a reference to an earlier record, of at most
seven days before. Files that stay only for this reason keep no further ones. The quota deletes no file of the last seven days, because what is
archived next, on any node, may refer to it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from pipeline.archive.writing.originals import MAX_REFERENCE_AGE
from pipeline.settings import Settings
from pipeline.store import Store
from pipeline.store.files import archive_files
from pipeline.store.files.archive_files import ArchiveFile


@dataclass(frozen=True)
class ArchiveRules:
    """age: how long files are kept; None means forever. spiders: the ages of spiders that have their own. quota_bytes: of all files together."""

    age: timedelta | None = None
    spiders: Mapping[str, timedelta] | None = None
    quota_bytes: int | None = None

    @classmethod
    def of(cls, settings: Settings, *, by_age: bool = True) -> ArchiveRules:
        """Return the rules of the settings. by_age: whether the clock is plausible; if not, only the quota is applied.

        The archive of a spider that is no longer in the settings is kept as [archive] keep says.
        """
        table = settings.archive
        if not by_age:
            return cls(quota_bytes=table.quota)
        own = {name: timedelta(seconds=spider.archive.keep) for name, spider in settings.spiders.items()
               if spider.archive is not None and spider.archive.keep is not None}
        return cls(timedelta(seconds=table.keep) if table.keep is not None else None, own, table.quota)

    def first_day(self, spider: str, now: datetime) -> str:
        """Return the first day whose files are kept for their own sake; "" if all are."""
        age = (self.spiders or {}).get(spider, self.age)
        # A day's file is older than `age` when its last record is: the day has ended that long ago.
        return "" if age is None else (now - age).date().isoformat()


def delete_old(store: Store, rules: ArchiveRules, *, now: datetime) -> tuple[list[ArchiveFile], int]:
    """Mark the files for deletion that the rules do not keep. Return them, and by how many bytes the rest exceeds the quota. Raises StoreError."""
    rows = archive_files.files_of(store)
    surplus, over = surplus_files(rows, rules, now=now)
    archive_files.doom(store, [row.id for row in surplus], now=now)
    return surplus, over


def surplus_files(rows: Sequence[ArchiveFile], rules: ArchiveRules, *, now: datetime) -> tuple[list[ArchiveFile], int]:
    """Return the files that the rules do not keep, and by how many bytes the others exceed the quota."""
    by_spider = defaultdict(list)
    for row in rows:
        by_spider[row.spider].append(row)
    first = {spider: rules.first_day(spider, now) for spider in by_spider}
    over = 0
    if rules.quota_bytes is not None:
        since = ""
        referred = (now - MAX_REFERENCE_AGE).date().isoformat()
        days = iter(sorted({row.day for row in rows if row.day < referred}))
        while (over := max(0, _size(by_spider, first, since) - rules.quota_bytes)) and (day := next(days, None)) is not None:
            since = (date.fromisoformat(day) + timedelta(days=1)).isoformat()
        first = {spider: max(own, since) for spider, own in first.items()}
    kept = {row.id for spider, own in by_spider.items() for row in _kept(own, first[spider])}
    return [row for row in rows if row.id not in kept], over


def _size(by_spider: Mapping[str, Sequence[ArchiveFile]], first: Mapping[str, str], since: str) -> int:
    return sum(row.size_bytes + row.index_bytes for spider, rows in by_spider.items() for row in _kept(rows, max(first[spider], since)))


def _kept(rows: Iterable[ArchiveFile], first_day: str) -> list[ArchiveFile]:
    """Return the files from a day on, and those to which they refer."""
    rows = list(rows)
    needed = min((row.oldest_day or row.day for row in rows if row.day >= first_day), default=first_day)
    return [row for row in rows if row.day >= min(first_day, needed)]
