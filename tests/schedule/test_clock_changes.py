"""Tests of due times at every clock change and leap day in ten time zones from 2026 to 2030.

The expected times are computed in a slow and simple way: minute by minute, from what the wall clock shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.schedule.slot_times import SlotTimes
from pipeline.settings import Days, parse_cron

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
FIRST, LAST = datetime(2026, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)

CHANGING = (
    "Europe/Berlin", "America/New_York",
    "Australia/Lord_Howe",   # by half an hour
    "Africa/Cairo",          # the gap begins at midnight
    "America/Santiago",      # at midnight, and in the southern year
    "Africa/Casablanca",     # back for Ramadan, forward after it
    "Antarctica/Troll",      # by two hours
    "Pacific/Chatham",       # at a quarter to three
)
ZONES = (*CHANGING, "Asia/Kolkata", "Asia/Shanghai")


@cache
def changes(name: str) -> tuple[tuple[datetime, timedelta], ...]:
    """Each change of the clocks: the instant, and by how much. They change on a quarter of an hour, once a day at most."""
    zone = ZoneInfo(name)

    def offset(at: datetime) -> timedelta:
        return at.astimezone(zone).utcoffset() or timedelta(0)

    found = []
    for day in range((LAST - FIRST) // DAY):
        at = FIRST + day * DAY
        if offset(at) != offset(at + DAY):
            before = offset(at)
            while offset(at) == before:
                at += timedelta(minutes=15)
            found.append((at, offset(at) - before))
    return tuple(found)


def walls(zone: ZoneInfo, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Each minute: the instant, and what the clock shows."""
    at = start
    while at < end:
        yield at, at.astimezone(zone).replace(tzinfo=None)
        at += MINUTE


def expected(schedule: str, zone: ZoneInfo, start: datetime, end: datetime) -> list[datetime]:
    """When it is due after start and until end, by definition: looked for in every minute."""
    cron = parse_cron(schedule)
    shown: dict[datetime, datetime] = {}  # wall time: the instant it was first shown
    found, before = set[datetime](), None

    def matches(wall: datetime) -> bool:
        return wall.minute in cron.minutes and wall.hour in cron.hours and cron.has_day(wall.date())

    for at, wall in walls(zone, start - 3 * HOUR, end + MINUTE):
        if len(cron.hours) == 24:
            if matches(wall):
                found.add(at)
        else:
            if before is not None and wall > before + MINUTE:  # clocks went forward: what they left out is due now
                left_out = before + MINUTE
                while left_out < wall:
                    if matches(left_out):
                        found.add(at)
                    left_out += MINUTE
            if matches(wall) and wall not in shown:
                found.add(at)
            shown.setdefault(wall, at)
        before = wall
    return sorted(at for at in found if start < at <= end)


def due(schedule: str, zone: ZoneInfo, start: datetime, end: datetime) -> list[datetime]:
    table, found = SlotTimes(schedule, zone), []
    following = table.after(start, start)
    while following is not None and following.at <= end:
        found.append(following)
        following = table.after(following.planned, end)
    assert len({each.key for each in found}) == len(found), "two slots of one name"
    return [each.at for each in found]


def test_the_clocks_of_eight_of_the_zones_change_in_these_years() -> None:
    assert [name for name in ZONES if len(changes(name)) >= 9] == list(CHANGING)
    assert {abs(by) for name in ZONES for _, by in changes(name)} == {HOUR / 2, HOUR, 2 * HOUR}


@pytest.mark.parametrize("schedule", ["30 2 * * *", "0 0 * * *", "*/20 0-3 * * *", "15 * * * *", "*/15 * * * *", "45 23 * * *",
                                      "30 1,2,3 * * sun", "0 */2 * * *"])
@pytest.mark.parametrize("name", CHANGING)
def test_at_every_change_of_the_clocks_each_schedule_is_due_as_defined(name: str, schedule: str) -> None:
    zone = ZoneInfo(name)
    for at, _ in changes(name):
        start, end = at - 14 * HOUR, at + 14 * HOUR
        assert due(schedule, zone, start, end) == expected(schedule, zone, start, end), at.astimezone(zone)


@pytest.mark.parametrize("name", ZONES)
def test_a_daily_time_is_due_once_on_each_day_of_five_years(name: str) -> None:
    zone = ZoneInfo(name)
    schedule = "0 0 * * *" if name in ("Africa/Cairo", "America/Santiago") else "30 2 * * *"  # within the gaps of the zone
    found = [at.astimezone(zone).date() for at in due(schedule, zone, FIRST, LAST - DAY)]
    assert all(later - earlier == DAY for earlier, later in pairwise(found))
    assert date(2028, 2, 29) in found
    assert len(found) in (1825, 1824)


@pytest.mark.parametrize("name", ZONES)
def test_an_interval_of_an_hour_is_due_each_elapsed_hour(name: str) -> None:
    zone = ZoneInfo(name)
    odd = {abs(by) for _, by in changes(name)} - {HOUR, 2 * HOUR}
    around = [at for at, _ in changes(name)] or [datetime(2028, 2, 29, tzinfo=UTC)]
    steps = {later - earlier for at in around
             for earlier, later in pairwise(due("0 * * * *", zone, at - 2 * DAY, at + 2 * DAY))}
    assert steps == {HOUR} | {HOUR + by for by in odd}


@pytest.mark.parametrize("name", ZONES)
def test_29_february_is_due_in_2028_only(name: str) -> None:
    zone = ZoneInfo(name)
    (at,) = due("15 12 29 2 *", zone, FIRST, LAST)
    assert at.astimezone(zone).date() == date(2028, 2, 29)
    assert due("15 12 29 2 mon", zone, datetime(2028, 2, 27, tzinfo=UTC), datetime(2028, 3, 2, tzinfo=UTC)) == [
        datetime(2028, 2, day, 12, 15, tzinfo=zone).astimezone(UTC) for day in (28, 29)]


def field(low: int, high: int, *, most: int = 4) -> st.SearchStrategy[str]:
    value = st.integers(low, high)
    listed = st.lists(value, min_size=1, max_size=most, unique=True).map(lambda found: ",".join(map(str, found)))
    span = st.tuples(value, value).map(lambda pair: f"{min(pair)}-{max(pair)}")
    step = st.integers(2, max(2, high // 2)).map(lambda found: f"*/{found}")
    return st.one_of(st.just("*"), listed, span, step)


CRONS = st.tuples(field(0, 59), field(0, 23), st.one_of(st.just("*"), field(1, 28)), st.just("*"),
                  st.one_of(st.just("*"), field(0, 7))).map(" ".join)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(schedule=CRONS, name=st.sampled_from(CHANGING), which=st.integers(0, 9),
       hours=st.tuples(st.integers(1, 40), st.integers(1, 40)), second=st.integers(0, 59))
def test_no_schedule_is_due_twice_or_never(schedule: str, name: str, which: int, hours: tuple[int, int], second: int) -> None:
    zone, (at, _) = ZoneInfo(name), changes(name)[which % len(changes(name))]
    start, end = at - hours[0] * HOUR, at + hours[1] * HOUR
    wanted = expected(schedule, zone, start, end)
    assert due(schedule, zone, start + second * timedelta(seconds=1), end) == [
        each for each in wanted if each > start + second * timedelta(seconds=1)]
    newest = SlotTimes(schedule, zone).latest(start, end)
    assert (newest.at if newest else None) == (wanted[-1] if wanted else None)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seconds=st.integers(60, 200_000), name=st.sampled_from(list(ZONES)), skip=st.sets(st.integers(0, 6), max_size=5),
       jitter=st.integers(0, 300_000), looks=st.lists(st.integers(1, 500_000), min_size=1, max_size=12))
def test_an_interval_with_jitter_and_skipped_days_is_claimed_once_however_often_it_is_checked(
        seconds: int, name: str, skip: set[int], jitter: int, looks: list[int]) -> None:
    zone = ZoneInfo(name)
    table = SlotTimes(f"every {seconds}s", zone, seed="x", jitter_s=jitter, skip=Days(weekdays=frozenset(skip)))
    since = FIRST - timedelta(seconds=seconds)
    now, claimed = FIRST, []
    for look in looks:
        now += timedelta(seconds=look)
        newest = table.latest(since, now)
        if newest is not None:
            claimed.append(newest)
            since = newest.planned
        following = table.after(since, now)
        assert following is None or following.at > now, "due, and not claimed"
    planned = [each.planned for each in claimed]
    assert planned == sorted(set(planned))
    assert all((each - FIRST) % timedelta(seconds=seconds) == timedelta(0) for each in planned), "off its own times"
    assert all(each.astimezone(zone).isoweekday() % 7 not in skip for each in planned)
    assert all(each.planned <= each.at <= now for each in claimed)
