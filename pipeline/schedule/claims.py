"""Claims due slots in the store, each only once, even if several services use the same schedules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from pipeline.errors import PipelineError
from pipeline.model import Run
from pipeline.schedule.describe import duration
from pipeline.schedule.next_slots import NextSlot, NextSlots, newest_of_each
from pipeline.schedule.slot_times import SlotTimes
from pipeline.settings import Settings, SpiderTable
from pipeline.store import Store
from pipeline.store.runs import paused_spiders, slots

ON_TIME = timedelta(seconds=60)
"""A slot that is claimed more than ON_TIME after its due time counts as missed; `catch_up` then decides whether the slot still runs."""
TRY_AGAIN = timedelta(seconds=1)
"""How long slots are postponed if the store could not be written."""
BATCH = 100
"""Maximum number of slots claimed in one transaction, which must be short, because no other process can write in the meantime."""


def spider_slot_times(settings: Settings) -> Iterator[tuple[str, str, SlotTimes]]:
    """Yield the spider name, schedule name and due times of every schedule of every spider."""
    for name, spider in settings.spiders.items():
        for table in spider.schedule:
            yield name, table.name, SlotTimes.of(name, table, settings, settings.zone)


def digest_slot_times(settings: Settings) -> Iterator[tuple[str, str, SlotTimes]]:
    """Yield the digest name, schedule name and due times of every schedule of every digest."""
    for name, digest in settings.digests.items():
        for table in digest.schedule:
            yield name, table.name, SlotTimes.of(name, table, settings, digest.zone(settings.zone))


@dataclass(frozen=True)
class Schedules:
    """The next slots of all spiders and digests, for one version of the settings."""

    settings: Settings
    spiders: NextSlots
    digests: NextSlots

    @property
    def entries(self) -> list[NextSlot]:
        """The next slots of all schedules that have a next slot."""
        return [*self.spiders.entries, *self.digests.entries]

    @property
    def next_at(self) -> datetime | None:
        """When the next slot must be processed; None if there is no next slot."""
        return min((at for at in (self.spiders.next_at, self.digests.next_at) if at is not None), default=None)

    def put_off_until(self, now: datetime) -> datetime | None:
        """Return when the first postponed slot must be retried; None if no slot is postponed."""
        return min((at for at in (self.spiders.put_off_until(now), self.digests.put_off_until(now)) if at is not None), default=None)


def open_schedules(store: Store, settings: Settings, *, now: datetime) -> Schedules:
    """Return the next slots of all schedules.

    The slots continue after the slot of each schedule that was processed last. Raises StoreError.
    """
    return Schedules(settings, _open(store, "spider", spider_slot_times(settings), now),
                 _open(store, "digest", digest_slot_times(settings), now))


def follow_claims(store: Store, plans: Schedules, *, now: datetime) -> None:
    """Continue after the slots that another service has claimed, without claiming a slot. Raises StoreError."""
    plans.spiders.follow(slots.read_cursors(store, "spider"), now)
    plans.digests.follow(slots.read_cursors(store, "digest"), now)


def _open(store: Store, kind: Literal["spider", "digest"], schedules: Iterable[tuple[str, str, SlotTimes]],
          now: datetime) -> NextSlots:
    tables = list(schedules)
    cursors = slots.read_cursors(store, kind)
    fresh = [(name, schedule, table.cursor_before(now)) for name, schedule, table in tables
             if (name, schedule) not in cursors]
    if fresh:
        slots.begin_cursors(store, kind, fresh)
        cursors = slots.read_cursors(store, kind)  # another service may have stored other cursors first
    return NextSlots(tables, cursors, now=now)


def claim_due(store: Store, plans: Schedules, *, now: datetime) -> list[Run]:
    """Claim the due slots of spiders, and return the runs that were created for them: waiting or skipped.

    If several slots of one spider are due, only the newest slot is claimed. If the store cannot be written, raises
    StoreError and postpones the slots that have not been claimed yet.
    """
    plan, spiders = plans.spiders, plans.settings.spiders
    due = plan.due(now, paused=paused_spiders.paused_spiders(store, now=now))
    found: list[Run] = []
    groups = list(newest_of_each(due))
    try:
        while groups:
            batch = groups[:BATCH]
            found += slots.claim_due(store, [_wanted(entry, spiders[entry.name], now) for entry, _ in batch],
                                     now=now)
            del groups[:BATCH]
            for newest, others in batch:
                for entry in (newest, *others):
                    plan.advance(entry, now)
    except PipelineError:
        for newest, others in groups:
            for entry in (newest, *others):
                plan.wait(entry, now + TRY_AGAIN)
        raise
    return found


def _wanted(entry: NextSlot, spider: SpiderTable, now: datetime) -> slots.SlotClaim:
    late = now - entry.due.at
    skip = ""
    if late > ON_TIME and spider.catch_up is not None and late.total_seconds() > spider.catch_up:
        missed = f"the slot was missed by {duration(late // timedelta(minutes=1) * 60)}"
        skip = f"{missed}; `catch_up` allows at most {duration(spider.catch_up)}" if spider.catch_up else f"{missed}; `catch_up` allows no late runs"
    return slots.SlotClaim(entry.name, entry.due.key, entry.due.at, "schedule" if late <= ON_TIME else "catch-up",
                        spider.overlap, entry.schedule, entry.due.planned, skip)
