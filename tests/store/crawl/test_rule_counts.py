"""The counts of rules and rejected items in the store, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import update

from pipeline.model import Item, Outcome, Page, Progress, Reject, Run
from pipeline.store import Store
from pipeline.store.crawl import commit, frontier, rule_counts
from pipeline.store.crawl.compare import Obstacle, RuleCount
from pipeline.store.database.schema import passes
from pipeline.store.mail import digests
from pipeline.store.maintenance.retention import RetentionRule, RetentionRules, prune
from pipeline.store.runs import runs

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def started(store: Store, key: str, now: datetime = NOW) -> Run:
    runs.claim_slot(store, "shop", key, due_at=now, reason="schedule", now=now)
    run = runs.start_run(store, None, owner="me", now=now, limit=9)
    assert run is not None
    return run


def page(number: int, price: int | None, *, obstacle: str = "") -> Page:
    return Page(f"http://shop/{number}", 200, NOW, items=(Item(str(number), {"price": price}),), obstacle=obstacle,
                counts={"items.each": (1, 0), "items.fields.price": (int(price is not None), 1), "follow": (0, 0)})


def ended(store: Store, key: str, prices: list[int | None], *, now: datetime = NOW, doubt: str = "") -> Run:
    run = started(store, key, now)
    commit.commit_pages(store, run, [page(number, price) for number, price in enumerate(prices)], now=now)
    return runs.end_run(store, run, runs.Ending(Outcome.SUCCEEDED, complete=True, doubt=doubt), Progress(), now=now)


def test_counts_are_added_up_over_the_commits_of_a_pass(store: Store) -> None:
    run = started(store, "1")
    for batch in ([page(1, 5), page(2, None, obstacle="a challenge")], [page(3, 7, obstacle="another")], [Page("http://shop/4", 200, NOW)]):
        commit.commit_pages(store, run, batch, now=NOW)
    with store.read() as connection:
        coverage = rule_counts.of_pass(connection, run.pass_id)
    assert coverage.rules == {"items.each": RuleCount(3, 3, 3, 0), "items.fields.price": RuleCount(3, 2, 2, 3), "follow": RuleCount(3, 0, 0, 0)}
    assert (coverage.items, coverage.fields) == (3, {"price": 2})
    assert coverage.obstacle == Obstacle(2, "a challenge", "http://shop/2")


def test_the_usual_share_is_the_median_of_the_last_five_good_passes(store: Store) -> None:
    each: list[list[int | None]] = [[None, None], [1, None], [1, 2], [1, 2], [1, None], [1, 2]]
    for number, prices in enumerate(each):
        ended(store, str(number), prices, now=NOW + timedelta(hours=number))
    ended(store, "suspect", [None, None], now=NOW + timedelta(hours=7), doubt="it found nothing")
    with store.read() as connection:
        usual = rule_counts.usual(connection, "shop")
        (row,) = [row for row in rule_counts.rule_rows(rule_counts.of_pass(connection, 1), usual) if "price" in row.name]
    assert (usual.passes, usual.fields, usual.rules["items.fields.price"], usual.rules["follow"]) == (5, {"price": 1.0}, 1.0, 0.0)
    assert (row.name, row.share, row.usual) == ("items.fields.price", 0.0, 1.0)


def test_a_pass_that_starts_over_is_counted_anew(store: Store) -> None:
    run = started(store, "1")
    commit.commit_pages(store, run, [page(1, 5)], now=NOW)
    with store.write() as connection:
        connection.execute(update(passes).values(resumable=False))
    frontier.reopen(store, run)
    with store.read() as connection:
        coverage = rule_counts.of_pass(connection, run.pass_id)
    assert (coverage.rules, coverage.fields) == ({}, {"price": 1})


def test_the_counts_of_a_pass_are_kept_as_long_as_the_pass(store: Store) -> None:
    kept = [ended(store, str(number), [1], now=NOW + timedelta(days=number)).pass_id for number in range(25)]
    prune(store, RetentionRules(runs=RetentionRule(count=1)), now=NOW + timedelta(days=30))
    with store.read() as connection:
        assert [bool(rule_counts.of_pass(connection, pass_id).rules) for pass_id in kept] == [False] * 5 + [True] * 20


def test_a_rejected_item_counts_once_in_a_pass_and_once_in_several_runs(store: Store) -> None:
    run = started(store, "1")
    keyed, other, lost = Reject("no price", {"a": 1}, "k"), Reject("no title", {"a": 1}, "k"), Reject("no key", {"b": 2})
    broken = Reject("each: the rule failed", {})
    done = [commit.commit_pages(store, run, [Page(f"http://shop/{number}", 200, NOW, rejects=(keyed, other, lost, broken))], now=NOW)
            for number in (1, 2)]
    assert [each.progress.rejected for each in done] == [3, 1]  # the rule failed on two pages
    with store.read() as connection:
        assert rule_counts.rejected(connection, run.pass_id) == (4, "each: the rule failed")
    runs.end_run(store, run, runs.Ending(Outcome.SUCCEEDED), Progress(), now=NOW)
    second = started(store, "2")
    assert commit.commit_pages(store, second, [Page("http://shop/1", 200, NOW, rejects=(keyed,))], now=NOW).progress.rejected == 1
    assert digests.reject_totals(store, [run.id, second.id]) == {"shop": 4}
    assert [(each.reason, each.count) for each in digests.reject_counts(store, [run.id, second.id])] == [
        ("each: the rule failed", 2), ("no key", 1), ("no price", 1)]
