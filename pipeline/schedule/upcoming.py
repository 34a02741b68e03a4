"""Lists every schedule in words with its next due time, for `pipeline next`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from pipeline.schedule.claims import digest_slot_times, spider_slot_times
from pipeline.schedule.describe import after_in_words, in_words
from pipeline.schedule.slot_times import SlotTimes
from pipeline.settings import ScheduleTable, Settings
from pipeline.store import Store
from pipeline.store.mail import digest_mutes
from pipeline.store.runs import host_pauses, paused_spiders, slots


@dataclass(frozen=True)
class Entry:
    """A schedule as `pipeline next` lists it.

    kind: "spider" or "digest". name: the spider or digest. schedule: the name of the schedule; None if the spider or
    digest has no schedule. words: the schedule in words. next: the next due time; None if no due time is known. paused:
    whether the spider is paused, or the digest muted. pause_ends: when the pause ends by itself; None if it does not. reason: of the pause.
    """

    kind: str
    name: str
    schedule: str | None
    words: str
    next: datetime | None
    paused: bool = False
    pause_ends: datetime | None = None
    reason: str = ""
    paused_until: datetime | None = None
    """The spider sends no request before this time, because the site asked for a pause; None if there is no pause."""


def upcoming(store: Store, settings: Settings, *, now: datetime) -> list[Entry]:
    """Return an entry for each schedule, the soonest first.

    Each spider or digest without a schedule has an entry, too.
    Entries of paused spiders come last.
    """
    with store.read() as connection:
        pauses = paused_spiders.pauses(connection, now=now)
    cursors = slots.read_cursors(store, "spider")
    times = {(name, schedule): _next(table, cursors.get((name, schedule)), now)
             for name, schedule, table in spider_slot_times(settings)}
    found = []
    hosts = host_pauses.paused_hosts(store, now=now)
    for name, spider in settings.spiders.items():
        own = [_entry("spider", name, table, times) for table in spider.schedule]
        if spider.after:
            own.append(Entry("spider", name, f"after {', '.join(spider.after)}", after_in_words(spider.after), None))
        elif not spider.schedule:
            own.append(Entry("spider", name, None, "manual runs only", None))
        pause = pauses.get(name)
        found += own if pause is None else [replace(entry, paused=True, pause_ends=pause.until, reason=pause.reason) for entry in own]
        if (until := host_pauses.paused_until(spider, hosts)) is not None:
            found = [entry if entry.name != name else replace(
                entry, paused_until=until, next=max(entry.next, until) if entry.next else None) for entry in found]
    found += upcoming_digests(store, settings, now=now)
    return sorted(found, key=lambda entry: (entry.paused, entry.next is None, entry.next or now))


def upcoming_digests(store: Store, settings: Settings, *, now: datetime) -> list[Entry]:
    """Return an entry for each schedule of each digest, and for each digest without a schedule, in the order of the settings."""
    cursors = slots.read_cursors(store, "digest")
    times = {(name, schedule): _next(table, cursors.get((name, schedule)), now)
             for name, schedule, table in digest_slot_times(settings)}
    muted = digest_mutes.muted_until(store, now=now)
    found = []
    for name, digest in settings.digests.items():
        own = [_entry("digest", name, table, times) for table in digest.schedule]
        if not digest.schedule:
            own.append(Entry("digest", name, None, "after each run with changes", None))
        found += own if name not in muted else [replace(entry, paused=True, pause_ends=muted[name]) for entry in own]
    return found


def next_times(store: Store, settings: Settings, spider: str, count: int, *, now: datetime) -> list[datetime]:
    """Return the next times at which a spider is due by its schedules, an overdue slot now; at most `count`."""
    cursors = slots.read_cursors(store, "spider")
    found: set[datetime] = set()
    for name, schedule, table in spider_slot_times(settings):
        planned = cursors.get((name, schedule)) if name == spider else None
        planned = min(planned, now) if planned is not None else table.cursor_before(now)
        for _ in range(count if name == spider else 0):
            due = table.latest(planned, now) or table.after(planned, now)  # of missed slots, only the newest is caught up
            if due is None:
                break
            found.add(max(now, due.at))
            planned = due.planned
    return sorted(found)[:count]


def _entry(kind: str, name: str, table: ScheduleTable, times: dict[tuple[str, str], datetime | None]) -> Entry:
    return Entry(kind, name, table.name, in_words(table), times[name, table.name])


def _next(table: SlotTimes, cursor: datetime | None, now: datetime) -> datetime | None:
    """Return the next due time of a schedule; for an overdue slot, return now."""
    due = table.after(min(cursor, now) if cursor is not None else table.cursor_before(now), now)
    return max(now, due.at) if due is not None else None
