"""Tests of the status snapshot and of the health that it reports."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pydantic import TypeAdapter
from sqlalchemy import delete, event, insert, update

from pipeline.heartbeat.protocols.commands import COMMANDS, SnapshotCommand
from pipeline.heartbeat.protocols.commands.status import health
from pipeline.heartbeat.snapshot import schema
from pipeline.heartbeat.snapshot.build import build_snapshot, worst
from pipeline.heartbeat.snapshot.history import RunHistory
from pipeline.heartbeat.snapshot.schema import SCHEMA, Snapshot, json_schema
from pipeline.heartbeat.snapshot.spider_status import DueTimes, late_after
from pipeline.model import Outcome, Progress, Transfer
from pipeline.settings import Secret, load
from pipeline.store.database.schema import downloads, messages, runs
from pipeline.store.open import open_store
from pipeline.store.runs.runs import Ending, claim_slot, end_run, report_progress, start_run
from tests.heartbeat.conftest import NOW, STARTED

HOUR = timedelta(hours=1)
SETTINGS = """
[pipeline]
timezone = "Asia/Shanghai"
[proxies]
office = { url = "http://127.0.0.1:8118", user = "me", password = { env = "PROXY_PASSWORD" } }
pool = ["http://user:s3cret@10.0.0.1:3128", "socks5h://10.0.0.2:1080"]
[spiders.books]
schedule = "every 1h"
proxy = "office"
start = ["https://books.example/"]
items.fields.title = "h1"
[spiders.idle]
start = ["https://idle.example/"]
items.fields.title = "h1"
"""


@pytest.fixture
def store(tmp_path):
    store = open_store(tmp_path / "var")
    yield store
    store.close()


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "settings.toml").write_text(SETTINGS)
    return load(tmp_path / "settings.toml")


@pytest.fixture
def tell(store, settings):
    """The snapshot at a moment; books is due every hour."""
    def hourly(name, moment):
        return moment + HOUR if name == "books" else None

    def tell(now=NOW, next_slots=None, due_after=hourly, **options):
        due_times = DueTimes(next_slots or {}, STARTED, now, due_after)
        found = build_snapshot(store, settings, due_times, version="1.2.3", **options)
        assert TypeAdapter(Snapshot).validate_python(found, strict=True) == found
        return found

    return tell


@pytest.fixture
def ran(store):
    """Records a run of books that was due some hours before NOW, and took two minutes."""

    def ran(hours_ago, outcome=Outcome.SUCCEEDED, error="", figures=None):
        due = NOW - hours_ago * HOUR
        claimed = claim_slot(store, "books", str(hours_ago), due_at=due, reason="schedule", now=due)
        run = start_run(store, claimed.id, owner="me", now=due, limit=9)
        return end_run(store, run, Ending(outcome, error, complete=outcome is Outcome.SUCCEEDED),
                       Progress(**figures or {}), now=due + timedelta(minutes=2))

    return ran


def mail(store, age, **values):
    with store.write() as connection:
        connection.execute(insert(messages).values(
            message_id=f"<{age}{values}@x>", sender="x", file_key="x", created_at=NOW - age, next_attempt_at=NOW,
            subject="", size_bytes=1, **values))


def test_a_spider_that_never_ran_and_is_not_due_is_ok(tell):
    found = tell(now=STARTED + timedelta(minutes=30), next_slots={"books": STARTED + HOUR})
    assert health(found) == "ok"
    assert found["spiders"]["books"]["next_due"] == "2026-11-22T16:00:00+08:00"
    idle = found["spiders"]["idle"]
    assert (idle["health"], idle["schedule"], idle["late"], idle["last_run"]) == ("ok", None, False, None)


def test_a_spider_whose_last_run_succeeded_in_time_is_ok(tell, ran):
    ran(0.5, figures={"pages": 5, "items": 40, "new": 40})
    books = tell()["spiders"]["books"]
    assert books["health"] == "ok"
    assert books["last_success"] == "2026-11-22T22:48:41+08:00"
    assert books["last_run"]["duration_s"] == 120
    assert books["last_run"]["progress"]["items"] == 40


def test_one_failed_run_degrades_the_status_with_a_one_line_reason(tell, ran):
    ran(1.2)
    ran(0.2, Outcome.FAILED, "login refused\nsaw: \x1b[31mcaptcha")
    found = tell()
    assert health(found) == "degraded: books: the last run failed (login refused saw: \\x1b[31mcaptcha)"
    assert found["spiders"]["books"]["failures_in_a_row"] == 1


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.TIMED_OUT, Outcome.KILLED, Outcome.ABANDONED])
def test_as_many_failures_in_a_row_as_alerts_after_are_failing(tell, ran, outcome):
    ran(1.4)
    for hours in (0.9, 0.6, 0.3):
        ran(hours, outcome, "no")
    found = tell()
    assert found["health"] == found["spiders"]["books"]["health"] == "failing"
    assert found["reasons"][0] == "books: the last 3 runs failed (no)"


def test_more_failures_than_a_snapshot_shows_are_counted_all_the_same(tell, ran):
    ran(40)
    for number in range(25):
        ran(30 - number, Outcome.FAILED, "no")
    books = tell()["spiders"]["books"]
    assert books["failures_in_a_row"] == 25
    assert len(books["recent"]) == 20
    assert books["last_success"] == "2026-11-21T07:18:41+08:00"


def test_a_success_resets_the_failures_in_a_row(tell, ran):
    ran(0.9, Outcome.FAILED, "no")
    ran(0.4)
    assert health(tell()) == "ok"


def test_stopped_and_skipped_runs_are_no_failures(tell, ran, store):
    ran(0.9)
    ran(0.5, Outcome.STOPPED)
    claimed = claim_slot(store, "books", "a", due_at=NOW, reason="schedule", now=NOW)
    start_run(store, claimed.id, owner="me", now=NOW, limit=9)
    claim_slot(store, "books", "b", due_at=NOW, reason="schedule", now=NOW)
    found = tell()
    assert health(found) == "ok"
    assert [run["outcome"] for run in found["spiders"]["books"]["recent"]] == ["stopped", "succeeded"]


def test_a_spider_without_a_success_since_its_slot_and_grace_is_late(tell, ran):
    ran(1.4)
    assert health(tell()) == "ok", "due 24 minutes ago, with half an hour of grace"
    found = tell(now=NOW + timedelta(minutes=10))
    assert health(found) == ("degraded: books: late: a run was due at 2026-11-22T22:52:41+08:00; "
                             "last success: 2026-11-22T21:54:41+08:00")
    assert found["spiders"]["books"]["late"]


def test_a_spider_whose_runs_are_only_stopped_is_not_ok(tell, ran):
    ran(3)
    ran(2, Outcome.STOPPED)
    ran(1, Outcome.STOPPED)
    assert "late" in health(tell())


def test_a_spider_that_never_succeeded_is_late_once_the_service_missed_its_slot(tell):
    assert health(tell(now=STARTED + timedelta(minutes=89))) == "ok"
    assert health(tell(now=STARTED + timedelta(minutes=91))) == (
        "degraded: books: late: a run was due at 2026-11-22T16:00:00+08:00; last success: never")


def test_a_running_run_is_late_only_beyond_its_time_limit(tell, ran, store):
    ran(3)
    claimed = claim_slot(store, "books", "now", due_at=NOW, reason="schedule", now=NOW)
    start_run(store, claimed.id, owner="me", now=NOW, limit=9)
    assert health(tell()) == "ok"
    assert "late" in health(tell(now=NOW + 7 * HOUR))


def test_the_grace_can_be_set(tell, ran, settings):
    ran(1.4)
    settings.__dict__["heartbeat"] = settings.heartbeat.model_copy(update={"late_after": 60.0})
    assert "late" in health(tell())


def test_an_overdue_slot_is_late_without_due_times(tell):
    assert health(tell(next_slots={"books": NOW - timedelta(minutes=59)}, due_after=None)) == "ok"
    assert "late" in health(tell(next_slots={"books": NOW - timedelta(minutes=61)}, due_after=None))
    assert health(tell(due_after=None)) == "ok"


def test_lateness_begins_after_the_grace_and_not_at_it():
    assert late_after(NOW, grace_s=3600) == NOW + HOUR
    assert late_after(NOW, grace_s=3600, time_limit_s=60) == NOW + HOUR + timedelta(minutes=1)


def test_pages_that_were_not_archived_are_a_reason_until_the_next_run(tell, ran):
    run = ran(2, figures={"pages": 5, "archived_pages": 2, "archived_bytes": 1000, "not_archived": 3})
    books = tell()["spiders"]["books"]
    assert (books["health"], books["reasons"][-1]) == ("degraded", f"3 pages of run {run.id} not archived")
    assert books["day"]["progress"]["not_archived"] == 3
    ran(1, figures={"pages": 5, "archived_pages": 5})
    assert not [reason for reason in tell()["spiders"]["books"]["reasons"] if "archived" in reason]


def test_a_suspect_run_is_a_reason(tell, ran, store):
    run = ran(0.2)
    with store.write() as connection:
        connection.execute(update(runs).where(runs.c.id == run.id).values(suspect=True))
    assert health(tell()).startswith("degraded: books: run 1 is suspect")
    ran(0.1, Outcome.STOPPED)
    assert health(tell()).startswith("degraded: books: run 1 is suspect"), "a run that was stopped says nothing about the rules"
    ran(0)
    assert health(tell()) == "ok"


def test_a_running_run_is_shown_with_its_progress(tell, store):
    claimed = claim_slot(store, "gone", "now", due_at=NOW, reason="manual", now=NOW)
    run = start_run(store, claimed.id, owner="me", now=NOW, limit=9)
    report_progress(store, run, Progress(pages=3, waiting=8), now=NOW)
    found = tell(now=NOW + timedelta(seconds=5))
    assert [(run["spider"], run["duration_s"], run["progress"]["pages"], run["progress"]["waiting"])
            for run in found["runs"]] == [("gone", 5, 3, 8)], "of a spider that left the settings, too"


def test_the_last_day_is_summed_by_spider(tell, ran):
    ran(30, figures={"pages": 100})
    ran(3, figures={"pages": 5, "new": 2, "download_bytes": 3_000_000_000})
    ran(2, Outcome.FAILED, "no", figures={"pages": 1})
    ran(1, figures={"pages": 4, "new": 1})
    day = tell()["spiders"]["books"]["day"]
    assert day["runs"] == {"succeeded": 2, "failed": 1}
    assert (day["progress"]["pages"], day["progress"]["new"]) == (10, 3)
    assert day["progress"]["download_bytes"] == 3_000_000_000


def test_mail_that_waits_too_long_or_is_parked_is_a_reason(tell, store):
    mail(store, timedelta(minutes=14), last_error="timed out")
    mail(store, timedelta(minutes=1))
    mail(store, timedelta(days=9), state="sent")
    found = tell(due_after=None)
    assert (found["health"], found["outbox"]) == ("ok", {"waiting": 2, "oldest_age_s": 840, "parked": 0, "last_error": "timed out",
                                                         "refused": 0, "refused_addresses": []})
    mail(store, timedelta(minutes=16))
    mail(store, timedelta(minutes=1), state="parked", last_error="550 no such user")
    assert tell(due_after=None)["reasons"] == [
        "outbox: the oldest message has waited for 16 min (550 no such user)", "outbox: 1 parked message, not sent before a retry is requested; see `pipeline outbox`"]


def test_downloads_that_wait_or_failed_are_counted(tell, store):
    with store.write() as connection:
        for number, state in enumerate(("waiting", "waiting", "failed", "done")):
            connection.execute(insert(downloads).values(spider="books", url=str(number), pass_id=1, state=state,
                                                        requested_at=NOW, headers=[]))
    assert tell()["downloads"] == {"waiting": 2, "failed": 1, "active": []}


def test_active_downloads_are_shown_as_their_run_last_reported_them(tell, store):
    claimed = claim_slot(store, "books", "now", due_at=NOW, reason="schedule", now=NOW)
    run = start_run(store, claimed.id, owner="me", now=NOW, limit=9)
    report_progress(store, run, Progress(), [Transfer("a.pdf", 30, 100, 10.04), Transfer("b.pdf", 5, None, 0.0)], now=NOW)
    books = {"run": run.id, "spider": "books"}
    assert tell()["downloads"]["active"] == [
        books | {"name": "a.pdf", "done_bytes": 30, "total_bytes": 100, "rate_bytes_s": 10.0, "left_s": 7.0},
        books | {"name": "b.pdf", "done_bytes": 5, "total_bytes": None, "rate_bytes_s": 0.0, "left_s": None}]


def test_too_little_free_disk_is_a_reason(tell, settings):
    free = tell()["disk"]["free_bytes"]
    settings.__dict__["pipeline"] = settings.pipeline.model_copy(update={"keep_free": free * 2})
    assert any(reason.startswith("disk: ") and "keep_free" in reason for reason in tell()["reasons"])


def test_a_store_that_cannot_be_read_is_failing(tell, store):
    store.close()
    (store.data_dir / "pipeline.sqlite3").write_bytes(b"this is no database, whatever its name says" * 100)
    for leftover in store.data_dir.glob("pipeline.sqlite3-*"):
        leftover.unlink()
    found = tell()
    assert found["health"] == "failing"
    assert not found["store"]["readable"]
    assert "damaged" in found["reasons"][0]


def test_a_data_dir_that_is_gone_cannot_be_written_and_is_failing(tell, store):
    with store.read():
        store.data_dir.rename(store.data_dir.with_name("elsewhere"))
    found = tell()
    assert found["health"] == "failing"
    assert any("cannot be" in reason for reason in found["reasons"])


def test_no_secret_is_in_any_answer(tell, ran, monkeypatch):
    monkeypatch.setenv("PROXY_PASSWORD", "hidden-word")
    ran(0.2, Outcome.FAILED, "no")
    found = tell()
    assert found["proxies"] == {"office": ["http://127.0.0.1:8118"],
                                "pool": ["http://10.0.0.1:3128", "socks5h://10.0.0.2:1080"]}
    everything = "\n".join(command.answer(found, "books") for command in COMMANDS.values() if isinstance(command, SnapshotCommand))
    for secret in ("s3cret", Secret("env", "PROXY_PASSWORD").reveal(), "user:"):
        assert secret not in everything


def test_instants_are_in_the_zone_of_the_settings(tell, settings):
    assert settings.zone == ZoneInfo("Asia/Shanghai")
    found = tell()
    assert (found["at"], found["started_at"]) == ("2026-11-22T23:16:41+08:00", "2026-11-22T15:00:00+08:00")
    assert found["uptime_s"] == 29801


def test_the_worst_state_wins():
    assert worst([]) == "ok"
    assert worst(["ok", "failing", "degraded"]) == "failing"


def test_the_schema_file_matches_the_types():
    file = Path(schema.__file__).with_name("status.schema.json")
    wanted = json.dumps(json_schema(), indent=2) + "\n"
    if os.environ.get("WRITE_SCHEMA"):
        file.write_text(wanted)
    assert file.read_text() == wanted, "WRITE_SCHEMA=1 writes it; count SCHEMA up if a name went or changed"
    assert SCHEMA == 1


def test_a_snapshot_with_history_equals_one_without_and_misses_no_new_run(tell, ran):
    history = RunHistory()
    for hours_ago, outcome in ((30, Outcome.SUCCEEDED), (20, Outcome.FAILED), (10, Outcome.SUCCEEDED)):
        ran(hours_ago, outcome, "why" if outcome is Outcome.FAILED else "", {"pages": hours_ago})
        for _ in range(2):  # the second finds what the first has read
            assert tell(history=history)["spiders"] == tell()["spiders"]
    books = tell(history=history)["spiders"]["books"]
    assert [run["outcome"] for run in books["recent"]] == ["succeeded", "failed", "succeeded"]
    assert (books["day"]["runs"], books["day"]["progress"]["pages"]) == ({"failed": 1, "succeeded": 1}, 30)
    assert tell(now=NOW + timedelta(days=2), history=history)["spiders"]["books"]["day"]["runs"] == {}


def test_a_run_that_ends_after_the_clock_was_set_back_is_in_the_next_snapshot(tell, ran):
    history = RunHistory()
    ran(1)
    tell(history=history)
    ran(2, Outcome.FAILED, "why")
    assert tell(history=history)["spiders"] == tell()["spiders"]
    assert [run["outcome"] for run in tell(history=history)["spiders"]["books"]["recent"]] == ["succeeded", "failed"]


def test_a_run_in_progress_is_read_once_it_has_ended(store, tell):
    history = RunHistory()
    claimed = claim_slot(store, "books", "one", due_at=NOW, reason="schedule", now=NOW)
    assert tell(history=history)["spiders"]["books"]["recent"] == []
    run = start_run(store, claimed.id, owner="me", now=NOW, limit=9)
    assert tell(history=history)["spiders"]["books"]["running"] == [run.id]
    end_run(store, run, Ending(Outcome.SUCCEEDED, "", complete=True), Progress(pages=7), now=NOW)
    found = tell(history=history)["spiders"]["books"]
    assert ([each["id"] for each in found["recent"]], found["day"]["progress"]["pages"], found["running"]) == ([run.id], 7, [])


def test_a_snapshot_asks_nothing_about_spiders_of_which_no_run_has_ended(store, tell, ran):
    ran(2)
    history = RunHistory()
    asked = []
    event.listen(store.engine, "before_cursor_execute", lambda *call: asked.append(call[2]))
    first, statements = tell(history=history)["spiders"], len(asked)
    asked.clear()
    again = tell(history=history)["spiders"]
    assert len(asked) < statements
    assert not [statement for statement in asked if "runs.spider = ?" in statement]
    assert again["books"] is first["books"]
    ran(1)
    assert tell(history=history)["spiders"]["books"] is not first["books"]


def test_runs_that_retention_has_deleted_leave_the_snapshot(store, tell, ran, monkeypatch):
    history = RunHistory()
    ran(3)
    ran(2)
    tell(history=history)
    with store.write() as connection:
        connection.execute(delete(runs).where(runs.c.id == 1))
    monkeypatch.setattr("pipeline.heartbeat.snapshot.history.READ_AGAIN_S", -1.0)
    for _ in range(2):  # each reads only some of the spiders again
        tell(history=history)
    assert tell(history=history)["spiders"] == tell()["spiders"]


def test_new_settings_mask_runs_that_were_read_before(store, settings, ran):
    ran(1, Outcome.FAILED, "it said hush")
    history = RunHistory()

    def told(settings, mask):
        found = build_snapshot(store, settings, DueTimes({}, STARTED, NOW), version="1", mask=mask, history=history)
        return found["spiders"]["books"]["recent"][0]["error"]

    assert told(settings, str) == "it said hush"
    assert told(load(settings.file), lambda text: text.replace("hush", "***")) == "it said ***"


def test_a_day_with_more_runs_than_are_kept_is_summed_all_the_same(tell, ran, monkeypatch):
    ran(3, figures={"pages": 3})
    ran(2, figures={"pages": 2})
    usual = tell()["spiders"]
    monkeypatch.setattr("pipeline.heartbeat.snapshot.history.MOST_RUNS", 1)
    assert tell()["spiders"] == usual
