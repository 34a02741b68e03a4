"""Searches for new rules after suspect passes: once for each pass, and repeated when the process dies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pipeline.model import Item, Outcome, Page, Run
from pipeline.store import Store
from pipeline.store.crawl import commit, mendings
from pipeline.store.crawl.mendings import MAX_ATTEMPTS, MendingState
from pipeline.store.runs import runs

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def suspect_run(store: Store, slot: str) -> Run:
    runs.claim_slot(store, "shop", slot, due_at=NOW, reason="schedule", now=NOW)
    run = runs.start_run(store, None, owner=store.owner, now=NOW, limit=9)
    assert run is not None
    commit.commit_pages(store, run, [Page("http://a.example/", 200, NOW, items=(Item("a", {"x": 1}),))], now=NOW)
    return runs.end_run(store, run, runs.Ending(Outcome.SUCCEEDED, complete=True, doubt="nothing matched"), None, now=NOW)


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
    assert mendings.request(store, later, now=NOW)
    assert not mendings.request(store, run, now=NOW), "an older pass does not replace a newer one"
