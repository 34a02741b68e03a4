"""Tests of files that are set aside because they keep failing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pipeline.model import Download, DownloadState, Outcome, Page, Run
from pipeline.store import Store
from pipeline.store.crawl import commit
from pipeline.store.files import download_queue as queue
from pipeline.store.runs import runs

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def passed(store: Store, slot: int, now: datetime) -> Run:
    """A run of a new pass that asks for the file."""
    claimed = runs.claim_slot(store, "papers", str(slot), due_at=now, reason="schedule", now=now)
    assert claimed is not None
    run = runs.start_run(store, claimed.id, owner="me", now=now, limit=9)
    assert run is not None
    commit.commit_pages(store, run, [Page("http://a.example/", 200, now, downloads=(Download("http://a.example/f"),))], now=now)
    return run


def test_a_file_that_fails_in_five_passes_is_set_aside_for_an_hour_then_longer(store: Store):
    now, rests = NOW, []
    for slot in range(12):
        run = passed(store, slot, now)
        taken = queue.take(store, run, owner="me", now=now, limit=9)
        if not taken:
            aside = queue.set_aside(store, run.pass_id)
            assert (aside.count, aside.first) == (1, "http://a.example/f: broken")
            assert aside.until is not None
            assert queue.counts(store, run.pass_id) == {DownloadState.FAILED: 1}
            rests.append(aside.until - now)
            now = aside.until
        else:
            wanted, = taken
            assert queue.set_aside(store, run.pass_id).count == 0
            queue.fail(store, wanted.spider, wanted.id, owner="me", error="http://a.example/f: broken", now=now, retry_at=None, attempts=3)
        runs.end_run(store, run, runs.Ending(Outcome.SUCCEEDED), None, now=now)
    assert rests == [timedelta(hours=1), timedelta(hours=2), timedelta(hours=4), timedelta(hours=8)][:len(rests)]
    assert len(rests) >= 3
    run = passed(store, 99, now + timedelta(days=2))
    wanted, = queue.take(store, run, owner="me", now=now, limit=9)
    queue.record(store, run, [queue.CompletedDownload(wanted, key="downloads/papers/f", name="f", size_bytes=1, sha256="0" * 64)], owner="me", now=now)
    runs.end_run(store, run, runs.Ending(Outcome.SUCCEEDED), None, now=now)
    run = passed(store, 100, now + timedelta(days=3))
    wanted, = queue.take(store, run, owner="me", now=now, limit=9)
    queue.fail(store, wanted.spider, wanted.id, owner="me", error="broken", now=now, retry_at=None, attempts=3)
    runs.end_run(store, run, runs.Ending(Outcome.SUCCEEDED), None, now=now)
    assert queue.take(store, passed(store, 101, now + timedelta(days=3)), owner="me", now=now, limit=9)


def test_temporary_failures_never_set_a_file_aside(store: Store):
    for slot in range(8):
        run = passed(store, slot, NOW)
        wanted, = queue.take(store, run, owner="me", now=NOW, limit=9)
        queue.fail(store, wanted.spider, wanted.id, owner="me", error="503", now=NOW, retry_at=NOW, attempts=1)
        runs.end_run(store, run, runs.Ending(Outcome.SUCCEEDED), None, now=NOW)
