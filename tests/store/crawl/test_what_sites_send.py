"""Tests that any text of a site is stored and found again on each database."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pipeline.model import ChangeKind, Download, Item, Outcome, Page, Progress, Reject, Request
from pipeline.store import Store
from pipeline.store.console import lists
from pipeline.store.crawl import commit, frontier, items
from pipeline.store.files import download_queue
from pipeline.store.health import status_queries
from pipeline.store.mail import digests
from pipeline.store.runs import runs

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
RANDOM = "".join(chr(33 + (n * 7919 + n * n * 31) % 90) for n in range(9000))  # does not compress
TEXTS = {"NUL": "a\0b", "half a pair": "a\ud800b", "an emoji": "a\N{GRINNING FACE}b", "very long": RANDOM,
         "a quote": "a'b\"c\\d%(e)s:f", "empty": ""}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_any_text_is_a_key_a_value_an_address_and_an_error(store: Store, text: str) -> None:
    for number, value in ((1, text), (2, text), (3, text + "!")):
        runs.claim_slot(store, "shop", str(number), due_at=NOW, reason="schedule", now=NOW)
        run = runs.start_run(store, None, owner="me", now=NOW, limit=9)
        assert run is not None
        (queued,) = frontier.enqueue(store, run, [Request(f"http://shop/{text}")])
        page = Page(f"http://shop/{text}", 200, NOW, frontier_id=queued.id, error=text,
                    items=(Item(text, {"value": value, text: [text]}),), rejects=(Reject(text, {"a": text}, text),),
                    downloads=(Download(f"http://shop/file/{text}", item_key=text, name=text),))
        done = commit.commit_pages(store, run, [page], now=NOW)
        (taken,) = download_queue.take(store, run, owner="me", now=NOW, limit=9)
        download_queue.fail(store, taken.spider, taken.id, owner="me", error=text, now=NOW, retry_at=NOW, attempts=9)
        runs.end_run(store, run, runs.Ending(Outcome.FAILED, text, complete=True), done.progress, now=NOW)
    assert [change.kind for change in digests.changes_of(store, [1, 2, 3])] == [ChangeKind.NEW, ChangeKind.CHANGED]
    assert [item.data["value"] for item in items.present(store, "shop")] == [text + "!"]
    assert len(lists.downloads_page(store, "shop", limit=100)) == 1


def test_sums_beyond_32_bits_are_correct(store: Store) -> None:
    for number in range(2):
        runs.claim_slot(store, "shop", str(number), due_at=NOW, reason="schedule", now=NOW)
        run = runs.start_run(store, None, owner="me", now=NOW, limit=9)
        assert run is not None
        runs.end_run(store, run, runs.Ending(Outcome.SUCCEEDED), Progress(download_bytes=3_000_000_000), now=NOW)
    with store.read() as connection:
        found = status_queries.totals_since(connection, datetime(2026, 11, 22, tzinfo=UTC))
    assert found["shop"].progress["download_bytes"] == 6_000_000_000
