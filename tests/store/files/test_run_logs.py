"""The logs of runs in an object store: every node shows those of ended runs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pipeline.model import Run
from pipeline.store import Store, open_store
from pipeline.store.files.run_logs import parts_of, run_log, run_log_files, upload_run_logs
from pipeline.store.runs import runs
from tests.servers.s3 import S3Server
from tests.store.files.test_file_stores import object_storage

NOW = datetime.now(UTC)


def started_run(store: Store, key: str) -> Run:
    claimed = runs.claim_slot(store, key, key, due_at=NOW, reason="manual", now=NOW)
    assert claimed is not None
    run = runs.start_run(store, claimed.id, owner=store.owner, now=NOW, limit=9)
    assert run is not None
    return run


def log(store: Store, run: Run, text: str, ending: str = "") -> None:
    path = store.files.path(f"logs/runs/{run.id}.log{ending}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def test_a_log_is_moved_at_the_end_of_its_run_or_of_a_later_one(s3: S3Server, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shared.sqlite3'}"
    here, there = (open_store(tmp_path / name, url, storage=object_storage(s3, "")) for name in ("here", "there"))
    first, second, third = (started_run(here, name) for name in ("a", "b", "c"))
    for run in (first, second, third):
        log(here, run, f"log of {run.id}")
    log(here, first, "its beginning", ".1")
    with s3.failing("refuse"):
        upload_run_logs(here, first, {third.id})
    assert run_log(here, first.id).read_text("utf-8") == f"log of {first.id}"

    runs.end_run(here, first, runs.Ending(runs.Outcome.SUCCEEDED), None, now=NOW)
    upload_run_logs(here, second, {second.id, third.id})
    assert {key: content.decode() for key, content in s3.objects().items()} == {
        f"logs/runs/{first.id}.log": f"log of {first.id}", f"logs/runs/{first.id}.log.1": "its beginning",
        f"logs/runs/{second.id}.log": f"log of {second.id}"}
    assert run_log(there, second.id).read_text("utf-8") == f"log of {second.id}"
    assert run_log(here, third.id).read_text("utf-8") == f"log of {third.id}"
    assert not run_log(there, third.id).exists()

    log(there, second, "of a process of the run on another node")
    runs.end_run(here, second, runs.Ending(runs.Outcome.SUCCEEDED), None, now=NOW)
    upload_run_logs(there, replace(third, id=99), set())
    assert run_log(here, second.id).read_text("utf-8") == f"log of {second.id}"
    (part,) = parts_of(here, second.id)
    assert run_log_files(here, second.id, part)[-1].read_text("utf-8") == "of a process of the run on another node"
    assert [path.read_text("utf-8") for path in run_log_files(there, first.id)] == ["its beginning", f"log of {first.id}"]
    assert parts_of(here, first.id) == []
    here.close()
    there.close()
