"""Tests of OAuth2: consent, refresh token, access token, and the login at a mail server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import pytest

from pipeline.errors import MailError, SettingsError, UsageError
from pipeline.mail.transports import open_transport
from pipeline.mail.transports.oauth2 import access_token, log_in
from pipeline.settings import Settings
from tests.mail.conftest import PLAIN
from tests.servers.smtp import SmtpServer
from tests.servers.tokens import TokenServer


@pytest.fixture
def tokens() -> Iterator[TokenServer]:
    with TokenServer() as server:
        yield server


@pytest.fixture
def settings(settings_from, tokens, tmp_path) -> Callable[..., Settings]:
    def made(mail: str = 'host = "127.0.0.1"', *, refresh: str | None = None, url: str = "") -> Settings:
        (tmp_path / "app-secret").write_text(tokens.secret)
        if refresh is not None:
            (tmp_path / "mail-token").write_text(refresh + "\n")
        return settings_from(mail=f"""{mail}
user = "me@example.com"
[mail.oauth2]
client_id = "{tokens.client}"
client_secret = {{ file = "app-secret" }}
refresh_token = {{ file = "mail-token" }}
token_url = "{url or tokens.url}"
authorize_url = "http://127.0.0.1:1/auth"
scope = "mail"
""")

    return made


def test_a_refresh_token_becomes_an_access_token_that_logs_in(settings, tokens, authority, message_to, tmp_path) -> None:
    body = tmp_path / "message.eml"
    body.write_bytes(PLAIN)
    with SmtpServer(tls=authority.context(), implicit=True, tokens={"me@example.com": tokens.access}) as server:
        transport = open_transport(settings(f'host = "127.0.0.1"\nport = {server.port}\nsecurity = "tls"\n'
                                            f'ca_file = "{authority.ca_file}"', refresh=tokens.refresh), tmp_path)
        for _ in range(2):
            assert transport.deliver(message_to("a@example.com"), body)[0].accepted
        transport.close()
        assert server.logins == ["me@example.com"]
    asked, = tokens.asked  # one connection, one token
    assert asked == {"grant_type": "refresh_token", "refresh_token": tokens.refresh, "client_id": "app-1", "client_secret": "app s3cret"}


def test_a_revoked_consent_is_reported_without_any_secret(settings, tokens) -> None:
    with pytest.raises(MailError, match=r"mail\.oauth2: the token server responded with HTTP status 400: invalid_grant about \*\*\*\*; .*mail login") as caught:
        access_token(settings(refresh="1//stale-tok3n").mail.oauth2)
    assert caught.value.retry  # messages wait for the new login
    of_another_app = settings(refresh=tokens.refresh).mail.oauth2
    tokens.client = "another app"
    with pytest.raises(MailError, match="invalid_client"):
        access_token(of_another_app)


@pytest.mark.parametrize(("answer", "says"), [
    ((200, b"<html>login</html>"), "status 200, but without JSON"), ((502, b"[]"), "status 502: no token"),
    ((200, b'{"access_token": "two words"}'), "no token"), ((200, b'{"access_token": "' + b"x" * 100_000 + b'"}'), "without JSON"),
    ((302, b"{}"), "status 302")])
def test_any_other_error_of_a_token_server_is_temporary(answer, says, settings, tokens) -> None:
    tokens.answer = answer
    with pytest.raises(MailError, match=says) as caught:
        access_token(settings(refresh=tokens.refresh).mail.oauth2)
    assert caught.value.retry


def test_a_token_server_that_is_down_and_a_missing_login_are_reported(settings, tokens) -> None:
    with pytest.raises(MailError, match=r"cannot be reached: ConnectionError; check the network connection"):
        access_token(settings(refresh="x", url="http://127.0.0.1:1/").mail.oauth2)
    (Path(settings().folder) / "mail-token").unlink(missing_ok=True)
    with pytest.raises(UsageError, match=r"the secret cannot be read from the file .*mail-token: .*pipeline mail login"):
        access_token(settings().mail.oauth2)


def test_a_refresh_token_that_changes_is_kept_for_its_owner_only(settings, tokens, tmp_path) -> None:
    tokens.rotated = "1//newer"
    access_token(settings(refresh=tokens.refresh).mail.oauth2)
    assert (tmp_path / "mail-token").read_text() == "1//newer\n"
    assert (tmp_path / "mail-token").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("mail", "says"), [
    ('provider = "qq"', r'\[mail\.oauth2\] needs `token_url`, `authorize_url` and `scope`, or provider = "gmail"'),
    ('provider = "gmail"\npassword = { env = "X" }', "give either `password` or `oauth2`, not both")])
def test_contradictory_oauth2_settings_are_reported(mail, says, settings_from) -> None:
    table = '\nuser = "me"\n[mail.oauth2]\nclient_id = "x"\nrefresh_token = { file = "t" }\n'
    with pytest.raises(SettingsError, match=says):
        settings_from(mail=mail + table)
    known = settings_from(mail='provider = "gmail"' + table).mail.oauth2
    assert known.token_url == "https://oauth2.googleapis.com/token"
    with pytest.raises(SettingsError, match="must use https"):
        settings_from(mail='provider = "gmail"' + table + 'token_url = "http://example.com/token"\n')


def consenting(settings: Settings, visit: Callable[[dict[str, str]], None], *, wait_s: float = 20) -> tuple[list[str], Any]:
    """Run the login while a browser does what `visit` makes of the address; what was said, and how it ended."""
    said: list[str] = []
    browsers: list[threading.Thread] = []

    def say(line: str) -> None:
        said.append(line)
        if line.startswith("http"):
            query = {name: values[0] for name, values in parse_qs(urlsplit(line).query).items()}
            browsers.append(threading.Thread(target=visit, args=(query,)))
            browsers[-1].start()

    try:
        ended: Any = log_in(settings.mail, say=say, timeout_s=wait_s)
    except MailError as error:
        ended = error
    for browser in browsers:
        browser.join(20)
    return said, ended


def test_a_login_in_the_browser_saves_the_refresh_token(settings, tokens, tmp_path) -> None:
    def visit(query: dict[str, str]) -> None:
        tokens.challenge = query["code_challenge"]
        assert (query["response_type"], query["code_challenge_method"], query["access_type"]) == ("code", "S256", "offline")
        for strange in ("", "?code=evil&state=guessed", "?code=evil"):
            with pytest.raises(HTTPError, match="404"):
                urlopen(query["redirect_uri"] + strange, timeout=10)
        with urlopen(f"{query['redirect_uri']}?code=c0de&state={query['state']}", timeout=10) as answer:
            assert b"you can close this page" in answer.read()

    said, path = consenting(settings(), visit)
    assert path == tmp_path / "mail-token"
    assert path.read_text() == tokens.refresh + "\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert tokens.refresh not in "".join(said)
    assert access_token(settings().mail.oauth2) == tokens.access


def test_a_refused_and_a_missing_consent_are_reported(settings, tokens) -> None:
    def refuse(query: dict[str, str]) -> None:
        urlopen(f"{query['redirect_uri']}?error=access_denied&state={query['state']}", timeout=10).close()

    _, error = consenting(settings(), refuse)
    assert "access was not granted in the browser: access_denied" in str(error)
    _, error = consenting(settings(), lambda _query: None, wait_s=0.1)
    assert "no consent was given in the browser within 0.1 s" in str(error)
    assert tokens.asked == []


def test_mail_login_without_oauth2_settings_is_an_error(settings_from) -> None:
    with pytest.raises(UsageError, match=r"\[mail.oauth2\] is not configured"):
        log_in(settings_from().mail, say=lambda _line: None)
