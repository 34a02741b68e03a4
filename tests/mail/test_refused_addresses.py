"""An address that the mail server refuses for good is visible until a person has seen it."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from click.testing import CliRunner

from pipeline.cli.doctor_checks import examine
from pipeline.cli.main import main
from pipeline.heartbeat.http.metrics import exposition as metrics
from pipeline.heartbeat.protocols.commands.outbox import outbox as command
from pipeline.heartbeat.snapshot.build import build_snapshot
from pipeline.heartbeat.snapshot.spider_status import DueTimes
from pipeline.model import MessageState, RecipientResult
from pipeline.store.mail import outbox as stored
from pipeline.store.mail.refused_addresses import mark_seen, refused_addresses
from pipeline.store.maintenance import retention
from pipeline.store.maintenance.retention import RetentionRule, RetentionRules
from tests.mail.conftest import NOW

GONE = "gone@example.com"


@pytest.fixture
def deliver(store, enqueue):
    """Delivers a message at a moment to me@example.com and gone@example.com; the reply's code for each, 250 for accepted."""
    def put(number: int, *, me: int = 250, gone: int = 550, at=NOW) -> int:
        message_id = enqueue(to=("me@example.com", GONE), name=str(number), at=at)
        message, = stored.lease(store, owner="me", now=at)
        results = [RecipientResult(address, code == 250, code, "no such user" if code != 250 else "ok")
                   for address, code in (("me@example.com", me), (GONE, gone))]
        stored.record(store, message, results, owner="me", now=at, next_attempt_at=None)
        return message_id

    return put


@pytest.fixture
def pipeline(settings_from, store, tmp_path):
    settings = settings_from()
    assert settings.data_dir == store.data_dir

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(main, [*arguments, "--settings", str(tmp_path / "settings.toml")])
        return result.output or str(result.exception or "")

    return run


def snapshot_of(store, settings):
    return build_snapshot(store, settings, DueTimes({}, NOW, NOW), version="1")


def test_a_refused_address_is_visible_everywhere_until_it_is_marked_as_seen(store, deliver, pipeline, settings_from) -> None:
    settings = settings_from()
    deliver(1)
    deliver(2, at=NOW + timedelta(hours=1))
    found = snapshot_of(store, settings)
    assert (found["health"], found["outbox"]["refused"], found["outbox"]["parked"]) == ("degraded", 1, 0)
    assert found["outbox"]["refused_addresses"] == [{"address": GONE, "messages": 2, "message": 2, "at": "2026-11-22T09:00:00+00:00",
                                                     "reason": "550 no such user"}]
    assert [reason for reason in found["reasons"] if "refused" in reason] == [
        "outbox: 1 address refused for good: gone@example.com (550 no such user); see `pipeline outbox`, and mark as seen with `pipeline outbox seen --all`"]
    assert command(found) == "0 waiting, 0 parked, 1 address refused"
    assert b"pipeline_outbox_refused_addresses 1.0" in metrics(found, "")[0]
    listed = pipeline("outbox")
    assert "refused: 1 address; correct or remove them" in listed
    assert "2  refused  2026-11-22 09:00  gone@example.com  “message 2”  550 no such user  (2 messages)" in listed
    assert "the mail server refused 1 address for good: gone@example.com" in "\n".join(
        finding.found for finding in examine(str(settings.file), now=NOW, connect=False))
    assert pipeline("outbox", "seen", "2") == "marked as seen: gone@example.com\n"
    assert snapshot_of(store, settings)["outbox"]["refused"] == 0
    assert pipeline("outbox") == "no message is waiting or parked, and no address is refused\n"
    deliver(3, at=NOW + timedelta(hours=2))
    assert snapshot_of(store, settings)["outbox"]["refused"] == 1, "a new refusal is visible again"


def test_a_later_accepted_message_does_not_hide_what_was_refused(deliver, pipeline) -> None:
    deliver(1)
    deliver(2, gone=250, at=NOW + timedelta(hours=1))
    found, = json.loads(pipeline("outbox", "list", "--refused", "--json"))
    assert (found["address"], found["message"], found["accepted_again_at"]) == (GONE, 1, "2026-11-22T09:00:00+00:00")
    assert "(accepted again at 2026-11-22 09:00)" in pipeline("outbox", "list", "--refused")


@pytest.mark.parametrize(("arguments", "says", "left"), [
    (["--all"], "marked as seen: gone@example.com, me@example.com\n", []), ([GONE], f"marked as seen: {GONE}\n", ["me@example.com"]),
    (["1"], f"marked as seen: {GONE}\n", ["me@example.com"]), (["3"], "no address was refused for message 3", [GONE, "me@example.com"]),
    ([], "give the number of a message, an address or --all", [GONE, "me@example.com"]),
    (["you@example.com"], "you@example.com was not refused", [GONE, "me@example.com"])])
def test_chosen_addresses_are_marked_as_seen(arguments, says, left, store, deliver, pipeline) -> None:  # noqa: PLR0917  pytest hands them in by name
    deliver(1)
    deliver(2, me=551, gone=250)
    assert says in pipeline("outbox", "seen", *arguments)
    assert sorted(each.address for each in refused_addresses(store)[1]) == left


def test_who_drops_or_retries_a_message_has_seen_its_refusals(store, deliver) -> None:
    for number, action in enumerate((stored.drop, stored.retry), 1):
        parked = deliver(number, me=550, at=NOW + timedelta(days=number))
        assert [each.message_id for each in refused_addresses(store)[1]] == [parked, parked]
        assert action(store, parked, now=NOW)
        assert refused_addresses(store) == (0, [])


def test_a_message_that_was_refused_for_all_is_no_problem_after_it_was_seen(store, deliver, settings_from) -> None:
    settings = settings_from()
    parked = deliver(1, me=550)
    deliver(2, gone=250, at=NOW + timedelta(minutes=1))
    assert len(snapshot_of(store, settings)["reasons"]) == 2
    mark_seen(store, now=NOW)
    assert (snapshot_of(store, settings)["outbox"]["parked"], snapshot_of(store, settings)["reasons"]) == (0, [])
    assert [message.id for message in stored.list_messages(store)] == [parked], "it can still be sent"
    assert stored.retry(store, parked, now=NOW + timedelta(hours=1))
    message, = stored.lease(store, owner="me", now=NOW + timedelta(hours=1))
    again = [RecipientResult(address, False, 550, "no such user") for address in message.recipients]
    stored.record(store, message, again, owner="me", now=NOW + timedelta(hours=1), next_attempt_at=None)
    assert refused_addresses(store)[0] == 2, "a new refusal is visible again"
    mark_seen(store, now=NOW)
    retention.prune(store, RetentionRules(messages=RetentionRule(age=timedelta(days=30))), now=NOW + timedelta(days=100))
    assert stored.list_messages(store) == []


def test_retention_keeps_the_last_refusal_of_an_address_until_it_is_seen(store, deliver, monkeypatch) -> None:
    for number in range(1, 5):
        deliver(number, gone=550 if number < 4 else 250, at=NOW + timedelta(minutes=number))
    old = RetentionRules(messages=RetentionRule(age=timedelta(days=30)))
    retention.prune(store, old, now=NOW + timedelta(days=100))
    kept = [message.id for message in stored.list_messages(store, (MessageState.SENT,))]
    assert kept == [3, 4]
    assert [(each.message_id, each.messages) for each in refused_addresses(store)[1]] == [(3, 1)]
    mark_seen(store, now=NOW)
    retention.prune(store, old, now=NOW + timedelta(days=100))
    assert [message.id for message in stored.list_messages(store, (MessageState.SENT,))] == [4]
