"""The housekeeping of the archive: adds what killed processes left, merges ended days, gets timestamps, deletes what is too old."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from pipeline.archive.keeping.deletion import finish_deletions
from pipeline.archive.keeping.left_files import settle_left_files, settle_left_objects
from pipeline.archive.keeping.merging import crowded_segments, merge_days, segments_to_merge
from pipeline.archive.keeping.moved_files import moved_files, take_over
from pipeline.archive.keeping.places import FOLDER, SEGMENTS, is_within_reach, keeping_lock, node_of, spider_folders
from pipeline.archive.keeping.retention import ArchiveRules, delete_old, surplus_files
from pipeline.archive.keeping.segments import SETTLED_S, take_up_segments
from pipeline.archive.keeping.timestamping import add_timestamps, without_timestamp
from pipeline.settings import Settings
from pipeline.store import Store
from pipeline.store.files import archive_files
from pipeline.store.files.file_store import PART, WARC
from pipeline.text import counted, size_for_people


@dataclass(frozen=True)
class KeepOptions:
    """What the housekeeping does.

    shared: whether to merge and delete what every node reaches; False on nodes that do not lead, if there is an object store.
    by_age: whether files may be deleted because of their age (clock_trust.py). thorough: whether to list the object store, too.
    settled_s: the age of a segment without a row from which it is taken to be left. timestamps: whether to ask for timestamps.
    """

    shared: bool = True
    by_age: bool = True
    thorough: bool = False
    timestamps: bool = True
    settled_s: float = SETTLED_S


@dataclass
class Kept:
    """What the housekeeping did, and what failed, in sentences. deleted: how many files retention removed."""

    done: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    deleted: int = 0

    def note(self, done: list[str], problems: list[str]) -> None:
        self.done += done
        self.problems += problems

    def add(self, other: Kept) -> None:
        self.note(other.done, other.problems)
        self.deleted += other.deleted


def is_due(store: Store, settings: Settings, options: KeepOptions, *, now: datetime) -> bool:
    """Return whether there is anything to do, with one query and a look at the folders. Raises StoreError."""
    folders = spider_folders(store)
    if any(next((path / SEGMENTS).glob(f"*{PART}"), None) is not None or next(path.glob(f"*{PART}"), None) is not None for path in folders):
        return True
    known = archive_files.known_keys(store) if folders else set()
    on_disk = (f"{FOLDER}/{found.relative_to(path.parent).as_posix()}" for path in folders for found in path.rglob(f"*{WARC}"))
    if any(store.files.is_remote or key not in known for key in on_disk) or moved_files(store, settings):
        return True
    if not options.shared:
        return False
    rules, node = ArchiveRules.of(settings, by_age=options.by_age), node_of(store, settings)
    return bool(any(is_within_reach(row, node) for row in archive_files.doomed(store)) or segments_to_merge(store, settings, now.date().isoformat()) or crowded_segments(store, settings, now.date().isoformat())
                or without_timestamp(store, settings, now=now) or surplus_files(archive_files.files_of(store), rules, now=now)[0])


def keep_archive(store: Store, settings: Settings, options: KeepOptions = KeepOptions(), *, now: datetime,
                 go_on: Callable[[], bool] = lambda: True) -> Kept:
    """Do what is due. If another process does it already, add only what killed processes of this node left. Raises PipelineError, OSError.

    go_on: whether the work may go on; what is left is done the next time.
    """
    kept = Kept()
    added = take_up_segments(store, settings, settled_s=options.settled_s)
    if added:
        kept.done.append(f"added {counted(added, 'segment')} of interrupted processes to the archive")
    nodes = take_over(store, settings)
    if nodes:
        kept.done.append(f"took over the files of the archive that are on this disk and belonged to the node {', '.join(nodes)}, which is gone")
    if not options.shared:
        return kept
    with keeping_lock(store) as is_held:
        if is_held:
            kept.add(_keep(store, settings, options, now=now, go_on=go_on))
    if options.timestamps and go_on():
        kept.note(*add_timestamps(store, settings, now=now, go_on=go_on))
    return kept


def delete_surplus_files(store: Store, settings: Settings, *, now: datetime, by_age: bool) -> Kept:
    """Delete the files that [archive] does not keep. The caller holds the lock. Raises StoreError, OSError."""
    kept = Kept()
    surplus, over = delete_old(store, ArchiveRules.of(settings, by_age=by_age), now=now)
    finish_deletions(store, settings)
    if surplus:
        size = sum(row.size_bytes + row.index_bytes for row in surplus)
        kept.deleted = len(surplus)
        kept.done.append(f"deleted {counted(len(surplus), 'file')} of the archive ({size_for_people(size)}) that [archive] does not keep")
    if over:
        kept.problems.append(f"the archive exceeds its quota by {size_for_people(over)}, because the files of the last seven days, and those to which they refer, are kept")
    return kept


def _keep(store: Store, settings: Settings, options: KeepOptions, *, now: datetime, go_on: Callable[[], bool]) -> Kept:
    kept = Kept()
    finish_deletions(store, settings)
    kept.problems += settle_left_files(store, settings)
    if options.thorough:
        kept.problems += settle_left_objects(store, settings, now)
    kept.note(*merge_days(store, settings, now=now, go_on=go_on))
    kept.add(delete_surplus_files(store, settings, now=now, by_age=options.by_age))
    return kept
