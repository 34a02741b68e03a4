"""The housekeeping of the archive: recovers segments, merges days, gets timestamps, deletes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from pipeline.archive.housekeeping.deletion import finish_deletions
from pipeline.archive.housekeeping.merging import crowded_segments, merge_days, segments_to_merge
from pipeline.archive.housekeeping.moved_files import moved_files, take_over
from pipeline.archive.housekeeping.orphaned_files import resolve_orphaned_files, resolve_orphaned_objects
from pipeline.archive.housekeeping.places import housekeeping_lock, is_within_reach, node_of, spider_folders
from pipeline.archive.housekeeping.retention import ArchiveRules, delete_old, surplus_files
from pipeline.archive.housekeeping.segments import SETTLED_S, recover_segments
from pipeline.archive.housekeeping.timestamping import add_timestamps, without_timestamp
from pipeline.archive_names import FOLDER, PART, SEGMENTS, WARC
from pipeline.settings import Settings
from pipeline.store import Store
from pipeline.store.files import archive_files
from pipeline.text import counted, size_for_people


@dataclass(frozen=True)
class HousekeepingOptions:
    """What the housekeeping does.

    shared: whether to merge and delete what every node reaches; False on nodes that do not lead, if there is an object store.
    by_age: whether files may be deleted because of their age (clock_trust.py). thorough: whether to list the object store, too.
    settled_s: the age of a segment without a row from which it is taken to be orphaned. timestamps: whether to ask for timestamps.
    """

    shared: bool = True
    by_age: bool = True
    thorough: bool = False
    timestamps: bool = True
    settled_s: float = SETTLED_S


@dataclass
class HousekeepingReport:
    """What the housekeeping did, and what failed, in sentences. deleted: how many files retention removed."""

    done: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    deleted: int = 0

    def note(self, done: list[str], problems: list[str]) -> None:
        self.done += done
        self.problems += problems

    def add(self, other: HousekeepingReport) -> None:
        self.note(other.done, other.problems)
        self.deleted += other.deleted


def is_due(store: Store, settings: Settings, options: HousekeepingOptions, *, now: datetime) -> bool:
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
    today = now.date().isoformat()
    return bool(any(is_within_reach(row, node) for row in archive_files.doomed(store)) or segments_to_merge(store, settings, today)
                or crowded_segments(store, settings, today) or without_timestamp(store, settings, now=now) or surplus_files(archive_files.files_of(store), rules, now=now)[0])


def do_housekeeping(store: Store, settings: Settings, options: HousekeepingOptions = HousekeepingOptions(), *, now: datetime,
                    go_on: Callable[[], bool] = lambda: True) -> HousekeepingReport:
    """Do what is due. If another process does it already, add only what killed processes of this node left. Raises PipelineError, OSError.

    go_on: whether the work may go on; what is left is done the next time.
    """
    report = HousekeepingReport()
    added = recover_segments(store, settings, settled_s=options.settled_s)
    if added:
        report.done.append(f"added {counted(added, 'segment')} of interrupted processes to the archive")
    nodes = take_over(store, settings)
    if nodes:
        report.done.append(f"took over the files of the archive that are on this disk and belonged to the node {', '.join(nodes)}, which is gone")
    if not options.shared:
        return report
    with housekeeping_lock(store) as is_held:
        if is_held:
            report.add(_work_under_lock(store, settings, options, now=now, go_on=go_on))
    if options.timestamps and go_on():
        report.note(*add_timestamps(store, settings, now=now, go_on=go_on))
    return report


def delete_surplus_files(store: Store, settings: Settings, *, now: datetime, by_age: bool) -> HousekeepingReport:
    """Delete the files that [archive] does not keep. The caller holds the lock. Raises StoreError, OSError."""
    report = HousekeepingReport()
    surplus, over = delete_old(store, ArchiveRules.of(settings, by_age=by_age), now=now)
    finish_deletions(store, settings)
    if surplus:
        size = sum(row.size_bytes + row.index_bytes for row in surplus)
        report.deleted = len(surplus)
        report.done.append(f"deleted {counted(len(surplus), 'file')} of the archive ({size_for_people(size)}) that [archive] does not keep")
    if over:
        report.problems.append(f"the archive exceeds its quota by {size_for_people(over)}, because the files of the last seven days, and those to which they refer, are kept")
    return report


def _work_under_lock(store: Store, settings: Settings, options: HousekeepingOptions, *, now: datetime, go_on: Callable[[], bool]) -> HousekeepingReport:
    """Do what only one process may do at a time."""
    report = HousekeepingReport()
    finish_deletions(store, settings)
    report.problems += resolve_orphaned_files(store, settings)
    if options.thorough:
        report.problems += resolve_orphaned_objects(store, settings, now)
    report.note(*merge_days(store, settings, now=now, go_on=go_on))
    report.add(delete_surplus_files(store, settings, now=now, by_age=options.by_age))
    return report
