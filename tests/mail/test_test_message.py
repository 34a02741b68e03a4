"""`pipeline mail test` and the choice of a transport, from settings as a user writes them."""

from __future__ import annotations

import io

import pytest

from pipeline.errors import SettingsError
from pipeline.mail.test_message import compose_test, send_test
from pipeline.mail.transports import open_transport
from pipeline.mail.transports.maildir import MaildirTransport
from tests.mail.conftest import NOW
from tests.servers.smtp import SmtpServer


def test_a_test_message_goes_through_the_server_of_the_settings(settings_from, authority, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MAIL_PASSWORD", "s3cret")
    heard = io.StringIO()
    with SmtpServer(users={"me": "s3cret"}, tls=authority.context()) as server:
        settings = settings_from(mail=f'host = "127.0.0.1"\nport = {server.port}\nsecurity = "starttls"\nuser = "me"\n'
                                      f'password = {{ env = "MAIL_PASSWORD" }}\nca_file = "{authority.ca_file!s}"')
        result, _ = send_test(settings, tmp_path, "Me <me@example.com>", now=NOW, dialogue=heard)
        got, = server.wait_for(1)
    assert result.accepted
    assert b"Subject: Test message of the pipeline\r\n" in got.content
    assert b"Auto-Submitted: auto-generated\r\n" in got.content
    assert "C: STARTTLS" in heard.getvalue()
    assert "s3cret" not in heard.getvalue()


def test_two_test_messages_have_different_message_ids(settings_from) -> None:
    settings = settings_from()
    assert compose_test(settings, "a@example.com", NOW)["Message-ID"] != \
        compose_test(settings, "a@example.com", NOW)["Message-ID"]


def test_without_a_host_it_is_a_maildir_in_data_dir(settings_from, tmp_path) -> None:
    assert isinstance(open_transport(settings_from(), tmp_path).inner, MaildirTransport)
    send_test(settings_from(), tmp_path, "me@example.com", now=NOW)
    assert len(list((tmp_path / "mail" / "new").iterdir())) == 1


def test_an_unknown_provider_is_an_error_that_lists_the_known_ones(settings_from) -> None:
    with pytest.raises(SettingsError, match=r"no provider named 'gmial' \(did you mean 'gmail'\?\); known: 126, 163"):
        settings_from(mail='provider = "gmial"')
