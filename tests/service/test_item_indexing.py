"""Tests of the service's part of the search index of items."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from pathlib import Path

import pytest

from pipeline.model import Item, Page
from pipeline.service.item_indexing import ItemIndexing
from pipeline.service.state import ServiceState, utc_now
from pipeline.settings import load
from pipeline.store import open_store
from pipeline.store.console import item_index
from pipeline.store.crawl import commit
from pipeline.store.runs import runs


def test_the_index_is_brought_up_to_date_and_a_lack_of_space_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.INFO, "pipeline.service")
    monkeypatch.setattr(item_index, "BATCH", 10)
    monkeypatch.setattr("pipeline.service.item_indexing.BATCH", 10)
    (tmp_path / "settings.toml").write_text('[pipeline]\nkeep_free = "1000TB"\n')
    store = open_store(tmp_path / "var")
    state = ServiceState(store, load(tmp_path / "settings.toml"))
    now = utc_now()
    runs.claim_slot(store, "shop", "1", due_at=now, reason="schedule", now=now)
    run = runs.start_run(store, None, owner="me", now=now, limit=9)
    assert run is not None
    commit.commit_pages(store, run, [Page("http://shop.example/", 200, now, items=tuple(Item(str(n), {"name": f"kettle {n}"}) for n in range(25)))], now=now)
    indexing = ItemIndexing(state, lambda: False)
    for _ in range(2):
        asyncio.run(indexing.update())
    assert not (store.data_dir / item_index.FILE).exists()
    (tmp_path / "settings.toml").write_text('[pipeline]\nkeep_free = "1B"\n')
    state.settings = load(tmp_path / "settings.toml")
    asyncio.run(indexing.update())
    with sqlite3.connect(store.data_dir / item_index.FILE) as connection:
        assert connection.execute("SELECT last_id FROM state").fetchone() == (25,)
    connection.close()
    store.close()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "keep_free requires" in said[0]
    assert said[1] == "the search index of items is updated again"
