"""Tests of the APScheduler triggers: crontab days, clock changes, coalesced slots."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from apscheduler.triggers.base import BaseTrigger

from pipeline.schedule.slot_times import SlotTimes
from pipeline.schedule.slot_trigger import SlotTrigger
from pipeline.schedule.triggers import ElapsedTimeTrigger, WallClockTrigger
from pipeline.settings.fields.schedule import parse_cron

BERLIN = ZoneInfo("Europe/Berlin")


def fires(trigger: BaseTrigger, start: datetime, count: int) -> list[str]:
    """Its next times, each asked for with the one before, as APScheduler does."""
    found: list[str] = []
    previous, now = None, start
    while len(found) < count and (at := trigger.get_next_fire_time(previous, now)) is not None:
        found.append(at.astimezone(BERLIN).strftime("%a %d %b %H:%M %z"))
        previous = now = at
    return found


def wall(cron: str, **options: object) -> WallClockTrigger:
    return WallClockTrigger(parse_cron(cron), BERLIN, **options)  # type: ignore[arg-type]


def test_sunday_is_0_and_7() -> None:
    start = datetime(2026, 11, 23, tzinfo=UTC)
    assert fires(wall("0 9 * * 0"), start, 1) == fires(wall("0 9 * * 7"), start, 1) == ["Sun 29 Nov 09:00 +0100"]


def test_either_of_two_restricted_day_fields_is_enough() -> None:
    assert fires(wall("0 9 13 * fri"), datetime(2026, 11, 9, tzinfo=UTC), 3) == [
        "Fri 13 Nov 09:00 +0100", "Fri 20 Nov 09:00 +0100", "Fri 27 Nov 09:00 +0100"]
    assert fires(wall("0 9 1 * mon"), datetime(2026, 11, 28, tzinfo=UTC), 3) == [
        "Mon 30 Nov 09:00 +0100", "Tue 01 Dec 09:00 +0100", "Mon 07 Dec 09:00 +0100"]


def test_a_time_that_clocks_skip_is_due_once_at_the_end_of_the_gap() -> None:
    assert fires(wall("30 2 * * *"), datetime(2026, 3, 28, 12, tzinfo=UTC), 2) == [
        "Sun 29 Mar 03:00 +0200", "Mon 30 Mar 02:30 +0200"]


def test_a_time_that_clocks_repeat_is_due_the_first_time() -> None:
    assert fires(wall("30 2 * * *"), datetime(2026, 10, 24, 12, tzinfo=UTC), 2) == [
        "Sun 25 Oct 02:30 +0200", "Mon 26 Oct 02:30 +0100"]


def test_with_every_hour_allowed_both_of_a_repeated_hour_are_due_and_none_of_a_gap() -> None:
    hourly = ElapsedTimeTrigger(parse_cron("30 * * * *"), BERLIN)
    assert fires(hourly, datetime(2026, 10, 25, 0, 0, tzinfo=UTC), 3) == [
        "Sun 25 Oct 02:30 +0200", "Sun 25 Oct 02:30 +0100", "Sun 25 Oct 03:30 +0100"]
    assert fires(hourly, datetime(2026, 3, 29, 0, 0, tzinfo=UTC), 2) == ["Sun 29 Mar 01:30 +0100", "Sun 29 Mar 03:30 +0200"]


def test_days_to_skip_and_the_first_and_last_day() -> None:
    trigger = wall("0 9 * * *", allows=lambda day: day.isoweekday() < 6, first=date(2026, 11, 27), last=date(2026, 11, 30))
    assert fires(trigger, datetime(2026, 11, 1, tzinfo=UTC), 9) == ["Fri 27 Nov 09:00 +0100", "Mon 30 Nov 09:00 +0100"]


def test_a_time_that_never_comes_ends_the_search() -> None:
    assert wall("0 9 * * *", allows=lambda day: False).get_next_fire_time(None, datetime(2026, 1, 1, tzinfo=UTC)) is None


@pytest.mark.parametrize("schedule", ["every 1s", "* * * * *", "0 9 * * *", "every 90m"])
@pytest.mark.parametrize("jitter_s", [0.0, 45.0])
def test_a_year_of_missed_slots_fires_once(schedule: str, jitter_s: float) -> None:
    table = SlotTimes(schedule, BERLIN, seed="s", jitter_s=jitter_s)
    since = datetime(2025, 11, 29, 7, 30, 30, tzinfo=UTC)
    now = since + timedelta(days=365)
    trigger = SlotTrigger(table, since)
    first = trigger.get_next_fire_time(None, now)
    due = table.after(since, now)
    assert due is not None
    assert first == due.at < now
    following = trigger.get_next_fire_time(first, now)  # APScheduler asks on until this is after now
    latest = table.latest(since, now)
    assert latest is not None
    expected = table.after(latest.planned, now)
    assert expected is not None
    assert following == expected.at > now


@pytest.mark.parametrize("schedule", ["every 90m", "0 */2 * * *", "30 7 * * *"])
def test_jitter_does_not_move_the_slots_that_follow(schedule: str) -> None:
    table = SlotTimes(schedule, BERLIN, seed="s", jitter_s=3600.0)
    since = datetime(2026, 11, 29, 7, 30, tzinfo=UTC)
    trigger, planned, previous = SlotTrigger(table, since), since, None
    for _ in range(50):
        due = table.after(planned, planned)
        assert due is not None
        at = trigger.get_next_fire_time(previous, previous or since)
        assert at == due.at
        planned, previous = due.planned, at
