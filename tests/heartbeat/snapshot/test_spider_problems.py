"""Tests of the codes by which pages and programs recognize why a spider is not ok."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, update

from pipeline.heartbeat.http.console.overview.rows import SpiderProblem, rows_of
from pipeline.heartbeat.snapshot.build import build_snapshot
from pipeline.heartbeat.snapshot.schema import ReasonStatus
from pipeline.heartbeat.snapshot.spider_status import DueTimes
from pipeline.model import Outcome, Progress, Run
from pipeline.settings import load
from pipeline.store.crawl import mendings
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import items, runs
from pipeline.store.open import open_store
from pipeline.store.runs.host_pauses import pause_host
from pipeline.store.runs.runs import Ending, claim_slot, end_run, start_run
from tests.heartbeat.conftest import NOW, STARTED

HOUR = timedelta(hours=1)
# Each spider's problem in the status, and the detail and the page that the overview shows of it. No detail is taken from the English text of the reason.
PROBLEMS: dict[str, tuple[ReasonStatus, str, str]] = {
    "down": ({"kind": "failed", "detail": "the last 9 runs; late: no"}, "the last 9 runs; late: no", "/runs/1"),
    "resting": ({"kind": "host", "detail": "2026-11-22T18:16:41+00:00"}, "2026-11-22T18:16:41+00:00", "/spiders/resting"),
    "overdue": ({"kind": "late", "detail": "2026-11-22T08:00:00+00:00"}, "", "/spiders/overdue"),
    "odd": ({"kind": "suspect", "detail": "0 items; a mend is proposed"}, "0 items; a mend is proposed", "/spiders/odd#rules"),
    "mended": ({"kind": "proposed", "detail": "0 items"}, "0 items", "/spiders/mended/mend"),
    "unkept": ({"kind": "archive", "detail": "3"}, "3 pages of run 4 not archived", "/spiders/unkept"),
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path / "var")
    yield store
    store.close()


def ran(store: Store, spider: str, outcome: Outcome = Outcome.SUCCEEDED, error: str = "", *, suspect: bool = False, not_archived: int = 0) -> Run:
    claimed = claim_slot(store, spider, "1", due_at=NOW - HOUR, reason="schedule", now=NOW - HOUR)
    assert claimed is not None
    run = start_run(store, claimed.id, owner="me", now=NOW - HOUR, limit=9)
    assert run is not None
    run = end_run(store, run, Ending(outcome, error, complete=True), Progress(not_archived=not_archived), now=NOW)
    with store.write() as connection:
        connection.execute(update(runs).where(runs.c.id == run.id).values(suspect=suspect))
    return run


def test_each_problem_has_a_code_whatever_its_texts_say(store: Store, tmp_path: Path) -> None:
    spiders = "".join(f'[spiders.{name}]\nstart = ["https://{name}.example/"]\nitems.fields.title = "h1"\n' for name in PROBLEMS)
    (tmp_path / "settings.toml").write_text(f'[pipeline]\ntimezone = "UTC"\n{spiders}')
    ran(store, "down", Outcome.FAILED, "the last 9 runs; late: no")
    pause_host(store, "resting.example:443", until=NOW + 3 * HOUR, spider="resting", now=NOW)
    ran(store, "odd", error="0 items; a mend is proposed", suspect=True)
    suspect = ran(store, "mended", error="0 items", suspect=True)
    ran(store, "unkept", not_archived=3)
    with store.write() as connection:
        connection.execute(insert(items).values(spider="mended", key="1", data={}, first_seen_at=NOW, changed_at=NOW, pass_id=suspect.pass_id))
    assert mendings.request(store, suspect, now=NOW)
    mending = mendings.take(store, owner="me", now=NOW)
    assert mending is not None
    mendings.finish(store, mending, mendings.MendingState.PROPOSED, {}, owner="me")

    due_times = DueTimes({}, STARTED, NOW, lambda name, after: STARTED + HOUR if name == "overdue" else None)
    snapshot = build_snapshot(store, load(tmp_path / "settings.toml"), due_times, version="1")
    assert {name: spider["problems"] for name, spider in snapshot["spiders"].items()} == {name: [problem] for name, (problem, _, _) in PROBLEMS.items()}
    assert {row.name: row.problems for row in rows_of(snapshot, {})} == {
        name: (SpiderProblem(problem["kind"], detail, path),) for name, (problem, detail, path) in PROBLEMS.items()}
