"""Tests of delivery through a program, tokens from a program, and `per_hour`."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from pipeline.errors import MailError, SettingsError
from pipeline.mail.outbox import RetryPolicy, deliver_due, next_free_at
from pipeline.mail.transports import open_transport
from pipeline.mail.transports.maildir import MaildirTransport
from pipeline.mail.transports.sendmail import SendmailTransport, token_from_command
from pipeline.mail.transports.smtp import SmtpTransport
from pipeline.mail.transports.smtp_server import SmtpCredentials
from pipeline.model import MessageState
from pipeline.store.mail import outbox as stored
from tests.mail.conftest import PLAIN
from tests.servers.smtp import Fault, SmtpServer

SENDMAIL = """
import sys, pathlib
here = pathlib.Path(sys.argv[1])
(here / "arguments").write_text("\\n".join(sys.argv[2:]))
(here / "body").write_bytes(sys.stdin.buffer.read())
print("said \\x1b[31m something")
sys.exit(int((here / "code").read_text()))
"""


@pytest.fixture
def sendmail(tmp_path: Path):
    (tmp_path / "sendmail.py").write_text(SENDMAIL)

    def made(code: int = 0) -> SendmailTransport:
        (tmp_path / "code").write_text(str(code))
        return SendmailTransport([sys.executable, str(tmp_path / "sendmail.py"), str(tmp_path)], timeout_s=20)

    return made


@pytest.fixture
def body(tmp_path: Path) -> Path:
    path = tmp_path / "message.eml"
    path.write_bytes(PLAIN)
    return path


def test_a_command_gets_sender_recipients_and_the_message_with_unix_line_ends(sendmail, body, message_to, tmp_path) -> None:
    results = sendmail().deliver(message_to("a@example.com", "-oQ/tmp@example.com", "b;touch x@example.com"), body)
    assert {r.address: r.accepted for r in results} == {
        "a@example.com": True, "-oQ/tmp@example.com": False, "b;touch x@example.com": False}
    assert (tmp_path / "arguments").read_text().split("\n") == ["-i", "-f", "pipeline@example.com", "--", "a@example.com"]
    assert (tmp_path / "body").read_bytes() == PLAIN.replace(b"\r\n", b"\n")


def test_the_exit_code_of_a_command_decides_about_a_retry(sendmail, body, message_to) -> None:
    refused, = sendmail(67).deliver(message_to("a@example.com"), body)
    assert (refused.accepted, refused.retry) == (False, False)
    assert refused.text == "no such user (exit code 67: said \ufffd[31m something)"
    for code in (75, 64, 1):
        with pytest.raises(MailError, match=f"ended with exit code {code}") as caught:
            sendmail(code).deliver(message_to("a@example.com"), body)
        assert caught.value.retry


def test_a_command_that_hangs_without_reading_is_ended(message_to, tmp_path) -> None:
    large = tmp_path / "large.eml"
    large.write_bytes(PLAIN + b"x" * 1_000_000)
    transport = SendmailTransport(["sh", "-c", "sleep 1000"], timeout_s=0.2)
    with pytest.raises(MailError, match=r"sh: the program did not end within 0\.2 s"):
        transport.deliver(message_to("a@example.com"), large)


def test_a_missing_command_is_reported_by_check_and_while_sending(body, message_to) -> None:
    transport = SendmailTransport(["/nowhere/sendmail"])
    for ask in (transport.connect, lambda: transport.deliver(message_to("a@example.com"), body)):
        with pytest.raises(MailError, match="sendmail: the program does not exist"):
            ask()


def test_the_settings_choose_the_command(settings_from, tmp_path) -> None:
    assert isinstance(open_transport(settings_from(mail='command = ["sendmail"]'), tmp_path).inner, SendmailTransport)
    with pytest.raises(SettingsError, match="give either `host` or `command`, not both"):
        settings_from(mail='command = ["sendmail"]\nhost = "x"')
    with pytest.raises(SettingsError, match="give either `password` or `token_command`, not both"):
        settings_from(mail='host = "x"\nuser = "me"\ntoken_command = ["x"]\npassword = { env = "X" }')


def test_a_token_is_the_first_line_a_command_prints(tmp_path) -> None:
    script = tmp_path / "token.sh"
    script.write_text("#!/bin/sh\necho ya29.secret\necho other >&2\n")
    script.chmod(0o700)
    assert token_from_command([str(script)]) == "ya29.secret"


@pytest.mark.parametrize(("command", "says"), [
    (["false"], "ended with exit code 1"), (["true"], "printed no token"), (["echo", "two words"], "printed no token"),
    (["sleep", "1000"], r"printed no token within 0\.2 s"), (["/nowhere"], "the program does not exist")])
def test_a_failing_token_command_is_reported_without_its_output(command, says) -> None:
    with pytest.raises(MailError, match=says) as caught:
        token_from_command(command, timeout_s=0.2 if command[0] == "sleep" else 10)
    assert "two words" not in str(caught.value)


def test_a_token_logs_in_and_is_never_shown(authority, body, message_to) -> None:
    with SmtpServer(tls=authority.context(), implicit=True, tokens={"me@example.com": "good-token"}) as server:
        dialogue = io.StringIO()

        def transport(token: str) -> SmtpTransport:
            return SmtpTransport("127.0.0.1", server.port, security="tls", credentials=SmtpCredentials("me@example.com", token=lambda: token),
                                 ca_file=str(authority.ca_file), timeout_s=5, dialogue=dialogue)

        good = transport("good-token")
        assert good.deliver(message_to("a@example.com"), body)[0].accepted
        good.close()
        with pytest.raises(MailError, match=r"refused the token of 'me@example\.com': 535") as caught:
            transport("stale-token").deliver(message_to("a@example.com"), body)
        assert caught.value.retry
    said = dialogue.getvalue()
    assert "AUTH XOAUTH2 ********" in said
    import base64

    for token in ("good-token", "stale-token"):
        secret = f"user=me@example.com\x01auth=Bearer {token}\x01\x01"
        assert token not in said
        assert base64.b64encode(secret.encode()).decode() not in said


def test_a_server_without_xoauth2_is_reported(authority, body, message_to) -> None:
    with SmtpServer(users={"me": "x"}, tls=authority.context(), implicit=True) as server:
        transport = SmtpTransport("127.0.0.1", server.port, security="tls", credentials=SmtpCredentials("me", token=lambda: "t"),
                                  ca_file=str(authority.ca_file), timeout_s=5)
        with pytest.raises(MailError, match="does not offer OAuth2 logins"):
            transport.deliver(message_to("a@example.com"), body)


def test_at_most_per_hour_messages_are_sent_in_any_hour(store, enqueue, clock) -> None:
    for number in range(5):
        enqueue(name=str(number))
    transport = MaildirTransport(store.data_dir / "mail")

    def deliver() -> int:
        return len(deliver_due(store, transport, owner=store.owner, now=clock, policy=RetryPolicy(1e6, per_hour=2)))

    assert deliver() == 2
    clock.forward(minutes=30)
    assert deliver() == 0
    assert next_free_at(store, 2, clock()) is not None
    clock.forward(minutes=31)
    assert deliver() == 2
    clock.forward(minutes=61)
    assert deliver() == 1
    assert stored.list_messages(store) == []


def test_greylisting_defers_and_then_accepts(store, enqueue, clock) -> None:
    enqueue(to=("a@example.com", "b@example.com"))
    with SmtpServer() as server:
        server.faults += [Fault("RCPT", "450 4.2.0 Greylisted, see http://postgrey.schweikert.ch/", times=2)]
        transport = SmtpTransport("127.0.0.1", server.port, security="none", timeout_s=5)
        first, = deliver_due(store, transport, owner="me", now=clock, policy=RetryPolicy(1e6))
        assert (first.state, first.waiting) == (MessageState.WAITING, 2)
        assert "450 4.2.0 Greylisted" in stored.list_messages(store)[0].last_error
        clock.forward(minutes=5)
        second, = deliver_due(store, transport, owner="me", now=clock, policy=RetryPolicy(1e6))
        transport.close()
        assert second.state is MessageState.SENT
        assert [got.recipients for got in server.wait_for(1)] == [("a@example.com", "b@example.com")]


def test_a_slow_server_is_waited_for(store, enqueue, clock) -> None:
    enqueue(to=("a@example.com", "b@example.com"))
    with SmtpServer(delay_s=0.4) as server:
        transport = SmtpTransport("127.0.0.1", server.port, security="none", timeout_s=5)
        attempt, = deliver_due(store, transport, owner="me", now=clock, policy=RetryPolicy(1e6))
        transport.close()
        assert attempt.state is MessageState.SENT
        assert len(server.wait_for(1)) == 1


def test_a_server_too_slow_for_the_timeout_is_tried_again(store, enqueue, clock) -> None:
    enqueue()
    with SmtpServer(delay_s=2) as server:
        transport = SmtpTransport("127.0.0.1", server.port, security="none", timeout_s=0.2)
        attempt, = deliver_due(store, transport, owner="me", now=clock, policy=RetryPolicy(1e6))
    assert attempt.unreachable
    assert "no reply within 0.2 s while sending" in str(attempt)
    assert stored.list_messages(store, (MessageState.WAITING,)) != []
