"""`pipeline digest NAME --again` and `--send --since`: what was reported is sent again on request."""

from __future__ import annotations

import email
from datetime import UTC, datetime, timedelta
from email.policy import default

import pytest
from click.testing import CliRunner

from pipeline.cli.deliveries import send_digest
from pipeline.cli.main import main
from pipeline.mail.digests.build import build
from pipeline.model import Again, MessageState
from pipeline.store.mail import digests
from pipeline.store.mail import outbox as stored
from pipeline.store.maintenance import retention
from pipeline.store.maintenance.retention import RetentionRule, RetentionRules
from tests.mail.conftest import NOW, text_of
from tests.servers.smtp import Fault, SmtpServer

FIRST, SECOND, THIRD = ({"title": title} for title in ("First", "Second", "Third"))


@pytest.fixture
def digest(settings_from, store, tmp_path):
    settings_from(to='["me@example.com"]', digest='attach = ["csv"]\n[[digests.morning.groups]]\nto = ["You <you@example.com>"]\nindividually = true\n')

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(main, ["digest", "morning", *arguments, "--settings", str(tmp_path / "settings.toml")])
        assert result.exit_code == (2 if result.stdout == "" else 0), result.output
        return result.output + str(result.exception or "")

    return run


def sent(store) -> list[tuple[str, str, str]]:
    """The recipient, the subject and the text of each mail that was sent, in the order of their messages."""
    found = []
    for message in stored.list_messages(store, (MessageState.SENT,)):
        mail = email.message_from_bytes(store.files.path(message.file_key).read_bytes(), policy=default)
        found.append((str(mail["To"]), str(mail["Subject"]), text_of(mail)))
    return found


def test_the_last_digest_is_sent_again_without_touching_what_is_unreported(store, site, digest) -> None:
    site.run({"1": FIRST})
    digest("--send")
    site.run({"1": FIRST, "2": SECOND})
    assert "(sent again)" in digest("--again")
    first, again = [mail for mail in sent(store) if mail[0] == "me@example.com"]
    assert again[1] == f"{first[1]} (sent again)"
    assert "Sent again on request" in again[2]
    assert "First" in again[2]
    assert "Second" not in again[2]
    digest("--send")
    assert [("Second" in text, "First" in text) for to, _, text in sent(store) if to == "me@example.com"][-1] == (True, False)
    ids = [message.message_id for message in stored.list_messages(store, (MessageState.SENT,))]
    assert len(set(ids)) == len(ids) == 6


def test_one_recipient_gets_the_last_digest_again(store, site, digest) -> None:
    site.run({"1": FIRST})
    digest("--send")
    digest("--again", "--to", "you@example.com")
    assert [to for to, _, _ in sent(store)] == ["me@example.com", "You <you@example.com>", "You <you@example.com>"]


def test_all_runs_since_a_time_are_reported_again(store, site, digest) -> None:
    site.run({"1": FIRST})
    digest("--send")
    since = site.at + timedelta(seconds=30)
    site.run({"1": FIRST, "2": SECOND})
    digest("--send")
    site.run({"1": FIRST, "2": SECOND, "3": THIRD})
    digest("--send", "--since", f"{since:%Y-%m-%dT%H:%M:%S}", "--to", "me@example.com")
    _, subject, text = sent(store)[-1]
    assert ("First" in text, "Second" in text, "Third" in text) == (False, True, True)
    assert subject.endswith("(sent again)")
    digest("--send")
    assert "Third" in sent(store)[-1][2], "what was not reported before is still reported to all"


@pytest.mark.parametrize(("arguments", "says"), [
    (["--again"], "no sent digest of this name is stored"), (["--send", "--since", "2030-01-01"], "has ended since 2030-01-01 00:00 UTC"),
    (["--again", "--since", "2026-01-01"], "--since has no effect"), (["--again", "--send"], "give one of"),
    (["--send", "--to", "me@example.com"], "--to can be used only with"), (["--again", "--to", "mee@example.com"], "did you mean 'me@example.com'")])
def test_a_request_that_cannot_be_met_says_why(arguments, says, site, digest) -> None:
    site.run({"1": FIRST})
    assert says in digest(*arguments)


def test_a_request_whose_process_was_killed_is_built_later_once(store, site, settings_from) -> None:
    settings = settings_from(to='["me@example.com", "you@example.com"]')
    run = site.run({"1": FIRST})
    send_digest(store, settings, "morning", say=lambda line: None)
    digests.claim_again(store, "morning", Again((run.id,), ("you@example.com",)), owner="a process that was killed", now=NOW - timedelta(days=1))
    assert digests.unfinished(store) == ["morning"], "the service builds it"
    for _ in range(2):
        send_digest(store, settings, "morning", say=lambda line: None)
    assert [(to, subject[-12:] == "(sent again)") for to, subject, _ in sent(store)] == [
        ("me@example.com, you@example.com", False), ("you@example.com", True)]


def test_the_text_for_a_channel_says_that_it_was_sent_again(store, site, settings_from) -> None:
    run = site.run({"1": FIRST})
    claim = digests.claim_again(store, "morning", Again((run.id,)), owner="me", now=NOW)
    build(store, settings_from(digest='notify = [{ env = "A_CHANNEL" }]'), claim, owner="me", now=NOW)
    assert [message.subject for message in stored.list_messages(store, (MessageState.WAITING,))] == ["New: First (sent again)"] * 2


def test_a_digest_that_is_sent_again_is_built_with_less_if_it_is_refused(store, site, settings_from, tmp_path) -> None:
    site.run({"1": FIRST})
    with SmtpServer() as server:
        settings = settings_from(mail=f'host = "127.0.0.1"\nport = {server.port}\nsecurity = "none"\n', digest='attach = ["csv"]')
        send_digest(store, settings, "morning", say=lambda line: None)
        server.faults.append(Fault("END", "554 5.7.1 content refused", times=1))
        CliRunner().invoke(main, ["digest", "morning", "--again", "--settings", str(tmp_path / "settings.toml")], catch_exceptions=False)
    _, again = sent(store)
    assert again[1].endswith("(sent again)")
    assert "mail server refused the whole digest" in again[2]
    assert digests.last_sent(store, "morning")[1] == (1,), "the digest itself, not the request"


def test_retention_keeps_the_runs_of_a_request_that_is_not_built_yet(store, site, monkeypatch) -> None:
    monkeypatch.setattr(retention, "LAST_RUNS", 1)
    run_ids = [site.run({str(number): FIRST}).id for number in range(4)]
    digests.claim_again(store, "morning", Again((run_ids[0],)), owner="me", now=NOW)
    retention.prune(store, RetentionRules(runs=RetentionRule(age=timedelta(days=1))), now=datetime(2027, 3, 1, tzinfo=UTC))
    assert run_ids[0] in [run.id for run in digests.runs_of(store, run_ids)]
    assert run_ids[1] not in [run.id for run in digests.runs_of(store, run_ids)]
