"""Tests of overlapping slots, retries and follow-up runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipeline.model import Outcome, Progress, Run
from pipeline.store import Store
from pipeline.store.runs import paused_spiders, runs, slots
from pipeline.store.runs.follow_ups import FollowUps, is_tried_again
from pipeline.store.runs.leases import TTL

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
RETRY = FollowUps(times=2, wait_s=60, max_wait_s=90,
               outcomes=frozenset({Outcome.FAILED, Outcome.TIMED_OUT, Outcome.KILLED}))


def due(store: Store, key: str, overlap: slots.Overlap = "skip", now: datetime = NOW, *, spider: str = "shop",
        reason: str = "schedule") -> Run:
    run = runs.claim_slot(store, spider, key, due_at=now, reason=reason, now=now, overlap=overlap)
    assert run is not None
    return run


def start(store: Store, now: datetime = NOW, owner: str = "me", limit: int = 9) -> Run | None:
    return runs.start_run(store, None, owner=owner, now=now, limit=limit)


def started(store: Store, now: datetime = NOW, owner: str = "me") -> Run:
    run = start(store, now, owner)
    assert run is not None
    return run


def end(store: Store, run: Run, outcome: Outcome = Outcome.SUCCEEDED, follow_ups: FollowUps | None = None, now: datetime = NOW,
        **ending: Any) -> Run:
    return runs.end_run(store, run, runs.Ending(outcome, **ending), Progress(), now=now, follow_ups=follow_ups)


def waiting(store: Store) -> list[tuple[str, str]]:
    return [(run.spider, run.reason) for run in runs.waiting_runs(store)]


# Overlap


def test_a_queued_slot_runs_as_a_new_pass_when_the_spider_is_done(store: Store) -> None:
    first, second = due(store, "1"), due(store, "2", "skip")
    assert second.outcome is Outcome.SKIPPED
    run = started(store)
    queued = due(store, "3", "queue")
    assert queued.outcome is None
    assert due(store, "4", "queue").outcome is Outcome.SKIPPED  # one waits already
    assert start(store) is None
    end(store, run)
    again = started(store)
    assert again.id == queued.id
    assert again.pass_id != first.pass_id


def test_a_queued_slot_resumes_an_interrupted_pass(store: Store) -> None:
    due(store, "1")
    run = started(store)
    due(store, "2", "queue")
    later = NOW + TTL + MINUTE
    runs.abandon_expired(store, now=later)
    assert waiting(store) == [("shop", "schedule")]  # no run beside it to take the pass up
    assert started(store, later).pass_id == run.pass_id


def test_a_slot_with_overlap_kill_replaces_the_running_run(store: Store) -> None:
    due(store, "1")
    old = started(store)
    new = due(store, "2", "kill")
    ended = runs.get_run(store, old.id)
    assert ended is not None
    assert ended.outcome is Outcome.KILLED
    assert "replaced by the run of the next slot" in ended.error
    assert not runs.renew_run(store, old, now=NOW)
    assert start(store) is None  # its process has a moment to see it
    grace = TTL if store.shared else slots.KILL_GRACE  # a process that is cut off from the database cannot see it
    assert started(store, NOW + grace).id == new.id


def test_a_spider_that_is_always_due_does_not_starve_another(store: Store) -> None:
    begun = []
    due(store, "0", spider="busy")
    run = started(store)
    for number in range(1, 7):
        now = NOW + number * MINUTE
        due(store, str(number), "queue", now, spider="busy")
        if number == 2:
            due(store, "only", "queue", now, spider="daily")
        end(store, run, now=now)
        found = start(store, now, limit=1)
        assert found is not None
        run = found
        begun.append(run.spider)
    assert begun.index("daily") <= 2


# Retries


def test_a_failed_run_is_retried_after_a_wait_that_doubles_up_to_a_limit(store: Store) -> None:
    due(store, "1")
    now, waits = NOW, []
    while (run := start(store, now)) is not None:
        end(store, run, Outcome.FAILED, RETRY, now, keep_open=True, retry=True)
        left = runs.waiting_runs(store)
        if not left:
            break
        assert left[0].not_before is not None
        assert start(store, now) is None
        waits.append((left[0].not_before - now).total_seconds())
        now = left[0].not_before
    assert waits == [60, 90]
    assert {run.pass_id for run in runs.history(store)} == {1}


@pytest.mark.parametrize(("outcome", "ending", "again"), [
    (Outcome.FAILED, {"retry": True}, True), (Outcome.FAILED, {"retry": False}, False),
    (Outcome.TIMED_OUT, {"retry": True, "keep_open": True}, True), (Outcome.STOPPED, {"retry": True, "keep_open": True}, False),
    (Outcome.SUCCEEDED, {"retry": True}, False)])
def test_only_temporary_failures_are_retried(store: Store, outcome: Outcome, ending: dict[str, bool],
                                                        again: bool) -> None:
    due(store, "1")
    end(store, started(store), outcome, RETRY, **ending)
    assert waiting(store) == ([("shop", "retry")] if again else [])


def test_a_run_is_reported_after_its_last_retry(store: Store) -> None:
    due(store, "1")
    first = end(store, started(store), Outcome.FAILED, RETRY, retry=True)
    assert is_tried_again(store, first)
    last = end(store, started(store, NOW + MINUTE), now=NOW + MINUTE)
    assert not is_tried_again(store, last)


def test_a_manual_run_is_not_retried(store: Store) -> None:
    due(store, "1", reason="manual")
    end(store, started(store), Outcome.FAILED, RETRY, retry=True)
    assert waiting(store) == []


def test_a_due_slot_replaces_a_waiting_retry(store: Store) -> None:
    due(store, "1")
    failed = end(store, started(store), Outcome.FAILED, RETRY, retry=True, keep_open=True)
    new = due(store, "2")
    assert new.outcome is None
    assert new.pass_id == failed.pass_id
    assert waiting(store) == [("shop", "schedule")]


def test_a_pass_that_cannot_be_resumed_is_started_again(store: Store) -> None:
    due(store, "1")
    end(store, started(store), Outcome.FAILED, RETRY, retry=True)
    again = started(store, NOW + MINUTE)
    assert (again.pass_id, again.reason) == (1, "retry")
    end(store, again, now=NOW + MINUTE)
    assert due(store, "2", now=NOW + 2 * MINUTE).pass_id == 2


# After another


def test_a_spider_runs_once_after_each_pass_of_another_that_succeeded(store: Store) -> None:
    after = FollowUps(followers={"details": "skip"})
    for number, (outcome, keep_open) in enumerate([
            (Outcome.FAILED, True), (Outcome.SUCCEEDED, False), (Outcome.FAILED, False), (Outcome.SUCCEEDED, False)]):
        due(store, str(number), spider="list")
        end(store, started(store), outcome, after, keep_open=keep_open)
        for run in runs.waiting_runs(store):
            assert (run.spider, run.reason) == ("details", "after")
            end(store, started(store))
    assert [run.spider for run in reversed(runs.history(store))] == ["list", "list", "details", "list", "list", "details"]


def test_a_running_follower_obeys_its_overlap_setting(store: Store) -> None:
    due(store, "1", spider="details")
    started(store)
    due(store, "1", spider="list")
    end(store, started(store), follow_ups=FollowUps(followers={"details": "skip"}))
    due(store, "2", spider="list")
    end(store, started(store), follow_ups=FollowUps(followers={"details": "queue"}))
    assert [(run.spider, run.outcome) for run in runs.history(store) if run.reason == "after"] == [
        ("details", None), ("details", Outcome.SKIPPED)]


def test_a_paused_follower_is_skipped_with_the_reason(store: Store) -> None:
    paused_spiders.pause(store, "details", now=NOW)
    due(store, "1", spider="list")
    end(store, started(store), follow_ups=FollowUps(followers={"details": "skip"}))
    (skipped,) = (run for run in runs.history(store) if run.spider == "details")
    assert skipped.outcome is Outcome.SKIPPED
    assert "paused" in skipped.error
