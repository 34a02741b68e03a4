"""OAuth2 for mail: request an access token at each login; obtain the refresh token in a browser, once.

At each login, a new access token is requested with the refresh token (RFC 6749, section 6). Access tokens are not cached, so an
expired token is never used. The refresh token is obtained by the authorization code grant with PKCE (RFC 7636); the browser is
redirected to the loopback interface (RFC 8252, section 7.3).
"""

from __future__ import annotations

import base64
import hmac
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import requests

from pipeline.errors import MailError, UsageError
from pipeline.settings import MailTable, OAuth2Table, Secret
from pipeline.settings.masking import Mask
from pipeline.store.files.local_files import LocalFiles
from pipeline.text import clean_line

_RESPONSE_BYTES = 65_536
TIMEOUT_S = 30.0
CONSENT_TIMEOUT_S = 600.0
_READ_TIMEOUT_S = 5.0
_LOG_IN = "log in with `pipeline mail login`"
_DONE = b"<!DOCTYPE html><title>pipeline</title><p>Done: you can close this page."
_WRONG_STATE = b"<!DOCTYPE html><title>pipeline</title><p>This request does not belong to the login in progress."


@dataclass(frozen=True)
class TokenServer:
    """The token endpoint of a mail provider.

    client_secret: function that returns the client secret, called for each request; None for a client without a secret.
    """

    url: str
    client_id: str
    client_secret: Callable[[], str] | None = None
    timeout_s: float = TIMEOUT_S

    def ask(self, grant: Mapping[str, str]) -> dict[str, Any]:
        """Send an authorization grant to the token endpoint and return the fields of the response.

        Raises MailError. The text of the error contains neither secrets nor tokens.
        """
        secret = self.client_secret() if self.client_secret is not None else None
        form = {**grant, "client_id": self.client_id} | ({"client_secret": secret} if secret is not None else {})
        try:
            with requests.post(self.url, data=form, headers={"Accept": "application/json"}, timeout=self.timeout_s,
                               allow_redirects=False, stream=True) as response:
                found = json.loads(response.raw.read(_RESPONSE_BYTES, decode_content=True))
        except requests.RequestException as error:
            raise self._error(f"the token server cannot be reached: {type(error).__name__}", "check the network connection and the `token_url` setting") from error
        except (OSError, ValueError) as error:
            raise self._error(f"the token server responded with HTTP status {response.status_code}, but without JSON", "check the `token_url` setting") from error
        if isinstance(found, dict) and response.status_code == 200 and _is_token(found.get("access_token")):
            return found
        fields = found if isinstance(found, dict) else {}
        returned = (fields.get(name) for name in ("access_token", "refresh_token", "id_token"))
        mask = Mask(private for private in (*grant.values(), secret, *returned) if isinstance(private, str))
        why = clean_line(mask(f"{fields.get('error', 'no token')} {fields.get('error_description', '')}"), 200)
        raise self._error(f"the token server responded with HTTP status {response.status_code}: {why}", _LOG_IN)

    def _error(self, what: str, fix: str) -> MailError:
        return MailError(what, where="mail.oauth2", fix=fix, retry=True)


def _token_server(table: OAuth2Table) -> TokenServer:
    return TokenServer(table.token_url, table.client_id, table.client_secret.reveal if table.client_secret else None)


def access_token(table: OAuth2Table, on_secret: Callable[[str], None] = lambda secret: None) -> str:
    """Request and return a new access token. on_secret: called with each token that is sent or returned. Raises MailError, UsageError.

    If the response also contains a new refresh token, the new refresh token is stored in place of the old one.
    """
    try:
        refresh_token = table.refresh_token.reveal()
    except UsageError as error:
        raise UsageError(error.what, where="mail.oauth2", fix=_LOG_IN) from error
    on_secret(refresh_token)  # a server may accept it for a time after it has been replaced
    found = _token_server(table).ask({"grant_type": "refresh_token", "refresh_token": refresh_token})
    newer = found.get("refresh_token", refresh_token)
    on_secret(found["access_token"])
    if _is_token(newer):
        on_secret(str(newer))
        if newer != refresh_token and table.refresh_token.can_be_replaced:
            save_refresh_token(table.refresh_token, str(newer))
    token: str = found["access_token"]
    return token


def save_refresh_token(secret: Secret, token: str) -> Path:
    """Write a refresh token with mode 0600 to the file that `secret` names; return the path of the file.

    Raises UsageError if `secret` does not name a file that contains only the refresh token, MailError if the file cannot be written.
    """
    if not secret.can_be_replaced:
        raise UsageError("the refresh token must be stored in a file of its own", where="settings.toml: mail.oauth2.refresh_token",
                         fix="set refresh_token = { file = \"mail-token\" }")
    path = secret.path
    try:
        LocalFiles(path.parent).write(path.name, f"{token}\n".encode())
    except OSError as error:
        raise MailError(f"the refresh token cannot be written: {error.strerror}", where=str(path),
                        fix="check the owner, the permissions and the free space of the folder", retry=True) from error
    return path


def _is_token(found: object) -> bool:
    return isinstance(found, str) and found.isascii() and found.isprintable() and " " not in found and found != ""


def log_in(mail: MailTable, *, say: Callable[[str], None], timeout_s: float = CONSENT_TIMEOUT_S) -> Path:
    """Ask for the account owner's consent in a browser, save the refresh token and return its file's path.

    say: function that prints a line for the user. timeout_s: how long to wait for the consent. Raises UsageError if [mail.oauth2] is
    not configured, MailError if access is not granted in time or if the token server returns no refresh token.
    """
    table = mail.oauth2
    if table is None:
        raise UsageError("[mail.oauth2] is not configured", where="settings.toml: mail",
                         fix="set client_id, client_secret and refresh_token in [mail.oauth2]")
    if not table.refresh_token.can_be_replaced:
        save_refresh_token(table.refresh_token, "")  # raises UsageError now, before the user opens the browser
    verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
    with _CodeReceiver(state) as receiver:
        challenge = base64.urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        say("Open this URL in a browser on this machine, and allow the program to send mail:")
        say(f"{table.authorize_url}?" + urlencode({
            "client_id": table.client_id, "redirect_uri": receiver.url, "response_type": "code", "scope": table.scope,
            "state": state, "code_challenge": challenge, "code_challenge_method": "S256", "access_type": "offline",
            "prompt": "consent", "login_hint": mail.user or ""}))
        code = receiver.wait_for_code(timeout_s)
        found = _token_server(table).ask({"grant_type": "authorization_code", "code": code,
                                          "redirect_uri": receiver.url, "code_verifier": verifier})
    token = found.get("refresh_token")
    if not isinstance(token, str) or not token:
        raise MailError("the token server returned no refresh token", where="mail.oauth2",
                        fix="revoke the earlier consent in the settings of your mail account, and run `pipeline mail login` again")
    return save_refresh_token(table.refresh_token, token)


class _CodeReceiver(HTTPServer):
    """HTTP server on the loopback interface that receives the redirect with the authorization code."""

    def __init__(self, state: str) -> None:
        super().__init__(("127.0.0.1", 0), _CodeHandler)
        self.state = state
        self.query: dict[str, str] = {}
        self.url = f"http://127.0.0.1:{self.server_port}/"

    def wait_for_code(self, timeout_s: float) -> str:
        deadline = time.monotonic() + timeout_s
        while not self.query:
            self.timeout = deadline - time.monotonic()
            if self.timeout <= 0:
                raise MailError(f"no consent was given in the browser within {timeout_s:g} s", where="mail login", fix="run `pipeline mail login` again")
            self.handle_request()
        if not self.query.get("code"):
            raise MailError(f"access was not granted in the browser: {clean_line(self.query.get('error', ''), 100) or 'no authorization code was returned'}",
                            where="mail login", fix="run `pipeline mail login` again")
        return self.query["code"]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore an error on a connection, because a later connection may deliver the authorization code."""


class _CodeHandler(BaseHTTPRequestHandler):
    timeout = _READ_TIMEOUT_S
    server: _CodeReceiver

    def do_GET(self) -> None:
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        matches = hmac.compare_digest(query.get("state", "").encode(), self.server.state.encode())
        if matches:
            self.server.query = query
        self.send_response(200 if matches else 404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(_DONE if matches else _WRONG_STATE)

    def log_message(self, *arguments: Any) -> None:
        """Log nothing, because the URL of the request contains the authorization code."""
