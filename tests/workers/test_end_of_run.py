"""Tests of storing how a run ended."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.errors import LeaseLostError
from pipeline.model import Outcome, Progress
from pipeline.store import open_store
from pipeline.store.runs import runs
from pipeline.store.runs.follow_ups import FollowUps
from pipeline.workers.crawl_run import end_patiently
from tests.servers.postgres import Postgres


@pytest.mark.needs("postgres")
def test_a_run_that_ends_while_the_database_restarts_is_stored_as_it_ended(postgres: Postgres, tmp_path: Path) -> None:
    store = open_store(tmp_path / "data", postgres.new_database())
    now = datetime.now(UTC)
    runs.claim_slot(store, "s", "k", due_at=now, reason="schedule", now=now)
    run = runs.start_run(store, None, owner=store.owner, now=now, limit=1)
    assert run is not None
    postgres.crash()
    with ThreadPoolExecutor(1) as thread:
        ending = thread.submit(end_patiently, store, run, runs.Ending(Outcome.SUCCEEDED, complete=True), Progress(pages=3), FollowUps())
        postgres.start()
        ending.result(timeout=40)
    ended = runs.get_run(store, run.id)
    assert ended is not None
    assert (ended.outcome, ended.progress.pages) == (Outcome.SUCCEEDED, 3)
    with pytest.raises(LeaseLostError):  # at once: another process has stored how the run ended
        end_patiently(store, run, runs.Ending(Outcome.FAILED), Progress(), FollowUps())
    store.close()
