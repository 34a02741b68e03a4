"""Searches for new rules after suspect passes: once for each pass, and repeated when the process dies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pipeline.model import Item, Outcome, Page, Run
from pipeline.store import Store
from pipeline.store.crawl import commit, mendings
from pipeline.store.crawl.mendings import MAX_ATTEMPTS, MendingState
from pipeline.store.runs import runs

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def suspect_run(store: Store, slot: str, doubt: str = "nothing matched") -> Run:
    runs.claim_slot(store, "shop", slot, due_at=NOW, reason="schedule", now=NOW)
    run = runs.start_run(store, None, owner=store.owner, now=NOW, limit=9)
    assert run is not None
    commit.commit_pages(store, run, [Page("http://a.example/", 200, NOW, items=(Item("a", {"x": 1}),))], now=NOW)
    return runs.end_run(store, run, runs.Ending(Outcome.SUCCEEDED, complete=True, doubt=doubt), None, now=NOW)


def test_a_pass_is_searched_once_and_a_search_that_dies_is_repeated(store: Store) -> None:
    run = suspect_run(store, "1")
    assert mendings.request(store, run, now=NOW)
    assert not mendings.request(store, run, now=NOW)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        taken = mendings.take(store, owner="another-machine:1:x", now=NOW + timedelta(hours=attempt))
        assert taken is not None
        assert taken.attempt == attempt
        assert mendings.take(store, owner="another-machine:1:x", now=NOW + timedelta(hours=attempt)) is None
    assert mendings.take(store, owner="another-machine:1:x", now=NOW + timedelta(hours=9)) is None
    found = mendings.of_spider(store, "shop")
    assert found is not None
    assert found.state is MendingState.FAILED
    assert "ended unexpectedly 3 times" in found.report["reason"]
    later = suspect_run(store, "2")
    assert mendings.request(store, later, now=NOW + timedelta(hours=1))
    assert not mendings.request(store, run, now=NOW), "an older pass does not replace a newer one"


def searched(store: Store, run: Run, *, rules: str, state: MendingState = MendingState.NOTHING) -> None:
    assert mendings.request(store, run, now=NOW, rules=rules)
    taken = mendings.take(store, owner=store.owner, now=NOW)
    assert taken is not None
    mendings.finish(store, taken, state, {"rules": rules}, owner=store.owner)


def test_while_passes_stay_suspect_the_same_rules_are_searched_once_an_hour(store: Store) -> None:
    first, second = suspect_run(store, "1"), suspect_run(store, "2")
    searched(store, first, rules="a")
    assert [run.id for run in mendings.last_suspect_runs(store)] == [second.id]
    assert not mendings.request(store, second, now=NOW + timedelta(minutes=59), rules="a")
    found = mendings.of_spider(store, "shop")
    assert found is not None
    assert (found.pass_id, found.state) == (second.pass_id, MendingState.NOTHING), "the result is that of the later pass, too"
    assert mendings.request(store, suspect_run(store, "3"), now=NOW + timedelta(minutes=59), rules="b"), "the rules have changed"
    assert mendings.take(store, owner=store.owner, now=NOW) is not None
    fourth = suspect_run(store, "4")
    assert not mendings.request(store, fourth, now=NOW + timedelta(hours=5), rules="c"), "a search is in progress"


def test_after_a_pass_that_was_not_suspect_a_suspect_pass_is_searched_at_once(store: Store) -> None:
    searched(store, suspect_run(store, "1"), rules="a")
    suspect_run(store, "2", doubt="")
    assert mendings.last_suspect_runs(store) == []
    assert mendings.request(store, suspect_run(store, "3"), now=NOW, rules="a")


def test_a_report_with_texts_that_a_database_cannot_store_is_stored_and_read(store: Store) -> None:
    assert mendings.request(store, suspect_run(store, "1"), now=NOW)
    taken = mendings.take(store, owner=store.owner, now=NOW)
    assert taken is not None
    mendings.finish(store, taken, MendingState.PROPOSED, {"not_applied": "a\0b", "after": [{"title\ud800": "\udfff"}]}, owner=store.owner)
    with store.read() as connection:
        assert mendings.states(connection) == {"shop": (taken.pass_id, MendingState.PROPOSED, "a\ufffdb")}
    found = mendings.of_spider(store, "shop")
    assert found is not None
    assert found.report["after"] == [{"title?": "?"}]


def test_searches_of_spiders_that_must_wait_and_of_others_are_not_taken(store: Store) -> None:
    assert mendings.request(store, suspect_run(store, "1"), now=NOW)
    assert mendings.take(store, owner=store.owner, now=NOW, skip={"shop"}) is None
    assert mendings.take(store, owner=store.owner, now=NOW, spider="another") is None
    assert mendings.take(store, owner=store.owner, now=NOW, spider="shop", skip={"another"}) is not None
