"""Tests that each digest reports each run once, and that a message is marked only once accepted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pipeline.errors import LeaseLostError
from pipeline.model import DraftMessage, MessageState, Outcome, Progress, RecipientResult
from pipeline.store import Store
from pipeline.store.health import status_queries
from pipeline.store.mail import digests, outbox
from pipeline.store.runs import runs

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DRAFT = DraftMessage("<1@here>", "News", "me@here", ("a@there", "b@there"), "messages/1-1.eml", 100)


def ended_run(store: Store, key: str, spider: str = "shop") -> int:
    runs.claim_slot(store, spider, key, due_at=NOW, reason="schedule", now=NOW)
    run = runs.start_run(store, None, owner="me", now=NOW, limit=9)
    assert run is not None
    return runs.end_run(store, run, runs.Ending(Outcome.SUCCEEDED), Progress(), now=NOW).id


def test_a_digest_reports_each_run_once(store: Store) -> None:
    first = ended_run(store, "1")
    claim = digests.claim(store, "d", ["shop"], "k", owner="me", now=NOW)
    assert claim is not None
    assert claim.run_ids == (first,)
    digests.close(store, claim.id, [], owner="me", now=NOW)
    second = ended_run(store, "2")
    ended_run(store, "3", spider="other")
    claim = digests.claim(store, "d", ["shop"], "k", owner="me", now=NOW)
    assert claim is not None
    assert claim.run_ids == (second,)


def test_two_digests_each_report_the_same_run(store: Store) -> None:
    run_id = ended_run(store, "1")
    for name in ("d", "e"):
        claim = digests.claim(store, name, ["shop"], "k", owner="me", now=NOW)
        assert claim is not None
        assert claim.run_ids == (run_id,)


def test_an_unfinished_claim_is_resumed_with_the_same_runs(store: Store) -> None:
    ended_run(store, "1")
    killed = digests.claim(store, "d", ["shop"], "k", owner="killed", now=NOW)
    assert killed is not None
    ended_run(store, "2")
    later = NOW + digests.CLAIM_TTL + timedelta(seconds=1)
    again = digests.claim(store, "d", ["shop"], "k", owner="next", now=later)
    assert again is not None
    assert (again.id, again.run_ids) == (killed.id, killed.run_ids)
    with pytest.raises(LeaseLostError):
        digests.close(store, killed.id, [DRAFT], owner="killed", now=later)
    assert digests.close(store, again.id, [DRAFT], owner="next", now=later) == [1]
    assert len(outbox.list_messages(store)) == 1


def test_an_unfinished_claim_is_built_before_newer_runs(store: Store) -> None:
    ended_run(store, "1")
    failed = digests.claim(store, "d", ["shop"], "k", owner="me", now=NOW)
    second = ended_run(store, "2")
    again = digests.claim(store, "d", ["shop"], "k", owner="me", now=NOW)
    assert again == failed
    assert failed is not None
    digests.close(store, failed.id, [], owner="me", now=NOW)
    following = digests.claim(store, "d", ["shop"], "k", owner="me", now=NOW)
    assert following is not None
    assert following.run_ids == (second,)


def test_a_postponed_claim_waits_longer_each_time_and_delays_nothing_else(store: Store) -> None:
    ended_run(store, "1")
    failed = digests.claim(store, "d", ["shop"], "k", owner="me", now=NOW)
    assert failed is not None
    digests.put_off(store, failed, "it broke", owner="me", now=NOW)
    second = ended_run(store, "2")
    other = digests.claim(store, "d", ["shop"], "k2", owner="me", now=NOW)
    assert other is not None
    assert other.run_ids == (second,)
    digests.close(store, other.id, [], owner="me", now=NOW)
    now, pauses = NOW, []
    for _ in range(9):
        start = now
        while (again := digests.claim(store, "d", ["shop"], "k3", owner="next", now=now)) is None:
            now += timedelta(seconds=5)
        assert (again.id, again.run_ids) == (failed.id, failed.run_ids)
        pauses.append((now - start).total_seconds())
        digests.put_off(store, again, "it broke again", owner="next", now=now)
    assert pauses == [15, 30, 60, 120, 240, 480, 600, 600, 600]
    with store.read() as connection:
        problem = status_queries.digest_problem(connection, "d")
    assert problem is not None
    assert (problem.error, problem.next_at) == ("it broke again", now + timedelta(minutes=10))


def test_a_process_that_lost_a_claim_cannot_postpone_it(store: Store) -> None:
    ended_run(store, "1")
    lost = digests.claim(store, "d", ["shop"], "k", owner="gone", now=NOW)
    assert lost is not None
    later = NOW + digests.CLAIM_TTL + timedelta(seconds=1)
    ours = digests.claim(store, "d", ["shop"], "k", owner="me", now=later)
    digests.put_off(store, lost, "it broke", owner="gone", now=later)
    assert ours is not None
    digests.close(store, ours.id, [DRAFT], owner="me", now=later)
    with store.read() as connection:
        assert status_queries.digest_problem(connection, "d") is None


def test_a_scheduled_digest_with_nothing_to_report_is_recorded(store: Store) -> None:
    assert digests.claim(store, "d", ["shop"], "k", owner="me", now=NOW, scheduled=True) is None
    ended_run(store, "1")
    assert digests.claim(store, "d", ["shop"], "k", owner="me", now=NOW, scheduled=True) is None
    assert digests.claim(store, "d", ["shop"], "next", owner="me", now=NOW, scheduled=True) is not None


def test_a_message_is_leased_by_one_at_a_time(store: Store) -> None:
    outbox.enqueue(store, DRAFT, now=NOW)
    assert len(outbox.lease(store, owner="one", now=NOW)) == 1
    assert outbox.lease(store, owner="two", now=NOW) == []
    assert len(outbox.lease(store, owner="two", now=NOW + outbox.LEASE_TTL)) == 1


def test_only_recipients_that_were_not_accepted_are_tried_again(store: Store) -> None:
    outbox.enqueue(store, DRAFT, now=NOW)
    (message,) = outbox.lease(store, owner="me", now=NOW)
    results = [RecipientResult("a@there", accepted=True), RecipientResult("b@there", False, 450, "later", retry=True)]
    again = NOW + timedelta(minutes=1)
    done = outbox.record(store, message, results, owner="me", now=NOW, next_attempt_at=again)
    assert (done.state, done.accepted, done.waiting) == (MessageState.WAITING, 1, 1)
    assert outbox.lease(store, owner="me", now=NOW) == []
    (message,) = outbox.lease(store, owner="me", now=again)
    assert message.recipients == ("b@there",)
    refused = [RecipientResult("b@there", False, 550, "no such user")]
    done = outbox.record(store, message, refused, owner="me", now=again, next_attempt_at=again)
    assert (done.state, done.accepted, done.refused) == (MessageState.SENT, 1, 1)


def test_a_message_refused_for_all_recipients_is_parked_until_retry(store: Store) -> None:
    number = outbox.enqueue(store, DRAFT, now=NOW)
    (message,) = outbox.lease(store, owner="me", now=NOW)
    refused = [RecipientResult(address, False, 550, "no") for address in DRAFT.recipients]
    assert outbox.record(store, message, refused, owner="me", now=NOW, next_attempt_at=NOW).state is MessageState.PARKED
    assert outbox.lease(store, owner="me", now=NOW) == []
    assert outbox.retry(store, number, now=NOW)
    (message,) = outbox.lease(store, owner="me", now=NOW)
    assert message.recipients == DRAFT.recipients


def test_a_process_that_lost_the_lease_records_nothing(store: Store) -> None:
    outbox.enqueue(store, DRAFT, now=NOW)
    (message,) = outbox.lease(store, owner="slow", now=NOW)
    outbox.lease(store, owner="next", now=NOW + outbox.LEASE_TTL)
    with pytest.raises(LeaseLostError):
        outbox.record(store, message, [], owner="slow", now=NOW, next_attempt_at=None)


def test_a_dropped_message_is_not_delivered(store: Store) -> None:
    number = outbox.enqueue(store, DRAFT, now=NOW)
    assert outbox.drop(store, number, now=NOW)
    assert not outbox.drop(store, number, now=NOW)
    assert outbox.lease(store, owner="me", now=NOW) == []


def test_a_reported_failure_is_not_repeated_until_there_are_changes(store: Store) -> None:
    def ended(key: str, outcome: Outcome, kind: str = "", doubt: str = "") -> int:
        runs.claim_slot(store, "repeats", key, due_at=NOW, reason="schedule", now=NOW)
        run = runs.start_run(store, None, owner="me", now=NOW, limit=9)
        assert run is not None
        runs.end_run(store, run, runs.Ending(outcome, "no answer", kind, doubt=doubt), Progress(), now=NOW)
        return run.id

    def told(*, repeats: bool = False) -> tuple[int, ...] | None:
        claim = digests.claim(store, "each", ["repeats"], "k", owner="me", now=NOW, repeats=repeats)
        if claim is None:
            return None
        digests.close(store, claim.id, [], owner="me", now=NOW)
        return claim.run_ids

    first = ended("1", Outcome.FAILED, "FetchError")
    assert told() == (first,)
    second = ended("2", Outcome.FAILED, "FetchError")
    assert told() is None
    other = ended("3", Outcome.FAILED, "LoginError")
    assert told() == (second, other)
    assert told() is None
    again = ended("4", Outcome.FAILED, "LoginError")
    assert told() is None
    well = ended("5", Outcome.SUCCEEDED)
    assert told() == (again, well)
    new = ended("6", Outcome.FAILED, "LoginError")
    assert told() == (new,)
    assert told() is None
    later = ended("7", Outcome.FAILED, "LoginError")
    assert told(repeats=True) == (later,)
    suspect = ended("8", Outcome.SUCCEEDED, doubt="`price` is empty in 7 of 7 items")
    assert told() == (suspect,)
    ended("9", Outcome.SUCCEEDED, doubt="`price` is empty in 8 of 8 items")
    assert told() is None
    ended("10", Outcome.SUCCEEDED, doubt="`title` is empty in 8 of 8 items")
    assert told() is not None
