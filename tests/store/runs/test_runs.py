"""Tests of runs: claims, leases, resumed passes, and changes of items."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest

from pipeline.errors import LeaseLostError
from pipeline.model import ChangeKind, Download, Item, Outcome, Page, Progress, Request, Run
from pipeline.store import Store
from pipeline.store.crawl import commit, frontier
from pipeline.store.mail import digests
from pipeline.store.runs import leases, runs, slots
from pipeline.store.runs.leases import TTL

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def due(store: Store, key: str, now: datetime = NOW, spider: str = "shop") -> Run | None:
    return runs.claim_slot(store, spider, key, due_at=now, reason="schedule", now=now)


def started(store: Store, now: datetime = NOW, owner: str = "me") -> Run:
    run = runs.start_run(store, None, owner=owner, now=now, limit=9)
    assert run is not None
    return run


def crawled(store: Store, key: str, items: dict[str, int], *, now: datetime = NOW, complete: bool = True) -> Run:
    """One whole run that finds these items."""
    due(store, key, now)
    run = started(store, now)
    page = Page("http://shop/", 200, now, items=tuple(Item(name, {"price": price}) for name, price in items.items()))
    done = commit.commit_pages(store, run, [page], now=now)
    return runs.end_run(store, run, runs.Ending(Outcome.SUCCEEDED, complete=complete), done.progress, now=now)


def told(store: Store, run_ids: Iterable[int]) -> list[tuple[str, ChangeKind]]:
    return [(change.key, change.kind) for change in digests.changes_of(store, tuple(run_ids))]


def test_a_slot_is_claimed_once(store: Store) -> None:
    assert due(store, "2026-11-22T12:00") is not None
    assert due(store, "2026-11-22T12:00") is None


def test_a_spider_that_is_still_at_work_gets_a_skipped_run(store: Store) -> None:
    due(store, "first")
    for words in ("has not started yet", "is still running"):
        skipped = due(store, words)
        assert skipped is not None
        assert skipped.outcome is Outcome.SKIPPED
        assert words in skipped.error
        runs.start_run(store, None, owner="me", now=NOW, limit=1)


def test_no_more_runs_start_than_the_limit(store: Store) -> None:
    due(store, "k", spider="a")
    due(store, "k", spider="b")
    assert runs.start_run(store, None, owner="me", now=NOW, limit=1) is not None
    assert runs.start_run(store, None, owner="me", now=NOW, limit=1) is None


def test_a_run_whose_lease_expired_is_abandoned_and_its_pass_is_resumed(store: Store) -> None:
    due(store, "k")
    lost = started(store)
    queued = frontier.enqueue(store, lost, [Request("http://shop/1"), Request("http://shop/2")])
    commit.commit_pages(store, lost, [Page("http://shop/1", 200, NOW, frontier_id=queued[0].id)], now=NOW)
    later = NOW + TTL + timedelta(seconds=1)

    assert [run.id for run in runs.abandon_expired(store, now=NOW)] == []
    assert [run.id for run in runs.abandon_expired(store, now=later)] == [lost.id]
    again = started(store, later, owner="someone else")

    assert again.pass_id == lost.pass_id
    assert again.reason == "resume"
    assert [entry.request.url for entry in frontier.waiting(store, again.pass_id, limit=9)] == ["http://shop/2"]


def test_an_abandoned_run_that_wakes_up_changes_nothing(store: Store) -> None:
    due(store, "k")
    lost = started(store)
    later = NOW + TTL + timedelta(seconds=1)
    runs.abandon_expired(store, now=later)

    with pytest.raises(LeaseLostError):
        commit.commit_pages(store, lost, [Page("http://shop/1", 200, later, items=(Item("1", {}),))], now=later)
    with pytest.raises(LeaseLostError):
        runs.end_run(store, lost, runs.Ending(Outcome.SUCCEEDED), Progress(), now=later)
    assert not runs.report_progress(store, lost, Progress(), now=later)
    assert told(store, [lost.id]) == []


def test_a_run_that_reports_progress_keeps_its_lease(store: Store) -> None:
    due(store, "k")
    run = started(store)
    for second in range(0, 60, 5):
        now = NOW + timedelta(seconds=second)
        assert runs.report_progress(store, run, Progress(pages=second), now=now)
        assert runs.abandon_expired(store, now=now) == []


def test_a_pass_is_given_up_after_so_many_runs(store: Store) -> None:
    now = NOW
    due(store, "k")
    for _ in range(slots.PASS_MAX_RUNS):
        started(store, now)
        now += TTL + timedelta(seconds=1)
        runs.abandon_expired(store, now=now)
    assert runs.waiting_runs(store) == []
    fresh = due(store, "k2", now)
    assert fresh is not None
    assert fresh.pass_id == 2


def test_a_stopped_run_is_resumed_at_the_next_start(store: Store) -> None:
    due(store, "k")
    run = started(store)
    runs.end_run(store, run, runs.Ending(Outcome.STOPPED, keep_open=True), Progress(), now=NOW)
    (again,) = runs.resume_stopped(store, now=NOW)
    assert again.pass_id == run.pass_id
    assert runs.resume_stopped(store, now=NOW) == []


def test_a_pass_is_resumed_however_often_its_runs_were_stopped(store: Store) -> None:
    due(store, "k")
    for _ in range(slots.PASS_MAX_RUNS + 1):
        run = started(store)
        runs.end_run(store, run, runs.Ending(Outcome.STOPPED, "quiet hours until 06:00", runs.QUIET, keep_open=True), Progress(),
                     now=NOW)
        (again,) = runs.resume_stopped(store, now=NOW, quiet_only=True)
        assert again.pass_id == run.pass_id


def test_an_old_open_pass_is_not_resumed(store: Store) -> None:
    due(store, "k")
    run = started(store)
    runs.end_run(store, run, runs.Ending(Outcome.FAILED, keep_open=True), Progress(), now=NOW)
    soon, late = NOW + timedelta(hours=1), NOW + slots.PASS_MAX_AGE + timedelta(hours=1)
    next_run = due(store, "k2", soon)
    assert next_run is not None
    assert next_run.pass_id == run.pass_id
    runs.end_run(store, started(store, soon), runs.Ending(Outcome.FAILED, keep_open=True), Progress(), now=soon)
    fresh = due(store, "k3", late)
    assert fresh is not None
    assert fresh.pass_id != run.pass_id


def test_items_are_new_changed_gone_and_back(store: Store) -> None:
    first = crawled(store, "1", {"a": 1, "b": 2})
    second = crawled(store, "2", {"a": 1, "b": 3})
    third = crawled(store, "3", {"a": 1})
    fourth = crawled(store, "4", {"a": 1, "b": 3})
    assert told(store, [first.id]) == [("a", ChangeKind.NEW), ("b", ChangeKind.NEW)]
    assert told(store, [second.id]) == [("b", ChangeKind.CHANGED)]
    assert told(store, [third.id]) == [("b", ChangeKind.GONE)]
    assert told(store, [fourth.id]) == [("b", ChangeKind.BACK)]
    assert (third.progress.gone, fourth.progress.back, fourth.progress.unchanged) == (1, 1, 1)


def test_nothing_is_gone_after_an_incomplete_pass(store: Store) -> None:
    crawled(store, "1", {"a": 1, "b": 2})
    capped = crawled(store, "2", {"a": 1}, complete=False)
    assert told(store, [capped.id]) == []


def test_a_pass_that_suddenly_finds_nothing_is_suspect_and_marks_nothing_gone(store: Store) -> None:
    crawled(store, "1", {"a": 1, "b": 2})
    empty = crawled(store, "2", {})
    assert empty.suspect
    assert told(store, [empty.id]) == []


def test_items_of_an_interrupted_run_are_not_gone_when_its_pass_completes(store: Store) -> None:
    crawled(store, "1", {"a": 1, "b": 2})
    due(store, "2")
    cut = started(store)
    commit.commit_pages(store, cut, [Page("http://shop/1", 200, NOW, items=(Item("a", {"price": 1}),))], now=NOW)
    later = NOW + TTL + timedelta(seconds=1)
    runs.abandon_expired(store, now=later)
    again = started(store, later)
    commit.commit_pages(store, again, [Page("http://shop/2", 200, later, items=(Item("b", {"price": 2}),))], now=later)
    ended = runs.end_run(store, again, runs.Ending(Outcome.SUCCEEDED, complete=True), Progress(), now=later)
    assert told(store, [ended.id]) == []


def test_of_items_with_one_key_in_one_pass_the_first_counts(store: Store) -> None:
    due(store, "k")
    run = started(store)
    pages = [Page("http://shop/1", 200, NOW, items=(Item("a", {"price": 1}), Item("a", {"price": 2})))]
    done = commit.commit_pages(store, run, pages, now=NOW)
    again = commit.commit_pages(store, run, [Page("http://shop/2", 200, NOW, items=(Item("a", {"price": 3}),))], now=NOW)
    assert (done.progress.new, done.progress.duplicates, again.progress.duplicates) == (1, 1, 1)
    assert [change.after for change in digests.changes_of(store, [run.id])] == [{"price": 1}]


def test_a_page_is_queued_once_per_pass_with_its_request(store: Store) -> None:
    due(store, "k")
    run = started(store)
    request = Request("http://shop/", method="POST", body=b"\x00\xff", headers=(("X-A", "1"), ("X-A", "2")),
                      callback="parse_it", meta={"n": [1, None]}, cb_kwargs={"x": "ü"}, priority=3, depth=2)
    (queued,) = frontier.enqueue(store, run, [request, request])
    assert queued.request == request
    assert frontier.enqueue(store, run, [request]) == []
    assert frontier.waiting(store, run.pass_id, limit=9) == [queued]


def test_equal_requests_are_queued_once_and_similar_ones_are_distinguished(store: Store) -> None:
    due(store, "k")
    run = started(store)
    seen = commit.SeenRequests()
    plain, posted = Request("http://shop/1"), Request("http://shop/1", method="POST", body=b"page=2")
    batches = [[plain], [plain, posted], [Request("http://shop/1", meta={"pipeline_part": "item 1"}), posted, plain]]
    for number, links in enumerate(batches):
        page = Page(f"http://shop/from/{number}", 200, NOW, links=tuple(links))
        queued = commit.commit_pages(store, run, [page], now=NOW, seen=seen).queued
        assert len(queued) == 1
    assert len(frontier.waiting(store, run.pass_id, limit=9)) == 3


def test_pages_are_ordered_by_priority(store: Store) -> None:
    due(store, "k")
    run = started(store)
    frontier.enqueue(store, run, [Request("http://shop/1"), Request("http://shop/2", priority=5), Request("http://shop/3")])
    order = [entry.request.url[-1] for entry in frontier.waiting(store, run.pass_id, limit=2)]
    assert order == ["2", "1"]


def test_a_download_is_queued_once_per_pass(store: Store) -> None:
    for key in ("1", "2"):
        due(store, key)
        run = started(store)
        page = Page("http://shop/", 200, NOW, items=(Item("a", {}),), downloads=(Download("http://shop/f"),) * 2)
        commit.commit_pages(store, run, [page], now=NOW)
        assert runs.work_left(store, run.pass_id) == (0, 1)
        runs.end_run(store, run, runs.Ending(Outcome.SUCCEEDED), Progress(), now=NOW)


def process(number: int) -> str:
    return f"{leases.new_owner().partition(':')[0]}:{number}:before"


@pytest.fixture
def gone() -> int:
    """The id of a process that has ended."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    return ended.pid


def test_a_run_of_a_living_process_is_abandoned_only_if_the_leases_are_compared_by_the_clock_of_a_server(store: Store) -> None:
    due(store, "k")
    run = started(store, owner=process(os.getppid()))
    later = NOW + TTL + timedelta(hours=1)
    assert [lost.id for lost in runs.abandon_expired(store, now=later)] == ([run.id] if store.shared else [])
    assert bool(runs.renew_run(store, run, now=later)) is not store.shared


def test_an_own_run_that_is_no_longer_performed_is_abandoned(store: Store) -> None:
    due(store, "k")
    run = started(store, owner=store.owner)
    later = NOW + TTL + timedelta(seconds=1)
    assert runs.abandon_expired(store, now=later, performing={run.id}) == []
    assert runs.abandon_expired(store, now=NOW, performing=()) == []
    assert [lost.id for lost in runs.abandon_expired(store, now=later, performing=())] == [run.id]


def test_nobody_waits_for_the_lease_of_a_process_that_is_gone(store: Store, gone: int) -> None:
    due(store, "k")
    run = started(store, owner=process(gone))
    assert [lost.id for lost in runs.abandon_expired(store, now=NOW)] == [run.id]


def test_only_a_visible_process_is_reported_as_alive_or_dead(gone: int) -> None:
    own = leases.new_owner()
    assert leases.owner_is_alive(own, own)
    assert leases.owner_is_alive(f"{own}:outbox", own)
    assert leases.owner_is_alive(process(os.getppid()), own)
    assert leases.owner_is_alive(process(gone), own) is False
    assert leases.owner_is_alive(process(os.getpid()), own) is False  # ours, from before a restart in a container
    assert leases.owner_is_alive(f"elsewhere:{gone}:x", own) is None
    assert leases.owner_is_alive("", own) is None
