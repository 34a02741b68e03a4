"""Tests of the search index of items: a search with it finds what looking at each item finds."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from pipeline.model import Item, Json, Outcome, Page
from pipeline.store import Store, open_store
from pipeline.store.console import item_index
from pipeline.store.console import items as pages
from pipeline.store.console.item_index import ItemIndex
from pipeline.store.crawl import commit, items
from pipeline.store.database.schema import edited_items
from pipeline.store.database.schema_version import count_as_restored
from pipeline.store.runs import runs

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
KINDS: list[dict[str, Json]] = [
    {"name": "Blue Kettle", "price": 12.5}, {"name": "Straße 7", "tags": ["rot", {"deep": "QUIXOTRY"}]}, {"name": 'a "quoted" \\ text', "no": None},
    {"name": "电热水壶", "ok": True}, {"name": "x" * 900 + "needle"}, {"name": "nul\0inside", "lone": "\ud800 end"}, {"url": "http://shop.example/blue-7"}]
NEEDLES = ("kettle", "12.5", "strasse", "quixotry", '"quo', "\\ te", "电热水", "needle", "nul\0in", "\ud800 e", "shop.example", "none such", "true", "7", "ue-", "null")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path)
    yield store
    store.close()


@pytest.fixture
def index(store: Store, monkeypatch: pytest.MonkeyPatch) -> ItemIndex:
    """The index of the store, which every search asks after its first few items."""
    monkeypatch.setattr(pages, "_BATCH", 4)
    monkeypatch.setattr(pages, "_SCAN_S", -1.0)
    found = ItemIndex.of(store)
    assert found is not None
    return found


def crawl(store: Store, spider: str, found: dict[str, dict[str, Json]], slot: str = "1") -> None:
    runs.claim_slot(store, spider, slot, due_at=NOW, reason="schedule", now=NOW)
    run = runs.start_run(store, None, owner="me", now=NOW, limit=9)
    assert run is not None
    commit.commit_pages(store, run, [Page(f"http://shop.example/{slot}", 200, NOW, items=tuple(Item(key, data) for key, data in found.items()))], now=NOW)
    runs.end_run(store, run, runs.Ending(Outcome.SUCCEEDED, "", complete=True), None, now=NOW)


def shop(numbers: range) -> dict[str, dict[str, Json]]:
    return {f"k{number:03}": {**KINDS[number % len(KINDS)], "number": f"n{number}"} for number in numbers}


def searched(store: Store, text: str, sort: pages.Sort = "key", **more: Any) -> list[str]:
    """The keys of all pages of a search."""
    found: list[str] = []
    after: tuple[Any, ...] | None = ()
    while after is not None:
        page = pages.page(store, "shop", pages.ItemFilter(text=text, **more), limit=3, sort=sort, after=after or None)
        found += [row.key for row in page.rows]
        after = page.after
    return found


def every_search(store: Store) -> dict[tuple[str, str], list[str]]:
    questions: list[tuple[str, pages.Sort]] = [*((text, "key") for text in NEEDLES), ("kettle", "-key"), ("kettle", "seen"), ("kettle", "-seen")]
    return {(text, sort): searched(store, text, sort) for text, sort in questions}


def without_index(store: Store, monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], list[str]]:
    with monkeypatch.context() as patched:
        patched.setattr(ItemIndex, "of", lambda store: None)
        return every_search(store)


def test_a_search_with_the_index_finds_what_one_without_it_finds(store: Store, index: ItemIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    crawl(store, "other", shop(range(30)))
    crawl(store, "shop", shop(range(40)))
    assert index.update(store) == 70
    asked: list[set[int] | None] = []
    candidates = ItemIndex.candidates
    monkeypatch.setattr(ItemIndex, "candidates", lambda *arguments: asked.append(candidates(*arguments)) or asked[-1])
    found = every_search(store)
    assert found == without_index(store, monkeypatch)
    assert found["strasse", "key"] == [f"k{number:03}" for number in range(1, 40, 7)]
    assert (found["none such", "key"], found["null", "key"]) == ([], [])
    assert set() in asked
    assert max(len(each) for each in asked if each is not None) < 40
    # Items that changed, are new or were deleted are found before the index has them, and after.
    crawl(store, "shop", shop(range(7, 47)) | {"k003": {"name": "now a kettle, too"}}, "2")
    items.forget(store, "shop", "k007")
    for _ in range(2):
        found = every_search(store)
        assert found == without_index(store, monkeypatch)
        assert "k003" in found["kettle", "key"]
        assert "k007" not in found["kettle", "key"]
        index.update(store)
    assert index.update(store) == 0


def test_only_items_that_changed_wait_for_the_index(store: Store, index: ItemIndex) -> None:
    crawl(store, "shop", shop(range(10)))
    assert index.update(store) == 10
    crawl(store, "shop", shop(range(10)) | {"k001": {"name": "changed"}, "k002": {"name": "changed"}}, "2")
    assert waiting(store) == 2
    assert index.update(store) == 2
    assert waiting(store) == 0


def test_a_new_item_with_the_id_of_one_that_was_deleted_is_found(store: Store, index: ItemIndex) -> None:
    crawl(store, "shop", shop(range(10)))
    index.update(store)
    items.forget(store, "shop", "k009")
    index.update(store)
    crawl(store, "shop", {"k009": {"name": "a new zeppelin"}}, "2")
    assert searched(store, "zeppelin") == ["k009"]
    index.update(store)
    assert searched(store, "zeppelin") == ["k009"]


def test_an_index_of_the_time_before_a_restore_is_not_used_and_built_anew(store: Store, index: ItemIndex) -> None:
    crawl(store, "shop", shop(range(10)))
    index.update(store)
    with store.write() as connection:
        count_as_restored(connection, NOW)
    with store.read() as connection:
        assert index.candidates(connection, "shop", "kettle") is None
    assert searched(store, "kettle") == ["k000", "k007"]
    assert index.update(store) == 10
    with store.read() as connection:
        assert len(index.candidates(connection, "shop", "kettle") or ()) == 2


def test_a_damaged_index_is_built_anew(store: Store, index: ItemIndex) -> None:
    crawl(store, "shop", shop(range(10)))
    index.update(store)
    file = store.data_dir / item_index.FILE
    index.delete()
    file.write_bytes(b"no database" * 1000)
    assert searched(store, "kettle") == ["k000", "k007"]
    with pytest.raises(Exception, match="not a database"):
        index.update(store)
    assert index.update(store) == 10
    assert file.stat().st_mode & 0o777 == 0o600


def test_an_index_with_more_documents_of_before_than_items_is_built_anew(store: Store, index: ItemIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_index, "BATCH", 10)
    crawl(store, "shop", shop(range(10)))
    index.update(store)
    for number in range(2, 6):
        crawl(store, "shop", {key: {"name": f"kettle {number}"} for key in shop(range(10))}, str(number))
        while index.update(store):
            pass
        assert searched(store, f"kettle {number}") == list(shop(range(10)))
        with store.read() as connection:
            assert index.candidates(connection, "shop", "strasse") == ({2, 9} if number < 4 else set())


def waiting(store: Store) -> int:
    with store.read() as connection:
        return connection.execute(select(func.count()).select_from(edited_items)).scalar_one()
