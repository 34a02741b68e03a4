"""Tests of slot claims: restarts, clocks set back, pauses, several schedules, several services."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.errors import StoreError
from pipeline.model import Outcome
from pipeline.schedule.claims import Schedules, claim_due, open_schedules
from pipeline.schedule.next_slots import HELD_LOOK
from pipeline.schedule.upcoming import upcoming
from pipeline.settings import Settings, load
from pipeline.store import Store, open_store
from pipeline.store.runs import paused_spiders, runs

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


class Days:
    """A store, settings that change, and services that start and claim."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store: Store = open_store(folder / "data")

    def settings(self, text: str) -> Settings:
        spiders = text if "[spiders" in text else f"[spiders.s]\n{text}"
        (self.folder / "settings.toml").write_text(
            spiders.replace("\n", '\nstart = "http://127.0.0.1:9/"\n', 1), "utf-8")
        return load(self.folder / "settings.toml")

    def service(self, text: str, now: datetime = NOW) -> Schedules:
        return open_schedules(self.store, self.settings(text), now=now)

    def claimed(self, plans: Schedules, now: datetime) -> list[str]:
        """When what was claimed had been due; what became a run has ended by the next time."""
        found = claim_due(self.store, plans, now=now)
        for _ in found:
            run = runs.start_run(self.store, None, owner="me", now=now, limit=9)
            if run is not None:
                runs.end_run(self.store, run, runs.Ending(Outcome.SUCCEEDED), None, now=now)
        return [f"{run.due_at:%d %H:%M}" + (" skipped" if run.outcome else "") for run in found]


@pytest.fixture
def days(tmp_path: Path) -> Iterator[Days]:
    made = Days(tmp_path)
    yield made
    made.store.close()


def test_a_slot_is_claimed_when_it_is_due_and_once(days: Days) -> None:
    plans = days.service('schedule = "0 13 * * *"\n')
    assert plans.next_at == NOW + HOUR
    assert days.claimed(plans, NOW) == []
    assert days.claimed(plans, NOW + HOUR) == ["22 13:00"]
    assert days.claimed(plans, NOW + HOUR) == []
    assert days.claimed(days.service('schedule = "0 13 * * *"\n', NOW + HOUR), NOW + HOUR) == []


def test_a_slot_missed_while_no_service_ran_is_caught_up_once(days: Days) -> None:
    days.service('schedule = "0 13 * * *"\n')
    later = NOW + timedelta(days=3, hours=5)
    assert days.claimed(days.service('schedule = "0 13 * * *"\n', later), later) == ["25 13:00"]
    assert days.claimed(days.service('schedule = "0 13 * * *"\n', later), later) == []
    assert [run.reason for run in runs.history(days.store)] == ["catch-up"]


@pytest.mark.parametrize(("catch_up", "found"), [
    ("true", ["22 13:00"]), ("false", ["22 13:00 skipped"]), ('"5h"', ["22 13:00"]), ('"3h"', ["22 13:00 skipped"])])
def test_missed_slots_are_caught_up_as_catch_up_says(days: Days, catch_up: str, found: list[str]) -> None:
    text = f'schedule = "0 13 * * *"\ncatch_up = {catch_up}\n'
    days.service(text)
    assert days.claimed(days.service(text, NOW + 5 * HOUR), NOW + 5 * HOUR) == found
    if "skipped" in found[0]:
        assert "missed by 4 hours" in runs.history(days.store)[0].error


def test_a_slot_a_moment_late_was_not_missed(days: Days) -> None:
    text = 'schedule = "0 13 * * *"\ncatch_up = false\n'
    plans = days.service(text)
    assert days.claimed(plans, NOW + HOUR + timedelta(seconds=30)) == ["22 13:00"]


def test_an_interval_continues_after_a_restart(days: Days) -> None:
    plans = days.service('schedule = "every 40m"\n')
    assert days.claimed(plans, NOW) == ["22 12:00"]
    assert plans.next_at == NOW + 40 * MINUTE
    again = days.service('schedule = "every 40m"\n', NOW + 10 * MINUTE)
    assert days.claimed(again, NOW + 10 * MINUTE) == []
    assert days.claimed(again, NOW + 130 * MINUTE) == ["22 14:00"]
    assert again.next_at == NOW + 160 * MINUTE


def test_two_services_that_start_at_once_agree_on_every_slot(days: Days) -> None:
    text = '[spiders.s]\nschedule = ["every 10m", { when = "*/7 * * * *", jitter = "5m" }]\n'
    plans = [days.service(text, NOW + timedelta(milliseconds=number)) for number in range(3)]
    found = [at for minute in range(60) for plan in plans
             for at in days.claimed(plan, NOW + minute * MINUTE + timedelta(seconds=30))]
    assert len(found) == len(set(found))
    assert len(found) >= 13


def test_a_spider_has_several_schedules_in_zones_of_their_own(days: Days) -> None:
    plans = days.service('schedule = ["0 14 * * *", { when = "0 22 * * *", timezone = "Asia/Tokyo" }]\n')
    assert [days.claimed(plans, NOW + number * HOUR) for number in range(1, 3)] == [["22 13:00"], ["22 14:00"]]


def test_simultaneous_schedules_of_one_spider_make_one_slot(days: Days) -> None:
    plans = days.service('schedule = ["0 13 * * *", { when = "0 22 * * *", timezone = "Asia/Tokyo" }, "every 30m"]\n')
    days.claimed(plans, NOW)
    days.claimed(plans, NOW + HOUR / 2)
    assert len(days.claimed(plans, NOW + HOUR)) == 1
    assert days.claimed(plans, NOW + HOUR) == []


def test_a_clock_set_back_runs_nothing_twice_and_stops_nothing(days: Days) -> None:
    text = 'schedule = ["0 * * * *"]\n'
    plans = days.service(text)
    assert days.claimed(plans, NOW + HOUR) == ["22 13:00"]
    back = NOW + HOUR / 2
    again = days.service(text, back)
    assert again.next_at == NOW + HOUR
    assert days.claimed(again, NOW + HOUR) == []
    assert days.claimed(again, NOW + 2 * HOUR) == ["22 14:00"]


@pytest.mark.parametrize("text", ['schedule = "0 * * * *"\n', 'schedule = "every 1h"\n'])
def test_a_clock_that_was_years_ahead_stops_no_schedule(days: Days, text: str) -> None:
    ahead = NOW + timedelta(days=3000)
    days.claimed(days.service(text, ahead), ahead + HOUR)
    again = days.service(text)
    assert again.next_at == NOW + HOUR
    assert len(days.claimed(again, NOW + HOUR)) == 1


def test_a_paused_spider_is_caught_up_once_when_it_is_resumed(days: Days) -> None:
    plans = days.service('schedule = "0 * * * *"\n')
    paused_spiders.pause(days.store, "s", now=NOW)
    assert [days.claimed(plans, NOW + number * HOUR) for number in range(1, 4)] == [[], [], []]
    assert plans.next_at is None
    paused_spiders.resume(days.store, "s")
    assert days.claimed(plans, NOW + 3.5 * HOUR) == ["22 15:00"]
    assert days.claimed(plans, NOW + 4 * HOUR) == ["22 16:00"]


def test_a_pause_with_an_end_is_over_by_itself(days: Days) -> None:
    plans = days.service('schedule = "0 * * * *"\n')
    paused_spiders.pause(days.store, "s", now=NOW, until=NOW + 2.5 * HOUR, reason="holiday")
    assert [days.claimed(plans, NOW + number * HOUR) for number in range(1, 3)] == [[], []]
    assert plans.put_off_until(NOW + 2 * HOUR) == NOW + 2 * HOUR + HELD_LOOK
    entry, *_ = upcoming(days.store, plans.settings, now=NOW + 2 * HOUR)
    assert (entry.paused, entry.pause_ends, entry.reason) == (True, NOW + 2.5 * HOUR, "holiday")
    assert days.claimed(plans, NOW + 2.5 * HOUR) == ["22 14:00"]
    assert not upcoming(days.store, plans.settings, now=NOW + 2.5 * HOUR)[0].paused


def test_a_store_that_fails_loses_no_slot(days: Days) -> None:
    plans = days.service('schedule = "0 13 * * *"\n')
    engine = days.store.engine
    with engine.connect() as connection:
        connection.exec_driver_sql("ALTER TABLE slots RENAME TO away")
    with pytest.raises(StoreError):
        days.claimed(plans, NOW + HOUR)
    with engine.connect() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO slots")
    assert days.claimed(plans, NOW + HOUR + timedelta(seconds=2)) == ["22 13:00"]


def test_a_schedule_that_is_over_claims_nothing_more(days: Days) -> None:
    plans = days.service('schedule = { when = "0 13 * * *", until = 2026-11-23 }\n')
    assert [days.claimed(plans, NOW + timedelta(days=number, hours=1)) for number in range(3)] == [
        ["22 13:00"], ["23 13:00"], []]
    assert plans.next_at is None


def test_a_calendar_is_shared_by_name(days: Days) -> None:
    plans = days.service('[spiders.s]\nschedule = { when = "0 13 * * *", skip = ["works", "wed"] }\n'
                         '[calendars]\nworks = ["2026-11-22", "2026-11-24"]\n')
    assert [at for number in range(6) for at in days.claimed(plans, NOW + timedelta(days=number, hours=1))] == [
        "23 13:00", "26 13:00", "27 13:00"]


def test_upcoming_lists_every_schedule_in_words(days: Days) -> None:
    settings = days.settings('[spiders.a]\nschedule = ["0 13 * * mon", "every 2h"]\n[spiders.b]\nstart = "http://x/"\nafter = "a"\n'
                             '[spiders.c]\nstart = "http://x/"\n[digests.d]\nspiders = ["a"]\nto = ["a@b"]\n')
    paused_spiders.pause(days.store, "c", now=NOW)
    assert [(entry.name, entry.words, entry.next, entry.paused) for entry in upcoming(days.store, settings, now=NOW)] == [
        ("a", "every 2 hours", NOW, False), ("a", "at 13:00 on Monday", NOW + timedelta(days=1, hours=1), False),
        ("b", "after each pass of a that succeeded", None, False), ("d", "after each run with changes", None, False),
        ("c", "manual runs only", None, True)]
