"""Tests that ages are not used while the clock cannot be trusted."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta

import pytest

from pipeline.model import DraftMessage
from pipeline.store import Store
from pipeline.store.mail import outbox
from pipeline.store.maintenance import retention
from pipeline.store.maintenance.clock_trust import SETTLES_S, ClockTrust
from tests.servers.program import Program
from tests.service.hostile import Clock

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DAYS = timedelta(days=400)
MINUTE = timedelta(minutes=1)


class Machine:
    """A wall clock that is set, and one that counts since the start."""

    def __init__(self, store: Store) -> None:
        self.boot, self.seconds, self.off = "first", 1000.0, timedelta()
        self.store = store
        self.wall = NOW

    def passes(self, span: timedelta) -> None:
        self.seconds += span.total_seconds()
        self.wall += span

    def doubts(self) -> str:
        """As a process that has just begun would."""
        return ClockTrust(self.store, counted=lambda: (self.boot, self.seconds)).doubt(self.wall + self.off)

    def starts_again(self, boot: str, after: timedelta) -> None:
        self.boot, self.seconds = boot, 5.0
        self.wall += after


@pytest.fixture
def machine(store: Store) -> Machine:
    (store.data_dir / "clock").unlink(missing_ok=True)  # of the real one
    outbox.enqueue(store, DraftMessage("<1@here>", "News", "me@here", ("a@there",), "messages/1-1.eml", 100), now=NOW)
    return Machine(store)


def test_a_clock_that_agrees_is_trusted_at_once(machine: Machine) -> None:
    assert machine.doubts() == ""
    machine.passes(timedelta(days=30))  # nothing ran meanwhile
    assert machine.doubts() == ""


@pytest.mark.parametrize("jump", [DAYS, -DAYS, timedelta(hours=2), -timedelta(hours=2)])
def test_a_clock_that_jumps_is_trusted_once_it_has_run_steadily(machine: Machine, jump: timedelta) -> None:
    assert machine.doubts() == ""
    machine.off = jump
    machine.passes(MINUTE)
    doubt = machine.doubts()
    assert "nothing is deleted or given up because of its age" in doubt
    assert ("ahead of" if jump > timedelta() else "behind") in doubt
    for _ in range(14):
        machine.passes(MINUTE)
        assert machine.doubts()
    machine.passes(MINUTE)
    assert machine.doubts() == ""


def test_a_clock_that_jumps_for_a_minute_is_not_trusted_until_it_has_run_steadily_again(machine: Machine) -> None:
    machine.doubts()
    machine.off = DAYS
    machine.passes(MINUTE)
    assert machine.doubts()
    machine.off = timedelta()
    machine.passes(MINUTE)
    assert machine.doubts()
    machine.passes(timedelta(seconds=SETTLES_S))
    assert machine.doubts() == ""


@pytest.mark.parametrize("slack", [timedelta(minutes=59), -timedelta(minutes=59)])
def test_a_difference_of_an_hour_is_allowed(machine: Machine, slack: timedelta) -> None:
    machine.doubts()
    machine.off = slack
    assert machine.doubts() == ""


@pytest.mark.parametrize("off", [DAYS, -DAYS])
def test_a_machine_that_starts_with_a_wrong_clock_is_not_trusted(
        machine: Machine, off: timedelta) -> None:
    machine.doubts()
    machine.starts_again("second", timedelta(minutes=5))
    machine.off = off
    assert machine.doubts()
    outbox.enqueue(machine.store, DraftMessage("<2@here>", "x", "me@here", ("a@there",), "messages/2-1.eml", 1), now=machine.wall + off)
    assert machine.doubts(), "what it wrote itself proves nothing"
    machine.passes(timedelta(seconds=SETTLES_S))
    assert machine.doubts() == ""


def test_a_machine_that_was_off_for_a_weekend_is_trusted_after_a_quarter_of_an_hour(machine: Machine) -> None:
    machine.doubts()
    machine.starts_again("second", timedelta(days=3))
    assert machine.doubts()
    machine.passes(timedelta(seconds=SETTLES_S))
    assert machine.doubts() == ""


def test_a_machine_that_was_off_for_minutes_is_trusted_at_once(machine: Machine) -> None:
    machine.doubts()
    machine.starts_again("second", timedelta(minutes=5))
    assert machine.doubts() == ""


def test_a_damaged_observation_file_is_replaced(machine: Machine) -> None:
    (machine.store.data_dir / "clock").write_text('{"boot": 1')
    assert machine.doubts() == ""
    assert (machine.store.data_dir / "clock").stat().st_mode & 0o777 == 0o600


def test_counts_still_apply_while_the_clock_is_not_trusted(store: Store) -> None:
    rules = retention.RetentionRules(messages=retention.RetentionRule(timedelta(days=1), 5)).without_ages()
    assert rules.messages == retention.RetentionRule(None, 5)


@pytest.mark.needs("faketime")
def test_a_clock_that_is_ahead_deletes_nothing(program: Program) -> None:
    program.write("")
    assert program.run("prune").stdout == "nothing to delete: [retention] keeps everything that is stored\n"
    log = program.data / "logs" / "runs" / "1.log"
    log.parent.mkdir(parents=True)
    log.write_text("x")
    program.environment |= {"LD_PRELOAD": Clock.library() or "", "FAKETIME": "+400d"}
    ahead = program.run("prune")
    assert "ahead of the last known time; nothing is deleted" in ahead.stdout, ahead.stderr
    assert log.exists()


def test_prune_says_why_it_deletes_nothing(program: Program) -> None:
    program.write("")
    log = program.data / "logs" / "runs" / "1.log"
    program.run("prune")
    log.parent.mkdir(parents=True)
    log.write_text("x")
    os.utime(log, (0, 0))
    note = program.data / "clock"
    seen = json.loads(note.read_text())
    note.write_text(json.dumps(seen | {"wall": seen["wall"] - 400 * 86400}))  # it was 400 days earlier a moment ago
    held = program.run("prune")
    assert "400 d ahead of the last known time; nothing is deleted" in held.stdout
    assert log.exists()
    note.write_text(json.dumps(seen))
    assert "deleted 1 files" in program.run("prune").stdout
    assert not log.exists()
