"""Lists every schedule in words with its next due time, for `pipeline next`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from pipeline.schedule.claims import digest_slot_times, spider_slot_times
from pipeline.schedule.describe import after_in_words, in_words
from pipeline.schedule.slot_times import SlotTimes
from pipeline.settings import ScheduleTable, Settings
from pipeline.store import Store
from pipeline.store.runs import host_pauses, paused_spiders, slots


@dataclass(frozen=True)
class Entry:
    """A schedule as `pipeline next` lists it.

    kind: "spider" or "digest". name: the spider or digest. schedule: the name of the schedule; None if the spider or
    digest has no schedule. words: the schedule in words. next: the next due time; None if no due time is known. paused:
    whether the spider is paused.
    """

    kind: str
    name: str
    schedule: str | None
    words: str
    next: datetime | None
    paused: bool = False
    paused_until: datetime | None = None
    """The spider sends no request before this time, because the site asked for a pause; None if there is no pause."""


def upcoming(store: Store, settings: Settings, *, now: datetime) -> list[Entry]:
    """Return an entry for each schedule, the soonest first.

    Each spider or digest without a schedule has an entry, too.
    Entries of paused spiders come last.
    """
    paused = paused_spiders.paused_spiders(store)
    cursors = slots.read_cursors(store, "spider")
    times = {(name, schedule): _next(table, cursors.get((name, schedule)), now)
             for name, schedule, table in spider_slot_times(settings)}
    found = []
    hosts = host_pauses.paused_hosts(store, now=now)
    for name, spider in settings.spiders.items():
        off = name in paused
        found += [_entry("spider", name, table, times, paused=off) for table in spider.schedule]
        if spider.after:
            found.append(Entry("spider", name, f"after {', '.join(spider.after)}", after_in_words(spider.after), None, off))
        elif not spider.schedule:
            found.append(Entry("spider", name, None, "manual runs only", None, off))
        if (until := host_pauses.paused_until(spider, hosts)) is not None:
            found = [entry if entry.name != name else replace(
                entry, paused_until=until, next=max(entry.next, until) if entry.next else None) for entry in found]
    cursors = slots.read_cursors(store, "digest")
    times = {(name, schedule): _next(table, cursors.get((name, schedule)), now)
             for name, schedule, table in digest_slot_times(settings)}
    for name, digest in settings.digests.items():
        found += [_entry("digest", name, table, times) for table in digest.schedule]
        if not digest.schedule:
            found.append(Entry("digest", name, None, "after each run with changes", None))
    return sorted(found, key=lambda entry: (entry.paused, entry.next is None, entry.next or now))


def _entry(kind: str, name: str, table: ScheduleTable, times: dict[tuple[str, str], datetime | None], *,
           paused: bool = False) -> Entry:
    return Entry(kind, name, table.name, in_words(table), times[name, table.name], paused)


def _next(table: SlotTimes, cursor: datetime | None, now: datetime) -> datetime | None:
    """Return the next due time of a schedule; for an overdue slot, return now."""
    due = table.after(min(cursor, now) if cursor is not None else table.cursor_before(now), now)
    return max(now, due.at) if due is not None else None
