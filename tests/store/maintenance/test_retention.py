"""Tests of deletion by age and count, and of what must stay."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, func, select

from pipeline.cli import data_files
from pipeline.model import (
    PICTURE,
    DraftMessage,
    Item,
    MessageState,
    Outcome,
    Page,
    PagePicture,
    RecipientResult,
    Request,
    Run,
)
from pipeline.settings import load
from pipeline.store import Store
from pipeline.store.crawl import commit, frontier
from pipeline.store.database import schema
from pipeline.store.health import status_queries
from pipeline.store.mail import digests, outbox
from pipeline.store.maintenance import retention
from pipeline.store.maintenance.retention import PruneResult, RetentionRule, RetentionRules
from pipeline.store.runs import runs

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
ALL = RetentionRules(runs=RetentionRule(age=30 * DAY), pages=RetentionRule(age=30 * DAY), messages=RetentionRule(age=30 * DAY), logs=RetentionRule(age=30 * DAY))


@pytest.fixture(autouse=True)
def _few_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "LAST_RUNS", 2)
    monkeypatch.setattr(retention, "BATCH", 3)


def run_at(store: Store, at: datetime, price: int, *, outcome: Outcome = Outcome.SUCCEEDED) -> Run:
    """A whole run that finds one changed item, a page with a log, at a moment of the past."""
    runs.claim_slot(store, "shop", f"{at:%Y-%m-%dT%H:%M}", due_at=at, reason="schedule", now=at)
    run = runs.start_run(store, None, owner="me", now=at, limit=9)
    assert run is not None
    (queued,) = frontier.enqueue(store, run, [Request("http://shop/")])
    page = Page("http://shop/", 200, at, frontier_id=queued.id, items=(Item("one", {"price": price}),),
                file_key=f"pages/shop/{price}-x.html")
    store.files.write(page.file_key, b"<p>")
    os.utime(store.files.path(page.file_key), (at.timestamp(), at.timestamp()))
    done = commit.commit_pages(store, run, [page], now=at)
    store.files.write(f"logs/runs/{run.id}.log", b"log")
    os.utime(store.files.path(f"logs/runs/{run.id}.log"), (at.timestamp(), at.timestamp()))
    return runs.end_run(store, run, runs.Ending(outcome, complete=outcome is Outcome.SUCCEEDED), done.progress, now=at)


def tell(store: Store, at: datetime, *, sent: bool = True, name: str = "d") -> int:
    """The digest of what is untold, sent or still waiting; its id."""
    claim = digests.claim(store, name, ["shop"], f"{at}", owner="me", now=at)
    assert claim is not None
    key = f"messages/{claim.id}-1.eml"
    for kept in (key, key.replace(".eml", ".html"), f"messages/{claim.id}-items.csv"):
        store.files.write(kept, b"mail")
    digests.close(store, claim.id, [DraftMessage(f"<{claim.id}@here>", "News", "me@here", ("a@there",), key, 4)],
                  owner="me", now=at)
    if sent:
        (message,) = outbox.lease(store, owner="me", now=at)
        outbox.record(store, message, [RecipientResult("a@there", accepted=True)], owner="me", now=at, next_attempt_at=None)
    return claim.id


def count(store: Store, table: Table) -> int:
    with store.read() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def files(store: Store, folder: str) -> set[str]:
    return {path.name for path in store.files.path(folder).iterdir()}


def prune(store: Store, rules: RetentionRules = ALL, **other: Any) -> PruneResult:
    return retention.prune(store, rules, now=NOW, **other)


def waiting(rules: RetentionRules = ALL) -> RetentionRules:
    return RetentionRules(rules.runs, rules.pages, rules.messages, rules.logs, {"d": ["shop"]})


def test_old_reported_runs_are_deleted_with_everything_that_belongs_to_them(store: Store) -> None:
    for age in range(100, 40, -10):
        run_at(store, NOW - age * DAY, age)
        tell(store, NOW - age * DAY)
    run_at(store, NOW - DAY, 1)
    last = tell(store, NOW - DAY)
    before = status_queries.last_success
    pruned = prune(store, waiting())
    assert pruned.runs == 5
    assert pruned.messages == 6
    assert [run.id for run in runs.history(store)] == [7, 6]
    assert (count(store, schema.changes), count(store, schema.passes), count(store, schema.slots)) == (2, 2, 2)
    assert (count(store, schema.pages), count(store, schema.frontier)) == (1, 0)
    assert files(store, "messages") == {f"{last}-1.eml", f"{last}-1.html", f"{last}-items.csv", "6-items.csv"}
    assert files(store, "logs/runs") == {"7.log"}
    assert files(store, "pages/shop") == {"1-x.html"}
    with store.read() as connection:
        assert before(connection, "shop") is not None
    assert not prune(store, waiting())


def test_what_a_digest_has_yet_to_report_stays_however_old(store: Store) -> None:
    for age in range(100, 50, -10):
        run_at(store, NOW - age * DAY, age)
    prune(store, waiting())
    assert len(runs.history(store)) == 5
    assert count(store, schema.changes) == 5
    assert len(files(store, "pages/shop")) == 5
    claim = digests.claim(store, "d", ["shop"], "now", owner="me", now=NOW)
    assert claim is not None
    prune(store, waiting())  # it is being rendered
    assert len(list(digests.changes_of(store, claim.run_ids))) == 5
    digests.close(store, claim.id, [], owner="me", now=NOW)
    assert prune(store, waiting()).runs == 3


def test_what_the_outbox_has_yet_to_send_stays_however_old(store: Store) -> None:
    for age in (100, 90, 80, 70):
        run_at(store, NOW - age * DAY, age)
    number = tell(store, NOW - 65 * DAY, sent=False)
    prune(store, waiting())
    assert len(runs.history(store)) == 4
    assert f"{number}-1.eml" in files(store, "messages")
    assert [message.state for message in outbox.list_messages(store)] == [MessageState.WAITING]


def test_the_text_of_a_channel_is_deleted_with_its_message_and_the_unsent_part_of_an_alert_stays(store: Store) -> None:
    drafts = [DraftMessage(f"<{key}@here>", "Alert", "me@here", ("a@there",), f"messages/{key}", 4, channel=channel) for key, channel in (
        ("alert-a1.eml", ""), ("alert-a1-1.json", "env:SLACK_URL"), ("alert-a1.2.eml", ""))]
    for draft in drafts:
        store.files.write(draft.file_key, b"text")
        outbox.enqueue(store, draft, now=NOW - 99 * DAY)
    for channel in ("", "env:SLACK_URL"):
        (sent,) = outbox.lease(store, owner="me", now=NOW - 99 * DAY, channel=channel)
        outbox.record(store, sent, [RecipientResult("a@there", accepted=True)], owner="me", now=NOW - 99 * DAY, next_attempt_at=None)
    assert prune(store, waiting()).messages == 2
    assert files(store, "messages") == {"alert-a1.2.eml"}


def test_a_digest_does_not_report_pruned_runs_again(store: Store) -> None:
    for age in (100, 90, 80, 70):
        run_at(store, NOW - age * DAY, age)
        tell(store, NOW - age * DAY)
    prune(store, waiting())
    assert digests.untold(store, "d", ["shop"]) == []


def test_the_last_success_stays_behind_any_number_of_failures(store: Store) -> None:
    run_at(store, NOW - 100 * DAY, 1)
    for age in range(90, 40, -10):
        run_at(store, NOW - age * DAY, age, outcome=Outcome.FAILED)
    prune(store)
    assert [run.outcome for run in runs.history(store)] == [Outcome.FAILED, Outcome.FAILED, Outcome.SUCCEEDED]


def test_a_pass_that_is_still_open_stays(store: Store) -> None:
    at = NOW - 100 * DAY
    runs.claim_slot(store, "shop", "k", due_at=at, reason="schedule", now=at)
    run = runs.start_run(store, None, owner="me", now=at, limit=9)
    assert run is not None
    frontier.enqueue(store, run, [Request("http://shop/")])
    runs.end_run(store, run, runs.Ending(Outcome.STOPPED, keep_open=True), None, now=at)
    for number in range(3):
        runs.claim_slot(store, "shop", str(number), due_at=at, reason="schedule", now=at)
        again = runs.start_run(store, None, owner="me", now=at, limit=9)
        assert again is not None
        runs.end_run(store, again, runs.Ending(Outcome.STOPPED, keep_open=True), None, now=at)
    prune(store)
    assert len(runs.history(store)) == 4
    assert len(frontier.waiting(store, run.pass_id, limit=9)) == 1


def test_counts_keep_the_newest(store: Store) -> None:
    for number in range(6):
        run_at(store, NOW - timedelta(hours=6 - number), number)
        tell(store, NOW - timedelta(hours=6 - number))
    prune(store, RetentionRules(RetentionRule(count=3), RetentionRule(count=2), RetentionRule(count=1), RetentionRule(count=4), {"d": ["shop"]}))
    assert [run.id for run in runs.history(store)] == [6, 5, 4]
    assert count(store, schema.pages) == 2
    assert len(outbox.list_messages(store, [MessageState.SENT])) == 2  # the newest, and one that the count keeps
    assert files(store, "logs/runs") == {"3.log", "4.log", "5.log", "6.log"}


def test_pruning_can_be_stopped_and_continues_the_next_time(store: Store) -> None:
    for age in range(100, 40, -10):
        run_at(store, NOW - age * DAY, age)
    prune(store, go_on=lambda: False)
    assert len(runs.history(store)) == 6
    prune(store)
    assert len(runs.history(store)) == 2


def test_without_rules_everything_stays(store: Store) -> None:
    for age in range(100, 40, -10):
        run_at(store, NOW - age * DAY, age)
        tell(store, NOW - age * DAY)
    assert not prune(store, RetentionRules())
    assert len(runs.history(store)) == 6


def test_the_prune_command_follows_the_settings_and_says_what_it_deleted(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text('[retention]\nlogs = "30d"\n')
    settings = load(tmp_path / "settings.toml")
    logs = settings.data_dir / "logs" / "runs"
    logs.mkdir(parents=True)
    for number, age in enumerate((1 * DAY, 31 * DAY)):
        (logs / f"{number}.log").touch()
        at = (datetime.now(UTC) - age).timestamp()
        os.utime(logs / f"{number}.log", (at, at))
    assert data_files.prune(settings) == "deleted 1 files"
    assert [path.name for path in logs.iterdir()] == ["0.log"]
    assert data_files.prune(settings) == "nothing to delete: [retention] keeps everything that is stored"


def test_the_picture_that_the_next_one_is_compared_with_stays_however_old_it_is(store: Store) -> None:
    def found(picture: PagePicture, at: datetime) -> None:
        runs.claim_slot(store, "shop", f"{at:%Y-%m-%dT%H:%M}", due_at=at, reason="schedule", now=at)
        run = runs.start_run(store, None, owner="me", now=at, limit=9)
        assert run is not None
        store.files.write(picture.file, b"png")
        os.utime(store.files.path(picture.file), (at.timestamp(), at.timestamp()))
        done = commit.commit_pages(store, run, [Page("http://shop/", 200, at, items=(Item("one", {PICTURE: picture.as_json()}),))], now=at)
        runs.end_run(store, run, runs.Ending(Outcome.SUCCEEDED, complete=True), done.progress, now=at)

    found(PagePicture("screenshots/shop/1.png", 1, 1), NOW - 90 * DAY)
    tell(store, NOW - 90 * DAY)
    found(PagePicture("screenshots/shop/2.png", 1, 1, "screenshots/shop/1.png", 0.5), NOW - 80 * DAY)
    store.files.write("screenshots/shop/orphan.png", b"png")  # its process was killed before the page was committed
    os.utime(store.files.path("screenshots/shop/orphan.png"), (0, (NOW - 60 * DAY).timestamp()))
    prune(store, waiting())
    assert files(store, "screenshots/shop") == {"1.png", "2.png"}  # the digest has yet to show both
    tell(store, NOW - 80 * DAY)
    prune(store, waiting())
    assert files(store, "screenshots/shop") == {"2.png"}
    assert not prune(store, waiting())
