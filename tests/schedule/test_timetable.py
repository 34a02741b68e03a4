"""When schedules are due: crontab(5)'s weekdays, clocks that change, and what was missed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from pipeline.schedule.timetable import Timetable
from pipeline.settings import parse_cron

BERLIN = ZoneInfo("Europe/Berlin")


def local(text: str, zone: ZoneInfo = BERLIN) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone)


def times(schedule: str, start: str, count: int, zone: ZoneInfo = BERLIN) -> list[str]:
    table, found, last = Timetable(schedule, zone), [], local(start, zone)
    for _ in range(count):
        last = table.after(last, last).at
        found.append(last.astimezone(zone).isoformat(timespec="minutes"))
    return found


@pytest.mark.parametrize("sunday", ["0", "7", "sun", "SUN"])
def test_sunday_is_sunday(sunday: str) -> None:
    assert times(f"0 9 * * {sunday}", "2026-11-18T12:00", 1) == ["2026-11-22T09:00+01:00"]


def test_monday_to_friday_leaves_the_weekend_out() -> None:
    assert times("0 9 * * 1-5", "2026-11-19T12:00", 2) == ["2026-11-20T09:00+01:00", "2026-11-23T09:00+01:00"]


def test_a_fixed_hour_that_clocks_skip_runs_at_the_first_minute_after_it() -> None:
    assert times("30 2 * * *", "2026-03-28T12:00", 2) == ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]


def test_a_fixed_hour_that_clocks_repeat_runs_once() -> None:
    assert times("30 2 * * *", "2026-10-24T12:00", 2) == ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]


def test_a_wildcard_hour_goes_by_elapsed_time() -> None:
    found = times("0 * * * *", "2026-10-25T01:30", 3)
    assert found == ["2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00", "2026-10-25T03:00+01:00"]
    table = Timetable("0 * * * *", BERLIN)
    first = table.after(None, local("2026-10-25T01:30"))
    assert first.key != table.after(first.at, first.at).key


def test_every_so_often_is_due_at_once_and_then_by_elapsed_time() -> None:
    now = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    table = Timetable("every 30m", BERLIN)
    due = table.latest(None, now)
    assert due is not None
    assert due.at == now
    assert table.latest(now, now) is None
    assert table.after(now, now).at == now + timedelta(minutes=30)


def test_what_was_missed_is_caught_up_once_for_its_newest_time() -> None:
    now = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    daily = Timetable("0 7 * * *", BERLIN).latest(now - timedelta(days=400), now)
    assert daily is not None
    assert daily.key == "2026-11-22T07:00"
    often = Timetable("every 30m", BERLIN).latest(now - timedelta(minutes=100), now)
    assert often is not None
    assert often.at == now - timedelta(minutes=10)


def test_cron_without_a_slot_before_waits_for_its_time() -> None:
    assert Timetable("0 7 * * *", BERLIN).latest(None, datetime(2026, 11, 22, 12, 0, tzinfo=UTC)) is None


@pytest.mark.parametrize(("schedule", "word"), [
    ("0 25 * * *", "hour"), ("60 * * * *", "minute"), ("* * 0 * *", "day of month"), ("* * * foo *", "month"),
    ("* * * * 8", "day of week"), ("* * *", "fields"), ("5-1 * * * *", "empty"), ("*/0 * * * *", "empty")])
def test_a_bad_cron_says_which_field_is_off(schedule: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        parse_cron(schedule)
