"""Tests of files from the queue to their deletion, on each database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pipeline.model import Download, Item, Page, Run, StoredFile, Transfer
from pipeline.store import Store
from pipeline.store.crawl import commit
from pipeline.store.files import download_queue, versions
from pipeline.store.mail import digests
from pipeline.store.runs import runs

NOW = datetime(2026, 5, 1, tzinfo=UTC)
URL = "http://site.example/a.pdf"


def new_run(store: Store, key: str, now: datetime) -> Run:
    claimed = runs.claim_slot(store, "books", key, due_at=now, reason="manual", now=now)
    assert claimed is not None
    run = runs.start_run(store, claimed.id, owner=store.owner, now=now, limit=9)
    assert run is not None
    return run


def fetched(store: Store, key: str, now: datetime, *, content: str = "") -> StoredFile | None:
    """One pass that asks for the file; content "": it is unchanged."""
    run = new_run(store, key, now)
    commit.commit_pages(store, run, [Page("http://site.example/", 200, now, items=(Item("1", {"title": "one"}),),
                                         downloads=(Download(URL, item_key="1"),))], now=now)
    wanted, = download_queue.take(store, run, owner="me", now=now, limit=5)
    assert wanted.item == {"title": "one"}
    arrived = download_queue.CompletedDownload(wanted)
    if content:
        arrived = download_queue.CompletedDownload(wanted, key=f"downloads/books/{content}", name="a.pdf", size_bytes=len(content),
                                    sha256=content * 8, etag=f'"{content}"')
    assert download_queue.record(store, run, [arrived], owner="me", now=now) == {wanted.id}
    runs.end_run(store, run, runs.Ending(runs.Outcome.SUCCEEDED), None, now=now)
    return next(iter(digests.files_of(store, [run.id])), None)


def test_versions_are_listed_marked_and_deleted(store: Store) -> None:
    old = fetched(store, "1", NOW, content="version1")
    new = fetched(store, "2", NOW + timedelta(days=5), content="version2")
    assert fetched(store, "3", NOW + timedelta(days=9)) is None
    assert old is not None
    assert new is not None
    now = NOW + timedelta(days=10)
    kept = versions.versions(store, "books", waiting={}, now=now)
    assert [(each.id, each.current, each.seen_at, each.held) for each in kept] == [
        (old.id, False, NOW + timedelta(days=5), False), (new.id, True, NOW + timedelta(days=9), False)]
    assert versions.sizes(store) == {"books": 16}
    assert download_queue.same_content(store, "books", old.sha256, 8) == [old.key]
    waiting = {"morning": ["books"]}
    assert all(each.held for each in versions.versions(store, "books", waiting=waiting, now=now))
    versions.mark_for_deletion(store, "books", [old.id, new.id], waiting=waiting, now=now)
    assert versions.marked_for_deletion(store) == []
    versions.mark_for_deletion(store, "books", [new.id], waiting={}, now=now)
    assert versions.marked_for_deletion(store) == [(new.id, "books", new.key, 8)]
    assert versions.sizes(store) == {"books": 8}
    versions.forget(store, [old.id, new.id])
    assert [each.id for each in versions.versions(store, "books", waiting={}, now=now)] == [old.id]
    run = new_run(store, "4", now)
    commit.commit_pages(store, run, [Page("http://site.example/", 200, now, downloads=(Download(URL),))], now=now)
    wanted, = download_queue.take(store, run, owner="me", now=now, limit=5)
    assert (wanted.file_key, wanted.etag, wanted.file_sha256) == ("", '"version2"', new.sha256)


def test_a_file_deleted_during_a_conditional_request_stays_deleted(store: Store) -> None:
    file = fetched(store, "1", NOW, content="version1")
    assert file is not None
    run = new_run(store, "2", NOW)
    commit.commit_pages(store, run, [Page("http://site.example/", 200, NOW, downloads=(Download(URL),))], now=NOW)
    wanted, = download_queue.take(store, run, owner="me", now=NOW, limit=5)
    # Its lease has run out, but its worker is still there.
    versions.mark_for_deletion(store, "books", [file.id], waiting={}, now=NOW + timedelta(hours=1))
    download_queue.record(store, run, [download_queue.CompletedDownload(wanted)], owner="me", now=NOW)
    runs.end_run(store, run, runs.Ending(runs.Outcome.SUCCEEDED), None, now=NOW)
    run = new_run(store, "3", NOW)
    commit.commit_pages(store, run, [Page("http://site.example/", 200, NOW, downloads=(Download(URL),))], now=NOW)
    wanted, = download_queue.take(store, run, owner="me", now=NOW, limit=5)
    assert wanted.file_key == ""


def test_active_transfers_are_in_the_row_of_their_run_until_it_ends(store: Store) -> None:
    run = new_run(store, "1", NOW)
    transfer = Transfer("a.pdf", 10, 100, 5.0)
    assert runs.report_progress(store, run, run.progress, [transfer], now=NOW)
    found = runs.get_run(store, run.id)
    assert found is not None
    assert found.transfers == (transfer,)
    assert found.transfers[0].left_s == 18.0
    assert runs.end_run(store, run, runs.Ending(runs.Outcome.SUCCEEDED), None, now=NOW).transfers == ()
