"""Tests of leases and waiting times when the clock is set forward or back."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta, tzinfo

import pytest

from pipeline.model import DraftMessage, Outcome, Progress
from pipeline.store import Store
from pipeline.store.mail import digests, outbox
from pipeline.store.runs import leases, runs
from pipeline.store.runs.follow_ups import FollowUps

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DRAFT = DraftMessage("<1@here>", "News", "me@here", ("a@there",), "messages/1-1.eml", 100)
DAYS = timedelta(days=3)
HOURS = timedelta(hours=5)


def neighbour(*, began: str | None = None) -> str:
    """The owner that another process of this machine, which is alive, would be; or one before it of the same id."""
    machine, _, opening = leases.new_owner().split(":")
    return f"{machine}:{os.getppid()}{leases._start_of(os.getppid()) if began is None else began}:{opening}"


def a_run(store: Store, owner: str, now: datetime = NOW) -> int:
    runs.claim_slot(store, "shop", now.isoformat(), due_at=now, reason="schedule", now=now)
    run = runs.start_run(store, None, owner=owner, now=now, limit=9)
    assert run is not None
    return run.id


@pytest.mark.parametrize("moved", [DAYS, -HOURS])
def test_a_message_of_a_living_process_keeps_its_lease_when_the_clock_is_set(store: Store, moved: timedelta) -> None:
    outbox.enqueue(store, DRAFT, now=NOW)
    assert outbox.lease(store, owner=f"{neighbour()}:outbox", now=NOW)
    assert outbox.lease(store, owner=f"{store.owner}:outbox", now=NOW + moved) == []


@pytest.mark.parametrize("moved", [DAYS, -HOURS])
def test_a_message_of_a_dead_process_is_leased_again_when_the_clock_is_set(store: Store, moved: timedelta) -> None:
    outbox.enqueue(store, DRAFT, now=NOW)
    assert outbox.lease(store, owner=neighbour(began=".1"), now=NOW)
    assert outbox.lease(store, owner=store.owner, now=NOW + moved)


def test_a_zombie_process_holds_no_lease(store: Store) -> None:
    """Whoever started it, such as a shell script, may wait for it later: until then its id is taken."""
    machine, _, opening = leases.new_owner().split(":")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        owner = f"{machine}:{process.pid}{leases._start_of(process.pid)}:{opening}"
        number = a_run(store, owner)
        assert runs.abandon_expired(store, now=NOW) == []
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert [lost.id for lost in runs.abandon_expired(store, now=NOW)] == [number]


@pytest.mark.parametrize("machine", [
    "{host}/0123456789abcdef/{namespace}", "{host}/{boot}/1", "another/{boot}/{namespace}", "{host}/{namespace}", "{host}"])
def test_a_process_on_another_machine_is_neither_alive_nor_dead(store: Store, machine: str) -> None:
    """On PostgreSQL the owner may be on another host of the same name, with a process id that nobody has here."""
    host, boot, namespace = leases.new_owner().partition(":")[0].split("/")
    owner = f"{machine.format(host=host, boot=boot, namespace=namespace)}:4194303.1:x"
    assert leases.owner_is_alive(owner, store.owner) is None
    a_run(store, owner)
    assert runs.abandon_expired(store, now=NOW + timedelta(seconds=1)) == []
    assert runs.abandon_expired(store, now=NOW + leases.TTL + timedelta(seconds=1))


def test_an_expired_claim_of_another_machine_is_leased_again_after_the_clock_was_set_back(store: Store) -> None:
    run_id = a_run(store, "me")
    run = runs.get_run(store, run_id)
    assert run is not None
    runs.end_run(store, run, runs.Ending(Outcome.SUCCEEDED), Progress(), now=NOW)
    killed = digests.claim(store, "d", ["shop"], "k", owner="another-machine:1:x", now=NOW)
    again = digests.claim(store, "d", ["shop"], "k", owner=store.owner, now=NOW - HOURS)
    assert killed is not None
    assert again is not None
    assert again.id == killed.id


def test_a_reused_process_id_holds_no_lease(store: Store) -> None:
    """After a restart of the machine a daemon may have the id that a run's process had: its pass must go on."""
    number = a_run(store, neighbour(began=".1"))
    later = NOW + leases.TTL + timedelta(seconds=1)
    assert [lost.id for lost in runs.abandon_expired(store, now=later)] == [number]


def test_a_message_postponed_before_the_clock_was_set_back_is_due(store: Store) -> None:
    outbox.enqueue(store, DRAFT, now=NOW)
    assert outbox.lease(store, owner="me", now=NOW - timedelta(minutes=1)) == []
    assert outbox.lease(store, owner="me", now=NOW - HOURS)


def test_messages_sent_before_the_clock_was_set_back_do_not_count_for_per_hour(store: Store) -> None:
    outbox.enqueue(store, DRAFT, now=NOW)
    (message,) = outbox.lease(store, owner="me", now=NOW)
    outbox.record(store, message, [outbox.RecipientResult("a@there", accepted=True)], owner="me", now=NOW, next_attempt_at=None)
    hour = timedelta(hours=1)
    assert outbox.accepted_between(store, NOW - hour, NOW) == [NOW]
    assert outbox.accepted_between(store, NOW - HOURS - hour, NOW - HOURS) == []


def test_a_retry_postponed_before_the_clock_was_set_back_starts(store: Store) -> None:
    run = runs.get_run(store, a_run(store, "me"))
    assert run is not None
    follow_ups = FollowUps(times=1, wait_s=600.0, outcomes=frozenset({Outcome.FAILED}))
    runs.end_run(store, run, runs.Ending(Outcome.FAILED, "the site is down", keep_open=True, retry=True), Progress(), now=NOW,
                 follow_ups=follow_ups)
    assert runs.start_run(store, None, owner="me", now=NOW + timedelta(minutes=1), limit=9) is None
    assert runs.start_run(store, None, owner="me", now=NOW - HOURS, limit=9) is not None


class _WrongClock(datetime):
    """The clock of a node that is an hour ahead of the database's."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.now(tz) + timedelta(hours=1)


@pytest.mark.needs("postgres")
@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
def test_a_node_with_a_wrong_clock_neither_takes_the_leases_of_others_nor_loses_its_own(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    right = datetime.now(UTC)
    others = a_run(store, "elsewhere:1:x", right)
    monkeypatch.setattr(leases, "datetime", _WrongClock)
    wrong = _WrongClock.now(UTC)
    store.engine.dispose()  # connections that compare the clocks anew
    assert runs.abandon_expired(store, now=wrong) == []
    own = runs.start_run(store, _another_run(store, wrong), owner="here:1:x", now=wrong, limit=9)
    assert own is not None
    assert own.lease_until is not None
    assert timedelta() < own.lease_until - right < timedelta(minutes=1)
    monkeypatch.undo()
    store.engine.dispose()
    assert runs.abandon_expired(store, now=datetime.now(UTC)) == []
    assert {run.id for run in runs.abandon_expired(store, now=datetime.now(UTC) + leases.TTL)} == {others, own.id}


def _another_run(store: Store, now: datetime) -> int:
    run = runs.claim_slot(store, "books", "1", due_at=now, reason="schedule", now=now)
    assert run is not None
    return run.id


@pytest.mark.parametrize(("server_s", "error_s"), [(0, 0), (4, 0), (9, 0), (69, 60), (3609, 3600), (-60, -60)])
def test_an_answer_that_comes_late_is_no_error_of_a_clock(server_s: int, error_s: int) -> None:
    """The server was asked at 0 s, and its answer arrived at 9 s, by the clock of this machine."""
    server = NOW + timedelta(seconds=server_s)
    assert leases.clock_error(NOW, server, NOW + timedelta(seconds=9)) == timedelta(seconds=error_s)
