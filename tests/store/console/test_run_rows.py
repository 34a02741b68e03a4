"""Tests of what is kept of the pages, the rejected items and the downloads of a run."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, update

from pipeline.model import Download, DownloadState, Item, Page, PageOutcome, Progress, Reject, Run
from pipeline.store import Store
from pipeline.store.console import run_rows
from pipeline.store.crawl.commit import commit_pages
from pipeline.store.database.schema import download_files, downloads
from pipeline.store.maintenance.retention import RetentionRule, RetentionRules, prune
from pipeline.store.runs import runs

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def started(store: Store, key: str = "1", at: datetime = NOW) -> Run:
    runs.claim_slot(store, "shop", key, due_at=at, reason="schedule", now=at)
    run = runs.start_run(store, None, owner=store.owner, now=at, limit=9)
    assert run is not None
    return run


def ended(store: Store, run: Run) -> None:
    runs.end_run(store, run, runs.Ending(runs.Outcome.SUCCEEDED, complete=True), Progress(), now=NOW)


def test_each_page_is_kept_with_its_outcome_and_the_number_of_its_changes(store: Store) -> None:
    first = started(store)
    commit_pages(store, first, [Page("http://a.example/1", 200, NOW, items=(Item("a", {"x": 1}), Item("b", {"x": 1})))], now=NOW)
    ended(store, first)
    run = started(store, "2")
    commit_pages(store, run, [
        Page("http://a.example/start", 200, NOW, size_bytes=10, duration_s=0.0312),
        Page("http://a.example/1", 200, NOW, items=(Item("a", {"x": 2}), Item("b", {"x": 1}), Item("c", {"x": 1})), outcome=PageOutcome.NOT_MODIFIED),
        Page("", 0, NOW, items=(Item("d", {"x": 1}),)),
        Page("http://a.example/2", 200, NOW, items=(Item("b", {"x": 1}), Item("a", {"x": 2})), outcome=PageOutcome.RENDERED)], now=NOW)
    commit_pages(store, run, [
        Page("http://a.example/secret", 0, NOW, error="robots.txt forbids this URL", error_kind="FetchError", outcome=PageOutcome.FORBIDDEN),
        Page("http://a.example/50%_off", 500, NOW, error="HTTP 500 " + "\ud800x" * 2000, transient=True),
        Page("http://a.example/left", 0, NOW, outcome=PageOutcome.IGNORED)], now=NOW)
    found = run_rows.pages_of(store, run.id, limit=9).rows
    assert [(row.url[16:], row.status, row.outcome.value, row.items, row.changes) for row in found] == [
        ("/left", 0, "ignored", 0, 0), ("/50%_off", 500, "failed", 0, 0), ("/secret", 0, "forbidden", 0, 0), ("/2", 200, "rendered", 2, 0),
        ("/1", 200, "not_modified", 3, 2), ("/start", 200, "fetched", 0, 0)]
    assert [row.duration_ms for row in found[-2:]] == [None, 31]
    assert [len(row.error) for row in found[:3]] == [0, 1000, 27]
    assert run_rows.pages_of(store, run.id, limit=2, before=found[3].id) == run_rows.PageList(found[4:], None)
    assert run_rows.pages_of(store, run.id, limit=2) == run_rows.PageList(found[:2], found[1].id)
    for which, text, paths in (("failed", "", ["/50%_off", "/secret"]), ("changed", "", ["/1"]), ("unchanged", "", ["/2"]), ("rendered", "", ["/2"]),
                               ("", "50%_OFF", ["/50%_off"]), ("", "0_", [])):
        assert [row.url[16:] for row in run_rows.pages_of(store, run.id, limit=9, which=which, text=text).rows] == paths, (which, text)
    ended(store, run)
    prune(store, RetentionRules(pages=RetentionRule(count=2)), now=NOW)
    assert run_rows.pages_of(store, run.id, limit=9).rows == found[:2]


def test_a_search_for_pages_ends_after_its_time_and_goes_on_where_it_was(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run = started(store)
    commit_pages(store, run, [Page(f"http://a.example/{number}", 200, NOW) for number in range(20)], now=NOW)
    monkeypatch.setattr(run_rows, "_EXAMINED", 4)
    found, before, lists = [], None, 0
    while lists == 0 or before is not None:
        page = run_rows.pages_of(store, run.id, limit=2, before=before, text="/1", clock=itertools.count().__next__)
        found, before, lists = found + [row.url[16:] for row in page.rows], page.after, lists + 1
    assert found == ["/19", "/18", "/17", "/16", "/15", "/14", "/13", "/12", "/11", "/10", "/1"]
    assert lists > 6


def test_rejected_items_are_kept_with_the_reason(store: Store) -> None:
    run = started(store)
    commit_pages(store, run, [Page("http://a.example/1", 200, NOW, rejects=(Reject("price: no number", {"title": "A"}), Reject("no key", {}, "b")))], now=NOW)
    newest, oldest = run_rows.rejects_of(store, run.id, limit=9)
    assert (oldest.reason, oldest.data, oldest.url) == ("price: no number", {"title": "A"}, "http://a.example/1")
    assert (newest.reason, newest.key) == ("no key", "b")
    assert run_rows.rejects_of(store, run.id, limit=9, before=newest.id) == [oldest]


def test_downloads_of_a_run_are_those_of_its_pass_and_the_files_that_it_fetched(store: Store) -> None:
    run = started(store)
    files = [Download(f"http://a.example/{name}") for name in ("new.pdf", "old.pdf", "bad.pdf", "later.pdf")]
    commit_pages(store, run, [Page("http://a.example/", 200, NOW, downloads=tuple(files))], now=NOW)
    with store.write() as connection:
        ids = dict(connection.execute(downloads.select().with_only_columns(downloads.c.url, downloads.c.id)).all())
        for name, number, run_id in (("new", 1, run.id), ("old", 2, None)):
            connection.execute(insert(download_files).values(
                download_id=ids[f"http://a.example/{name}.pdf"], run_id=run_id, spider="shop", url="x", key=f"downloads/{name}", name=f"{name}.pdf",
                size_bytes=number, sha256="0" * 64, fetched_at=NOW - timedelta(days=number - 1)))
            connection.execute(update(downloads).where(downloads.c.url == f"http://a.example/{name}.pdf").values(
                state="done", file_key=f"downloads/{name}"))
        connection.execute(update(downloads).where(downloads.c.url.contains("bad")).values(state="failed", error="HTTP 404"))
    found = run_rows.downloads_of(store, run, limit=9)
    assert [(row.url[16:], row.state, row.is_new, row.key, row.size_bytes, row.error) for row in found] == [
        ("/later.pdf", "waiting", False, "", None, ""), ("/bad.pdf", "failed", False, "", None, "HTTP 404"),
        ("/old.pdf", "done", False, "downloads/old", 2, ""), ("/new.pdf", "done", True, "downloads/new", 1, "")]
    assert run_rows.downloads_of(store, run, limit=9, before=found[2].id) == found[3:]
    ended(store, run)
    later = started(store, "2")
    commit_pages(store, later, [Page("http://a.example/", 200, NOW, downloads=tuple(files))], now=NOW)
    assert [(row.url[16:], row.state, row.key) for row in run_rows.downloads_of(store, run, limit=9)] == [("/new.pdf", "done", "downloads/new")]
    assert [row.state for row in run_rows.downloads_of(store, later, limit=9)] == [DownloadState.WAITING] * 4
    assert [row.url[16:] for row in run_rows.downloads_of(store, later, limit=9, state=DownloadState.DONE)] == []
