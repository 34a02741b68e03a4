"""Tests of the pages of items, runs, changes and messages, on each database.

Every row comes once, whatever the sort.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from pipeline.model import ChangeKind, Item, Outcome, Page, Progress
from pipeline.store import Store
from pipeline.store.access import api_tokens, audit_log
from pipeline.store.console import items, lists
from pipeline.store.console.items import ItemFilter, Sort
from pipeline.store.crawl.commit import commit_pages
from pipeline.store.runs import runs

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def crawl(store: Store, spider: str, slot: str, entries: dict[str, dict[str, Any]]) -> int:
    waiting = runs.claim_slot(store, spider, slot, due_at=NOW, reason="schedule", now=NOW)
    assert waiting is not None
    run = runs.start_run(store, waiting.id, owner=store.owner, now=NOW, limit=9)
    assert run is not None
    commit_pages(store, run, [Page("https://a.example/", 200, NOW, items=[Item(key, data) for key, data in entries.items()])], now=NOW)
    return runs.end_run(store, run, runs.Ending(Outcome.SUCCEEDED, complete=True), Progress(), now=NOW).id


def walked(read: Callable[[Any], tuple[list[Any], Any]]) -> list[Any]:
    found, after = [], None
    for _ in range(100):
        rows, after = read(after)
        found += rows
        if after is None:
            return found
    raise AssertionError("the list has no end")


@pytest.mark.parametrize("sort", ["key", "-key", "seen", "-seen"])
def test_each_item_is_on_one_page(store: Store, sort: Sort) -> None:
    crawl(store, "books", "1", {f"k{number}": {"n": number} for number in range(7)})
    crawl(store, "books", "2", {f"k{number}": {"n": number} for number in (1, 4, 9)})
    crawl(store, "films", "1", {"k0": {"n": 0}})

    def read(after: Any) -> tuple[list[Any], Any]:
        page = items.page(store, "books", ItemFilter(), limit=3, sort=sort, after=after)
        return page.rows, page.after

    found = walked(read)
    assert sorted(row.key for row in found) == ["k0", "k1", "k2", "k3", "k4", "k5", "k6", "k9"]
    by = [row.key for row in found] if sort.endswith("key") else [(row.pass_id, row.id) for row in found]
    assert by == sorted(by, reverse=sort.startswith("-"))
    gone = items.page(store, "books", ItemFilter(present=False), limit=9)
    assert [row.key for row in gone.rows] == ["k0", "k2", "k3", "k5", "k6"]


def test_each_change_of_a_spider_is_on_one_page_those_of_the_newest_runs_first(store: Store) -> None:
    numbers = [crawl(store, "books", str(number), {"a": {"n": number}, f"b{number}": {}}) for number in range(4)]
    crawl(store, "films", "1", {"a": {}})

    def read(after: Any) -> tuple[list[Any], Any]:
        rows = lists.changes_page(store, limit=2, spider="books", before=after)
        return rows, (rows[-1].run_id, rows[-1].id) if rows else None

    found = walked(read)
    assert len(found) == len({change.id for change in found}) == 11
    assert [change.run_id for change in found] == sorted((change.run_id for change in found), reverse=True)
    assert [change.key for change in lists.changes_page(store, limit=9, run_id=numbers[1], kind=ChangeKind.GONE)] == ["b0"]
    assert len(lists.changes_of_item(store, "books", "a", limit=9)) == 4


def test_tokens_and_audit_entries_are_stored(store: Store) -> None:
    token = api_tokens.create(store, "ci", "read", now=NOW)
    assert [(each.name, each.token_hash) for each in api_tokens.valid_tokens(store)] == [("ci", api_tokens.hash_of(token))]
    assert api_tokens.revoke(store, "ci", now=NOW)
    assert api_tokens.valid_tokens(store) == []
    for number in range(3):
        audit_log.write(store, audit_log.AuditEntry(NOW, "ci", "127.0.0.1", "pause", f"spider {number} \0 {'x' * 500}"))
    assert [entry.target[:8] for entry in audit_log.entries(store, limit=2, who="ci", since=NOW)] == ["spider 1", "spider 2"]
