"""Where secrets that the program obtains are masked when a site or a server repeats them."""

from __future__ import annotations

import json
import threading
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipeline.settings import load, masking
from pipeline.settings.masking import CurrentMask
from tests.servers.program import Program
from tests.servers.smtp import Fault, SmtpServer
from tests.servers.tokens import TokenServer
from tests.store.database.test_stored_secrets import cells

TOKEN, COOKIE = "api-t0ken/of+login", "5e55107c001e5e55107c001e"
FORMS = {"as it is": str, "in base64": lambda text: b64encode(f"user=me\x01auth=Bearer {text}\x01\x01".encode()).decode(), "in JSON": lambda text: json.dumps(json.dumps(text))}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("secret", ["the access token", "the new refresh token", "the refresh token", "the secret of the client"])
def test_no_token_is_in_the_smtp_dialogue_or_in_the_error(secret: str, form: str, program: Program) -> None:
    with TokenServer(rotated="1//n3w-refresh-token") as tokens:
        value = {"the access token": tokens.access, "the new refresh token": tokens.rotated, "the refresh token": tokens.refresh, "the secret of the client": tokens.secret}[secret]
        written = FORMS[form](value)
        (program.folder / "app-secret").write_text(tokens.secret)
        (program.folder / "mail-token").write_text(tokens.refresh)
        with SmtpServer(tokens={"me": tokens.access}, faults=[Fault("RCPT", f"550-5.1.1 debug: {written}\r\n550 5.1.1 and {written}")]) as server:
            program.write(f"""
                [mail]
                host = "127.0.0.1"
                port = {server.port}
                security = "none"
                allow_plaintext_auth = true
                user = "me"
                [mail.oauth2]
                client_id = "{tokens.client}"
                client_secret = {{ file = "app-secret" }}
                refresh_token = {{ file = "mail-token" }}
                token_url = "{tokens.url}"
                authorize_url = "http://127.0.0.1:1/auth"
                scope = "mail"
                """)
            sent = program.run("mail", "test", "--to", "you@example.com", "--debug")
    assert "debug: " in sent.stderr, sent
    assert "****" in sent.stderr, sent
    assert written not in sent.stdout + sent.stderr, sent
    assert value not in sent.stdout + sent.stderr, sent


SPIDER = """
import scrapy

class Loud(scrapy.Spider):
    def parse(self, response):
        self.logger.error("The site says %s", response.text)
        print("printed", response.text)
        raise ValueError(response.text)
"""


@pytest.fixture
def site() -> Iterator[str]:
    """A site with a login through an API, whose pages show the token and the cookie that they get."""
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._say({"token": TOKEN, "user": "me"}, ("Set-Cookie", f"session={COOKIE}; HttpOnly"))

        def do_GET(self) -> None:
            told = {"token": self.headers.get("X-Token", ""), "cookie": self.headers.get("Cookie", "")}
            self._say({"user": "me" if told["token"] else "", **({} if self.path == "/me" else told)})

        def _say(self, found: dict[str, Any], *headers: tuple[str, str]) -> None:
            body = json.dumps(found).encode()
            self.send_response(200)
            for name, value in (("Content-Type", "application/json"), ("Content-Length", str(len(body))), *headers):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_the_token_and_the_cookie_of_a_login_are_masked_in_logs_errors_and_the_database(site: str, program: Program) -> None:
    (program.folder / "spiders").mkdir()
    (program.folder / "spiders" / "loud.py").write_text(SPIDER)
    program.environment |= {"PASSWORD": "hunter2hunter2"}
    program.write(f"""
        [spiders.s]
        spider = "spiders.loud:Loud"
        start = "{site}/shows"
        robots = false
        retries = 0
        [spiders.s.login]
        url = "{site}/login"
        json = true
        fields = {{ user = "me", password = {{ env = "PASSWORD" }} }}
        token = {{ jmes = "token" }}
        token_header = "X-Token: {{token}}"
        check = {{ jmes = "user" }}
        check_url = "{site}/me"
        """)
    for number in (1, 2):  # the second run uses the session of the first
        ended = program.run("run", "s")
        outputs = {"run": ended.stdout + ended.stderr, "log": (program.data / "logs" / "runs" / f"{number}.log").read_text("utf-8"),
                   "history": program.run("history", "s", "--json").stdout, "logs": program.run("logs", "s").stdout}
        assert outputs["log"].count("****") >= 6, outputs
        assert [(name, secret, output) for name, output in outputs.items() for secret in (TOKEN, COOKIE) if secret in output] == []
    found = cells(program.data / "pipeline.sqlite3")
    assert [column for column, values in found.items() if any(secret in value for value in values for secret in (TOKEN, COOKIE))] == []
    assert all("****" in found[column][0] for column in ("pages.error", "frontier.error", "runs.error"))


def test_a_secret_that_was_replaced_is_masked_and_so_are_those_of_new_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("first-secret")
    (tmp_path / "settings.toml").write_text('[spiders.s]\nstart = "http://s.example/"\nheaders = { X = { file = "key" } }\n')
    (tmp_path / "other.toml").write_text('[spiders.s]\nstart = "http://s.example/"\nheaders = { X = { file = "other" } }\n')
    (tmp_path / "other").write_text("other-secret")
    now_s = 1000.0
    monkeypatch.setattr(masking.time, "monotonic", lambda: now_s)
    mask = CurrentMask(load(tmp_path / "settings.toml"))
    text = "first-secret second-secret other-secret token-that-came"
    assert mask(text) == "**** second-secret other-secret token-that-came"
    (tmp_path / "key").write_text("second-secret")
    mask.add("token-that-came")
    assert mask.current()(text) == "first-secret **** other-secret ****", "the secrets are read again with each new one"
    (tmp_path / "key").write_text("first-secret")
    assert mask.current()(text) == "first-secret **** other-secret ****", "not yet"
    now_s += masking.READ_AGAIN_S + 1
    assert mask.current()(text) == "**** second-secret other-secret ****"
    mask.use(load(tmp_path / "other.toml"))
    assert mask(text) == "first-secret second-secret **** ****"
