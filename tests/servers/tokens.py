"""A token server (RFC 6749) with one app, one consent and one account; it checks PKCE."""

from __future__ import annotations

import base64
import json
import threading
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs


@dataclass
class TokenServer:
    """Gives `access` for `refresh`, and `refresh` for the code "c0de". answer: (status, body) said instead."""

    client: str = "app-1"
    secret: str = "app s3cret"
    refresh: str = "1//refresh-tok3n"
    access: str = "ya29.acce55"
    rotated: str = ""
    challenge: str = ""
    answer: tuple[int, bytes] | None = None
    asked: list[dict[str, str]] = field(default_factory=list)

    def __enter__(self) -> Self:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                form = {name: values[0] for name, values in parse_qs(body).items()}
                owner.asked.append(form)
                status, said = owner.answer or owner._answer(form)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *arguments: Any) -> None:
                """Silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/token"

    def _answer(self, form: dict[str, str]) -> tuple[int, bytes]:
        def refused(why: str) -> tuple[int, bytes]:
            return 400, json.dumps({"error": why, "error_description": f"about {form.get('refresh_token', '')}"}).encode()

        if (form.get("client_id"), form.get("client_secret")) != (self.client, self.secret):
            return refused("invalid_client")
        good = {"access_token": self.access, "expires_in": 3599, "token_type": "Bearer"}
        if form["grant_type"] == "refresh_token" and form["refresh_token"] == self.refresh:
            return 200, json.dumps(good | ({"refresh_token": self.rotated} if self.rotated else {})).encode()
        made = base64.urlsafe_b64encode(sha256(form.get("code_verifier", "").encode()).digest()).rstrip(b"=").decode()
        if form["grant_type"] == "authorization_code" and form["code"] == "c0de" and made == self.challenge:
            return 200, json.dumps(good | {"refresh_token": self.refresh}).encode()
        return refused("invalid_grant")
