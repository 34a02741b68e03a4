"""Tests of the SMTP transport with a real server that refuses, hangs up or is silent at each step."""

from __future__ import annotations

import base64
import gc
import io
import smtplib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import MailError, UsageError
from pipeline.mail.transports.smtp import SmtpTransport, dot_stuffed
from pipeline.mail.transports.smtp_server import SmtpCredentials, server_of
from pipeline.settings import MailTable
from tests.mail.conftest import PLAIN
from tests.servers.smtp import Fault, SmtpServer


@pytest.fixture
def body(tmp_path: Path) -> Path:
    path = tmp_path / "message.eml"
    path.write_bytes(PLAIN)
    return path


def plain(server: SmtpServer, **options: Any) -> SmtpTransport:
    return SmtpTransport("127.0.0.1", server.port, security="none", **{"timeout_s": 5.0, **options})


def test_a_message_arrives_byte_for_byte_dots_included(body, message_to) -> None:
    with SmtpServer() as server:
        transport = plain(server)
        results = transport.deliver(message_to("a@example.com", "b@example.com"), body)
        transport.close()
        got, = server.wait_for(1)
    assert got.content == PLAIN
    assert got.recipients == ("a@example.com", "b@example.com")
    assert [(r.address, r.accepted, r.code) for r in results] == [
        ("a@example.com", True, 250), ("b@example.com", True, 250)]
    assert f"SIZE={len(PLAIN)}" in got.options


def test_many_messages_share_one_connection(body, message_to) -> None:
    with SmtpServer() as server:
        transport = plain(server)
        for _ in range(5):
            transport.deliver(message_to("a@example.com"), body)
        transport.close()
        server.wait_for(5)
    assert server.connections == 1


def test_a_connection_the_server_closed_meanwhile_is_opened_again(body, message_to) -> None:
    with SmtpServer() as server:
        transport = plain(server)
        transport.deliver(message_to("a@example.com"), body)
        port = server.port
    with SmtpServer(port=port) as server:
        transport.deliver(message_to("a@example.com"), body)
        transport.close()
        server.wait_for(1)


@pytest.mark.parametrize(("security", "implicit"), [("starttls", False), ("tls", True)])
def test_tls_with_a_login_and_a_verified_certificate(security, implicit, authority, body, message_to) -> None:
    with SmtpServer(users={"me": "s3cret pass"}, tls=authority.context(), implicit=implicit) as server:
        transport = SmtpTransport("127.0.0.1", server.port, security=security, credentials=SmtpCredentials("me", password=lambda: "s3cret pass"), ca_file=str(authority.ca_file), timeout_s=5)
        assert transport.deliver(message_to("a@example.com"), body)[0].accepted
        transport.close()
        assert server.wait_for(1)[0].content == PLAIN
    assert server.logins == ["me"]  # and not me@gmail.com


@pytest.mark.parametrize(("security", "implicit"), [("starttls", False), ("tls", True)])
@pytest.mark.parametrize(("how", "why"), [
    ({"expired": True}, "expired"), ({"host": "other.example"}, "mismatch"), (None, "self-signed|unable to get")])
def test_an_untrusted_certificate_stops_the_delivery(  # noqa: PLR0917  pytest hands them in by name
        security, implicit, how, why, authority, body, message_to) -> None:
    with SmtpServer(tls=authority.context(**(how or {})), implicit=implicit) as server:
        transport = SmtpTransport("127.0.0.1", server.port, security=security, timeout_s=5,
                                  ca_file=str(authority.ca_file) if how else None)
        with pytest.raises(MailError, match=f"certificate is not trusted: .*({why}).*ca_file") as caught:
            transport.deliver(message_to("a@example.com"), body)
    assert caught.value.retry
    assert not server.received


@pytest.mark.parametrize(("user", "password"), [("me", "pässwörd"), ("用户", "secret"), ("me", "пароль€")])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_a_login_outside_ascii_is_sent_as_utf8_and_never_shown(  # noqa: PLR0917  pytest hands them in by name
        mechanism, user, password, authority, body, message_to) -> None:
    heard = io.StringIO()
    with SmtpServer(users={user: password}, tls=authority.context(), implicit=True) as server:
        if mechanism == "LOGIN":
            server.faults.append(Fault("AUTH", "504 5.5.4 not this one", times=1))
        transport = SmtpTransport("127.0.0.1", server.port, security="tls", credentials=SmtpCredentials(user, password=lambda: password),
                                  ca_file=str(authority.ca_file), timeout_s=5, dialogue=heard)
        assert transport.deliver(message_to("a@example.com"), body)[0].accepted
        transport.close()
    assert server.logins == [user]
    assert password not in heard.getvalue()
    assert base64.b64encode(password.encode()).decode() not in heard.getvalue()


def test_a_wrong_password_is_reported_and_not_shown(authority, body, message_to) -> None:
    with SmtpServer(users={"me": "right"}, tls=authority.context(), implicit=True) as server:
        transport = SmtpTransport("127.0.0.1", server.port, security="tls", credentials=SmtpCredentials("me", password=lambda: "wr0ng!"),
                                  ca_file=str(authority.ca_file), timeout_s=5)
        with pytest.raises(MailError, match=r"refused the password of 'me': 535.*app password") as caught:
            transport.deliver(message_to("a@example.com"), body)
    assert caught.value.retry  # it passes once the password is corrected: nothing is lost
    assert "wr0ng!" not in str(caught.value)


def test_nothing_is_sent_on_a_connection_that_was_dropped(body, message_to) -> None:
    heard = io.StringIO()
    with SmtpServer() as server:
        server.faults.append(Fault("MAIL", "421 4.3.2 going down"))
        transport = plain(server, dialogue=heard)
        with pytest.raises(MailError, match="ended the SMTP session"):
            transport.deliver(message_to("a@example.com"), body)
        gc.collect()
    assert "S: 421 4.3.2 going down" in heard.getvalue()
    assert "quit" not in heard.getvalue().lower()


def test_a_required_login_that_is_not_set_is_reported(body, message_to) -> None:
    with SmtpServer(users={"me": "right"}) as server, pytest.raises(MailError, match=r"requires a login.*set `user` and `password`"):
        plain(server).deliver(message_to("a@example.com"), body)


def test_a_missing_password_variable_keeps_the_message_waiting(body, message_to) -> None:
    def missing() -> str:
        raise UsageError("the environment variable X is not set", fix="set it")

    with SmtpServer() as server, pytest.raises(MailError, match=r"the password cannot be read: .*X is not set; set it") as caught:
        plain(server, credentials=SmtpCredentials("me", password=missing)).deliver(message_to("a@example.com"), body)
    assert caught.value.retry


def test_without_an_offer_of_starttls_delivery_fails(body, message_to) -> None:
    with SmtpServer() as server, pytest.raises(MailError, match=r"does not offer STARTTLS"):
        SmtpTransport("127.0.0.1", server.port, security="starttls", timeout_s=5).deliver(
            message_to("a@example.com"), body)
    assert not server.received


def test_tls_to_a_plain_port_says_that_port_and_security_do_not_match(body, message_to) -> None:
    with SmtpServer() as server, pytest.raises(MailError, match=r"TLS failed.*correct `port` and `security`"):
        SmtpTransport("127.0.0.1", server.port, security="tls", timeout_s=5).deliver(message_to("a@example.com"), body)


def test_a_server_that_is_down_is_reported_with_its_address(body, message_to) -> None:
    with SmtpServer() as server:
        pass
    with pytest.raises(MailError, match=rf"^127\.0\.0\.1:{server.port}: connection refused; check") as caught:
        plain(server).deliver(message_to("a@example.com"), body)
    assert caught.value.retry


def test_each_recipient_has_its_own_result(body, message_to) -> None:
    with SmtpServer() as server:
        server.faults += [Fault("RCPT", "450 4.2.1 greylisted", address="grey@example.com"),
                          Fault("RCPT", "550 5.1.1 no such user", address="gone@example.com")]
        transport = plain(server)
        results = transport.deliver(message_to("me@example.com", "grey@example.com", "gone@example.com"), body)
        transport.close()
        got, = server.wait_for(1)
    assert got.recipients == ("me@example.com",)
    assert [(r.accepted, r.retry, r.code) for r in results] == [(True, False, 250), (False, True, 450),
                                                                (False, False, 550)]
    assert results[2].text == "5.1.1 no such user"


def test_after_refusals_of_all_recipients_the_connection_serves_the_next_message(body, message_to) -> None:
    with SmtpServer() as server:
        server.faults.append(Fault("RCPT", "550 no", times=1))
        transport = plain(server)
        assert not transport.deliver(message_to("gone@example.com"), body)[0].accepted
        assert transport.deliver(message_to("me@example.com"), body)[0].accepted
        transport.close()
    assert server.connections == 1


def test_a_lost_reply_to_the_whole_message_is_reported_as_such(body, message_to) -> None:
    with SmtpServer() as server:
        server.faults.append(Fault("END", hang_up=True, keep=True))
        with pytest.raises(MailError, match=r"received the whole message, but its reply was lost.*same Message-ID") as caught:
            plain(server).deliver(message_to("a@example.com"), body)
    assert caught.value.retry
    assert len(server.received) == 1


def test_a_message_larger_than_the_server_accepts_is_not_sent(tmp_path, message_to) -> None:
    big = tmp_path / "big.eml"
    big.write_bytes(b"Subject: big\r\n\r\n" + b"x" * 70 + b"\r\n" * 3000)
    with SmtpServer(max_bytes=2000) as server:
        transport = plain(server)
        result, = transport.deliver(message_to("a@example.com"), big)
        transport.close()
    assert (result.accepted, result.retry, result.code) == (False, False, 552)
    assert "the message has 6.1 kB, but the server accepts at most 2.0 kB; decrease `attach_limit`" in result.text


def test_an_address_outside_ascii_needs_a_server_that_knows_smtputf8(body, message_to) -> None:
    with SmtpServer(utf8=False) as server:
        transport = plain(server)
        result, = transport.deliver(message_to("用户@example.com"), body)
        transport.close()
        assert "SMTPUTF8" in result.text
        assert not result.retry
    with SmtpServer() as server:
        transport = plain(server)
        result, = transport.deliver(message_to("用户@example.com"), body)
        transport.close()
        assert result.accepted
        assert server.wait_for(1)[0].recipients == ("用户@example.com",)


@pytest.mark.parametrize("address", ["a@example.com>\r\nRCPT TO:<b@example.com", "a\n@example.com"])
def test_an_address_with_a_line_end_reaches_nobody(address, body, message_to) -> None:
    with SmtpServer() as server:
        transport = plain(server)
        result, = transport.deliver(message_to(address), body)
        transport.close()
    assert not result.accepted
    assert not server.received


def test_a_message_without_its_file_is_not_tried_again(tmp_path, message_to) -> None:
    with SmtpServer() as server, pytest.raises(MailError, match=r"the file of the message cannot be read: No such file") as caught:
        plain(server).deliver(message_to("a@example.com"), tmp_path / "none.eml")
    assert not caught.value.retry


@pytest.mark.parametrize("mechanisms", ["PLAIN", "LOGIN"])
def test_the_dialogue_shows_everything_but_the_secrets(mechanisms, authority, body, message_to, monkeypatch) -> None:
    heard = io.StringIO()
    with SmtpServer(users={"me@example.com": "s3cret"}, tls=authority.context()) as server:
        if mechanisms == "LOGIN":
            server.faults.append(Fault("AUTH", "504 5.5.4 not this one", times=1))  # smtplib goes on with LOGIN
        transport = SmtpTransport("127.0.0.1", server.port, security="starttls", credentials=SmtpCredentials("me@example.com", password=lambda: "s3cret"), ca_file=str(authority.ca_file), timeout_s=5, dialogue=heard)
        transport.deliver(message_to("a@example.com"), body)
        transport.close()
        gc.collect()  # yagmail's client sends QUIT when it is deleted, unless the connection was closed
    said = heard.getvalue()
    assert said.lower().count("c: quit") == 1
    assert "C: MAIL FROM:<pipeline@example.com>" in said.replace("mail FROM", "MAIL FROM")
    assert "S: 250 2.0.0 Queued" in said or "S: 250" in said
    assert f"AUTH {mechanisms}" in said
    for secret in ("s3cret", base64.b64encode(b"s3cret").decode(), base64.b64encode(b"me@example.com").decode(),
                   base64.b64encode(b"\0me@example.com\0s3cret").decode()):
        assert secret not in said
    assert server.logins == ["me@example.com"]


@given(st.lists(st.binary(max_size=12) | st.sampled_from([b".", b"\r", b"\n", b"\r\n", b"\r\n.\r\n"]), max_size=8))
def test_dot_stuffing_in_chunks_equals_that_of_smtplib(chunks) -> None:
    whole = b"".join(chunks)
    text = smtplib._fix_eols(whole.decode("latin-1")).encode("latin-1")
    expected = smtplib._quote_periods(text)
    if expected and not expected.endswith(b"\r\n"):
        expected += b"\r\n"
    assert b"".join(dot_stuffed(chunks)) == expected


@pytest.mark.parametrize(("table", "expected"), [
    ({"provider": "qq"}, ("smtp.qq.com", 465, "tls")),
    ({"provider": "qq", "port": 587}, ("smtp.qq.com", 587, "starttls")),
    ({"host": "m"}, ("m", 465, "tls")),
    ({"host": "m", "port": 587}, ("m", 587, "starttls")),
    ({"host": "m", "port": 25}, ("m", 25, "starttls")),
    ({"host": "m", "security": "none"}, ("m", 25, "none")),
    ({"host": "m", "security": "starttls"}, ("m", 587, "starttls")),
    ({"host": "m", "port": 2465}, ("m", 2465, "tls")),
])
def test_port_and_security_follow_from_each_other_and_plain_text_must_be_set(table, expected) -> None:
    assert server_of(MailTable.model_validate({"from": "a@b.c", **table})) == expected
