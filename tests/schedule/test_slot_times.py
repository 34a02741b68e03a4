"""Tests of due times: cron fields, schedules in words, clock changes, skipped days, missed slots."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from pipeline.schedule.describe import in_words
from pipeline.schedule.slot_times import SlotTimes
from pipeline.settings import ScheduleTable, parse_days, parse_when
from pipeline.settings.fields.schedule import nearest_schedule

BERLIN = ZoneInfo("Europe/Berlin")


def local(text: str, zone: ZoneInfo = BERLIN) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone)


def times(schedule: str, start: str, count: int, zone: ZoneInfo = BERLIN, *, skip: Sequence[str] = (),
          **options: Any) -> list[str]:
    table, found, last = SlotTimes(schedule, zone, skip=parse_days(skip), **options), [], local(start, zone)
    for _ in range(count):
        due = table.after(last, last)
        if due is None:
            return found
        last = due.planned
        found.append(due.at.astimezone(zone).isoformat(timespec="minutes"))
    return found


def days(schedule: str, start: str, count: int, **options: Any) -> list[str]:
    return [text[:10] for text in times(schedule, start, count, **options)]


@pytest.mark.parametrize("sunday", ["0", "7", "sun", "SUN"])
def test_sunday_is_0_and_7_in_cron_fields(sunday: str) -> None:
    assert times(f"0 9 * * {sunday}", "2026-11-18T12:00", 1) == ["2026-11-22T09:00+01:00"]


@pytest.mark.parametrize(("weekdays", "found"), [
    ("1-5", ["20", "23", "24"]), ("mon-fri", ["20", "23", "24"]), ("5-7", ["20", "21", "22"]), ("fri-sun", ["20", "21", "22"]),
    ("0-1", ["22", "23", "29"]), ("6,0", ["21", "22", "28"]), ("*/2", ["21", "22", "24"]), ("1-7/3", ["22", "23", "26"])])
def test_weekdays_are_those_of_crontab(weekdays: str, found: list[str]) -> None:
    assert [day[8:] for day in days(f"0 9 * * {weekdays}", "2026-11-19T12:00", 3)] == found


def test_months_have_names_and_steps_count_from_the_first() -> None:
    assert days("0 0 1 jan,JUL *", "2026-11-19T12:00", 2) == ["2027-01-01", "2027-07-01"]
    assert days("0 0 1 */5 *", "2026-11-19T12:00", 3) == ["2027-01-01", "2027-06-01", "2027-11-01"]
    assert times("5/20 9 * * *", "2026-11-19T12:00", 3) == [f"2026-11-20T09:{minute}+01:00" for minute in ("05", "25", "45")]


def test_one_of_two_restricted_day_fields_is_enough() -> None:
    assert days("0 0 13 * fri", "2026-11-01T00:00", 4) == ["2026-11-06", "2026-11-13", "2026-11-20", "2026-11-27"]
    assert days("0 0 13 * fri", "2026-12-05T00:00", 2) == ["2026-12-11", "2026-12-13"]


def test_a_day_field_with_a_star_is_not_restricted() -> None:
    assert days("0 0 */2 * fri", "2026-11-01T00:00", 2) == ["2026-11-13", "2026-11-27"]


def test_29_february_comes_in_leap_years_only() -> None:
    assert days("0 0 29 2 *", "2026-11-01T00:00", 2) == ["2028-02-29", "2032-02-29"]


def test_a_fixed_hour_that_clocks_skip_runs_at_the_first_minute_after_it() -> None:
    assert times("30 2 * * *", "2026-03-28T12:00", 2) == ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]


def test_several_times_within_the_gap_are_one() -> None:
    assert times("*/15 2,3 * * *", "2026-03-29T00:00", 3) == [f"2026-03-29T03:{minute}+02:00" for minute in ("00", "15", "30")]


def test_a_fixed_hour_that_clocks_repeat_runs_once() -> None:
    assert times("30 2 * * *", "2026-10-24T12:00", 2) == ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]


def test_a_wildcard_hour_goes_by_elapsed_time() -> None:
    assert times("0 * * * *", "2026-10-25T01:30", 3) == [
        "2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00", "2026-10-25T03:00+01:00"]
    assert times("30 * * * *", "2026-03-29T00:45", 2) == ["2026-03-29T01:30+01:00", "2026-03-29T03:30+02:00"]


def test_an_interval_is_due_at_once_and_then_by_elapsed_time() -> None:
    now = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    table = SlotTimes("every 30m", BERLIN)
    due = table.latest(None, now)
    assert due is not None
    assert due.at == now
    assert table.latest(now, now) is None
    following = table.after(now, now)
    assert following is not None
    assert following.at == now + timedelta(minutes=30)
    assert table.after(table.cursor_before(now), now) == due


@pytest.mark.parametrize(("schedule", "found"), [
    ("daily at 07:00", ["20T07:00", "21T07:00", "22T07:00"]), ("Daily at 7:00 and 19:30", ["19T19:30", "20T07:00", "20T19:30"]),
    ("weekdays at 07:00", ["20T07:00", "23T07:00", "24T07:00"]), ("weekends at 9:05", ["21T09:05", "22T09:05", "28T09:05"]),
    ("mon, thu at 08:00", ["23T08:00", "26T08:00", "30T08:00"]), ("sun and mon at 00:00", ["22T00:00", "23T00:00", "29T00:00"]),
    ("@daily", ["20T00:00", "21T00:00", "22T00:00"]), ("@weekly", ["22T00:00", "29T00:00"])])
def test_a_schedule_may_be_written_in_words(schedule: str, found: list[str]) -> None:
    assert [text[8:16] for text in times(schedule, "2026-11-19T12:00", len(found))] == found


@pytest.mark.parametrize(("entries", "found"), [
    (["sat", "sun"], ["12-24", "12-25", "12-28"]), (["sat-sun"], ["12-24", "12-25", "12-28"]),
    (["12-25", "2026-12-26"], ["12-24", "12-27", "12-28"]), (["2026-12-24..2027-01-02"], ["01-03", "01-04", "01-05"]),
    (["fri-wed"], ["12-24", "12-31", "01-07"])])
def test_nothing_is_due_on_a_day_to_skip(entries: list[str], found: list[str]) -> None:
    for schedule in ("0 7 * * *", "every 24h"):
        assert [day[5:] for day in days(schedule, "2026-12-23T07:00", 3, skip=entries)] == found, schedule
    assert [day[5:] for day in days("0 * * * *", "2026-12-23T23:00", 1, skip=entries)] == found[:1]


def test_a_schedule_has_a_first_and_a_last_day() -> None:
    for schedule in ("0 7 * * *", "every 24h"):
        assert days(schedule, "2026-11-19T07:00", 9, first=date(2026, 12, 1), last=date(2026, 12, 3)) == [
            "2026-12-01", "2026-12-02", "2026-12-03"]
    assert len(days("0 * * * *", "2026-11-19T07:00", 99, first=date(2026, 12, 1), last=date(2026, 12, 3))) == 72


def test_jitter_delays_a_slot_equally_on_every_machine_and_never_beyond_the_next() -> None:
    now = local("2026-11-22T12:00")

    def offsets(seed: str) -> list[timedelta]:
        table, found, last = SlotTimes("0 * * * *", BERLIN, seed=seed, jitter_s=7200), [], now
        for _ in range(20):
            due = table.after(last, last)
            assert due is not None
            last = due.planned
            found.append(due.at - due.planned)
        return found

    first = offsets("books")
    assert first == offsets("books")
    assert first != offsets("news")
    assert all(timedelta(0) <= offset < timedelta(hours=1) for offset in first)
    assert len(set(first)) > 15


def test_jitter_does_not_change_which_slot_it_is() -> None:
    now = local("2026-11-22T12:00")
    plain, late = (SlotTimes("0 7 * * *", BERLIN, seed="x", jitter_s=jitter).after(now, now) for jitter in (0, 3600))
    assert plain is not None
    assert late is not None
    assert plain.key == late.key == "2026-11-23T07:00 Europe/Berlin"


@pytest.mark.parametrize(("schedule", "away", "found"), [
    ("0 7 * * *", timedelta(days=400), "2026-11-22T07:00"), ("30 2 * * 1", timedelta(days=9), "2026-11-16T02:30"),
    ("0 0 29 2 *", timedelta(days=4000), "2024-02-29T00:00"), ("* 9 * * *", timedelta(days=2), "2026-11-22T09:59"),
    ("every 30m", timedelta(minutes=100), "2026-11-22T12:50"), ("every 10s", timedelta(days=365, seconds=5), "2026-11-22T12:59"),
    ("every 7d", timedelta(days=20), "2026-11-16T13:00"), ("5/7 * * * *", timedelta(days=30), "2026-11-22T12:54")])
@pytest.mark.parametrize("jitter_s", [0, 0.001])
def test_missed_times_are_caught_up_once_at_the_newest(schedule: str, away: timedelta, found: str,
                                                                jitter_s: float) -> None:
    now = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    due = SlotTimes(schedule, BERLIN, jitter_s=jitter_s).latest(now - away, now)
    assert due is not None
    assert due.at.astimezone(BERLIN).isoformat()[:16] == found


def test_cron_without_a_slot_before_waits_for_its_time() -> None:
    assert SlotTimes("0 7 * * *", BERLIN).latest(None, datetime(2026, 11, 22, 12, 0, tzinfo=UTC)) is None


@pytest.mark.parametrize(("schedule", "word"), [
    ("0 25 * * *", "hour"), ("60 * * * *", "minute"), ("* * 0 * *", "day of month"), ("* * * foo *", "month"),
    ("* * * * 8", "day of week"), ("* * *", "fields"), ("5-1 * * * *", "no minute matches"), ("*/0 * * * *", "no minute matches"),
    ("*-5 * * * *", "not a valid minute"), ("0 0 30 2 *", "does not exist in these months"), ("0 0 31 4,6 *", "does not exist in these months"),
    ("every now", "duration"), ("every 10ms", "between one second"), ("every 600w", "between one second"), ("every 99999w", "longer than 100 years"),
    ("daily at noon", "time of day"), ("daily at 24:00", "time of day"), ("dayly at 07:00", "day of week"), ("٣ * * * *", "minute")])
def test_an_invalid_schedule_says_what_is_wrong(schedule: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        parse_when(schedule)


@pytest.mark.parametrize(("text", "meant"), [
    ("hourly", "@hourly"), ("Daily", "@daily"), ("@dayly", "@daily"), ("monthly", "@monthly"), ("every month", "@monthly"),
    ("every hour", "every 1h"), ("every 30 minutes", "every 30m"), ("1h", "every 1h"), ("30 min", "every 30m"), ("every half hour", "every 30m"),
    ("every day", "@daily"), ("once a day", "@daily"), ("every week", "@weekly"), ("every 2 days", "every 2d"), ("each 90 seconds", "every 90s"),
    ("daily 7:00", "daily at 07:00"), ("dayly at 07:00", "daily at 07:00"), ("at 07:00", "daily at 07:00"), ("07:00", "daily at 07:00"),
    ("7am", "daily at 07:00"), ("7:30 p.m.", "daily at 19:30"), ("12 am", "daily at 00:00"), ("daily at noon", "daily at 12:00"),
    ("daily at 0730", "daily at 07:30"), ("every day at 7 and 7 pm", "daily at 07:00 and 19:00"), ("weekdays", "weekdays at 07:00"),
    ("weekdays 9:15", "weekdays at 09:15"), ("every Monday at 9", "mon at 09:00"), ("tuesday and thursday at 8", "tue, thu at 08:00"),
    ("mon-fri 8:00", "mon-fri at 08:00"), ("0 0 7 * * *", "0 7 * * *"), ("0 7 * * monday", "0 7 * * mon"),
    ("banana", None), ("", None), ("5", None), ("every 0m", None), ("daily at 25:00", None), ("@reboot", None), ("every other day", None)])
def test_a_text_that_is_close_to_a_schedule_suggests_it(text: str, meant: str | None) -> None:
    assert nearest_schedule(text) == meant


@pytest.mark.parametrize("entry", ["2026-02-30", "2027-01-02..2026-12-24", "13-01", "someday", "2026-12", ""])
def test_a_bad_day_to_skip_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match=r"day|begins|not a valid date"):
        parse_days([entry])


@pytest.mark.parametrize(("schedule", "words"), [
    ("0 7 * * *", "at 07:00 every day"), ("*/15 * * * *", "every 15 minutes"), ("* * * * *", "every minute"),
    ("5 * * * *", "every hour at 5 minutes past"), ("0 */2 * * *", "every 2 hours from 00:00 every day"),
    ("0 9-17 * * 1-5", "every hour, in the hours 9 to 17 on Monday to Friday"),
    ("30 2 1,15 * fri", "at 02:30 on day 1 and 15 of the month or on Friday"),
    ("0 9 1-31 * 1", "at 09:00 every day"),
    ("0 9 1 * 0-7", "at 09:00 every day"),
    ("0 9 1-31 7 1", "at 09:00 in July"),
    ("0 9 */1 * 1", "at 09:00 on Monday"),
    ("0 0 1 jan-mar,jul *", "at 00:00 on day 1 of the month in January to March and July"),
    ("every 90m", "every 90 minutes"), ("every 1h", "every hour"), ("every 7d", "every week"),
    ("daily at 19:30, 07:00", "at 07:00 and 19:30 every day"), ("sun, sat at 8:15", "at 08:15 on Saturday and Sunday")])
def test_a_schedule_is_described_in_words(schedule: str, words: str) -> None:
    assert in_words(ScheduleTable(when=schedule)) == words


def test_the_options_of_a_schedule_are_described_too() -> None:
    table = ScheduleTable.model_validate({"when": "0 7 * * *", "timezone": "Asia/Tokyo", "jitter": "10m", "skip": ["sun", "12-25"],
                                          "from": "2026-12-01", "until": date(2027, 1, 31)})
    assert in_words(table) == ("at 07:00 every day, in Asia/Tokyo, delayed by up to 10 minutes, from 2026-12-01, "
                               "until 2027-01-31, not on sun or 12-25")
