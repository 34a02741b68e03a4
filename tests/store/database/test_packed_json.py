"""Tests of compressed JSON values."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text

from pipeline.model import Item, Page
from pipeline.store import Store
from pipeline.store.crawl import commit, items
from pipeline.store.mail import digests
from pipeline.store.runs import runs

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
LINKS = [f"https://docs.example/api/java.base/java/util/Class{number}.html#method-{number}" for number in range(500)]


def committed(store: Store, number: int, data: dict[str, Any]) -> int:
    runs.claim_slot(store, "docs", str(number), due_at=NOW, reason="schedule", now=NOW)
    run = runs.start_run(store, None, owner="me", now=NOW, limit=1)
    assert run is not None
    commit.commit_pages(store, run, [Page("https://docs.example/", 200, NOW, items=(Item("k", data),))], now=NOW)
    runs.end_run(store, run, runs.Ending(runs.Outcome.SUCCEEDED, complete=True), None, now=NOW)
    return run.id


@pytest.mark.parametrize("data", [
    {}, {"x": None}, {"x": 1}, {"links": LINKS}, {"text": "é漢\u2028" * 3000}, {"x": "a" * 399}, {"x": [[], {}, "", 0, 1.5, True] * 300}])
def test_items_and_changes_are_read_as_they_were_written(store: Store, data: dict[str, Any]) -> None:
    first = committed(store, 1, {"links": LINKS[:100]})
    second = committed(store, 2, data)
    third = committed(store, 3, data)
    assert next(items.present(store, "docs")).data == data
    new, changed = digests.changes_of(store, [first, second, third])
    assert (new.after, changed.before, changed.after) == ({"links": LINKS[:100]}, {"links": LINKS[:100]}, data)


def test_a_gone_item_keeps_its_last_values(store: Store) -> None:
    committed(store, 1, {"links": LINKS})
    runs.claim_slot(store, "docs", "2", due_at=NOW, reason="schedule", now=NOW)
    run = runs.start_run(store, None, owner="me", now=NOW, limit=1)
    assert run is not None
    commit.commit_pages(store, run, [Page("https://docs.example/", 200, NOW, items=(Item("other", {"links": LINKS[:1]}),))], now=NOW)
    runs.end_run(store, run, runs.Ending(runs.Outcome.SUCCEEDED, complete=True), None, now=NOW)
    gone = next(change for change in digests.changes_of(store, [run.id]) if change.key == "k")
    assert (gone.before, gone.after) == ({"links": LINKS}, {})


def test_lists_of_links_take_a_fifth_of_their_size_on_sqlite(store: Store) -> None:
    if store.shared:
        pytest.skip("PostgreSQL compresses by itself")
    committed(store, 1, {"links": LINKS})
    with store.read() as connection:
        size, = connection.execute(text("SELECT length(data) FROM items")).one()
    assert size < len(str(LINKS)) / 5
