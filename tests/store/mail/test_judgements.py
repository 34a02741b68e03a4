"""Judgements of changes on both databases.

The first one holds, and they are deleted with their changes.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from pipeline.model import Item, Outcome, Page
from pipeline.store import Store
from pipeline.store.console.left_out import left_out_count, left_out_page
from pipeline.store.crawl import commit
from pipeline.store.mail.digests import changes_of
from pipeline.store.mail.judgements import Judgement, keep_judgements, stored_judgements
from pipeline.store.maintenance import retention
from pipeline.store.maintenance.retention import RetentionRule, RetentionRules
from pipeline.store.runs import runs

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def found(store: Store, *keys: str, at: datetime = NOW) -> list[int]:
    """The ids of the changes of a run that found these items."""
    runs.claim_slot(store, "shop", f"{at}", due_at=at, reason="schedule", now=at)
    run = runs.start_run(store, None, owner="me", now=at, limit=9)
    assert run is not None
    commit.commit_pages(store, run, [Page("http://shop/", 200, at, items=tuple(Item(key, {"title": key}) for key in keys))], now=at)
    runs.end_run(store, run, runs.Ending(Outcome.SUCCEEDED, complete=False), run.progress, now=at)
    return [change.id for change in changes_of(store, [run.id])]


def test_the_first_judgement_of_a_change_holds_for_all_who_judge_it(store: Store) -> None:
    first, second, third = found(store, "a", "b", "c")
    keep_judgements(store, "d", "is it red?", [Judgement(first, "0", False, "no")], now=NOW)

    def judge(told: bool) -> dict[tuple[int, str], Judgement]:
        return keep_judgements(store, "d", " is  it red?", [Judgement(number, "0", told, str(told)) for number in (first, second, third)], now=NOW)

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(judge, (True, False, True, False)))
    assert answers[0] == answers[1] == answers[2] == answers[3]
    assert not answers[0][first, "0"].told
    assert stored_judgements(store, "d", "is it red?", [(second, "0"), (second, "1")]) == {(second, "0"): answers[0][second, "0"]}
    assert stored_judgements(store, "d", "is it blue?", [(second, "0")]) == stored_judgements(store, "e", "is it red?", [(second, "0")]) == {}


def test_what_is_left_out_is_listed_until_retention_deletes_its_change(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    old, = found(store, "old", at=NOW - timedelta(days=90))
    first, second = found(store, "a", "b")
    for number, told in ((old, False), (first, False), (second, True)):
        keep_judgements(store, "d", "is it red?", [Judgement(number, "0", told, "so")], now=NOW)
    assert [each.change.key for each in left_out_page(store, "d", limit=10)] == ["a", "old"]
    assert [each.change.key for each in left_out_page(store, "d", limit=10, before=left_out_page(store, "d", limit=1)[0].id)] == ["old"]
    keep_judgements(store, "d", "is it red?", [Judgement(first, "1", True, "it became red")], now=NOW)
    assert left_out_count(store, "d") == 1
    monkeypatch.setattr(retention, "LAST_RUNS", 1)
    retention.prune(store, RetentionRules(runs=RetentionRule(age=timedelta(days=30))), now=NOW)
    assert left_out_count(store, "d") == 0
    assert stored_judgements(store, "d", "is it red?", [(old, "0")]) == {}
