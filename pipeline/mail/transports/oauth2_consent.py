"""`pipeline mail login`: a person lets us send mail in their browser, and the refresh token comes back to this machine.

The authorization code grant with PKCE (RFC 7636) and a redirect to the loopback interface (RFC 8252, 7.3).
"""

from __future__ import annotations

import base64
import hmac
import secrets
import time
from collections.abc import Callable
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from pipeline.errors import MailError, UsageError
from pipeline.mail.transports import oauth2
from pipeline.settings import MailTable
from pipeline.text import clean_line

WAIT_S = 600.0
_READ_S = 5.0
_DONE = b"<!DOCTYPE html><title>pipeline</title><p>Done: you can close this page."
_NOT_OURS = b"<!DOCTYPE html><title>pipeline</title><p>This is not the answer that is waited for."


def log_in(mail: MailTable, *, say: Callable[[str], None], wait_s: float = WAIT_S) -> Path:
    """Ask for consent and keep the refresh token; where it is. say: shown to the person.

    Raises UsageError without [mail.oauth2], MailError when nobody consents in time or no token comes.
    """
    table = mail.oauth2
    if table is None:
        raise UsageError("there is no [mail.oauth2] to log in with", where="settings.toml: mail",
                         fix="set client_id, client_secret and refresh_token there")
    if table.refresh_token.kind != "file":
        oauth2.keep(table.refresh_token, "")  # says what is wrong before anybody goes to the browser
    verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
    with _Waiting(state) as waiting:
        challenge = base64.urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        say("Open this address in a browser on this machine, and allow it to send mail:")
        say(f"{table.authorize_url}?" + urlencode({
            "client_id": table.client_id, "redirect_uri": waiting.url, "response_type": "code", "scope": table.scope,
            "state": state, "code_challenge": challenge, "code_challenge_method": "S256", "access_type": "offline",
            "prompt": "consent", "login_hint": mail.user or ""}))
        code = waiting.code(wait_s)
        found = oauth2.server_of(table).ask({"grant_type": "authorization_code", "code": code,
                                             "redirect_uri": waiting.url, "code_verifier": verifier})
    token = found.get("refresh_token")
    if not isinstance(token, str) or not token:
        raise MailError("the token server gave no refresh token", where="mail.oauth2",
                        fix="take back the consent given before in the account's settings, and try again")
    return oauth2.keep(table.refresh_token, token)


class _Waiting(HTTPServer):
    """Listens on the loopback interface for the browser that brings the code."""

    def __init__(self, state: str) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.state = state
        self.found: dict[str, str] = {}
        self.url = f"http://127.0.0.1:{self.server_port}/"

    def code(self, wait_s: float) -> str:
        deadline = time.monotonic() + wait_s
        while not self.found:
            self.timeout = deadline - time.monotonic()
            if self.timeout <= 0:
                raise MailError(f"nobody consented within {wait_s:g} s", where="mail login", fix="run it again")
            self.handle_request()
        if not self.found.get("code"):
            raise MailError(f"consent was refused: {clean_line(self.found.get('error', ''), 100) or 'no code'}",
                            where="mail login", fix="run it again")
        return self.found["code"]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that hung up: the next request may be the one."""


class _Answer(BaseHTTPRequestHandler):
    timeout = _READ_S
    server: _Waiting

    def do_GET(self) -> None:
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        ours = hmac.compare_digest(query.get("state", "").encode(), self.server.state.encode())
        if ours:
            self.server.found = query
        self.send_response(200 if ours else 404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(_DONE if ours else _NOT_OURS)

    def log_message(self, *arguments: Any) -> None:
        """The code is in the address: nothing is logged."""
