"""A site with unusual logins, login pages with status 200, rare encodings and cookies.

    with start_site() as site:
        site.url            http://127.0.0.1:PORT
        site.log            what arrived, in order
        site.expire()       forgets every login

User USER and password PASSWORD let one in at /login (redirects), /login-quiet (answers 200), /login-get,
/login-multipart and /login-gbk, and, with codes of TOTP_SECRET, /login-steps; /private is the page behind them, a wall with status 200 for
strangers. /login-captcha, /login-locked, /login-broken and /login-css never let anyone in.
"""

from __future__ import annotations

import base64
import gzip
import hmac
import html
import json
import secrets
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

USER = "zoë"
PASSWORD = "pässwörd & <secret>=+%20"
AWKWARD = " +/=&\"'<>é%20\u4e2d;\t"
"""The hidden fields' characters; a token that is cut, decoded twice or trimmed is refused."""


TOTP_SECRET = "JBSW Y3DP EHPK 3PXP"


def _codes(now_s: float) -> set[str]:
    """The codes a site takes: of now, and of the half minute before and after (RFC 6238, 5.2)."""
    key = base64.b32decode(TOTP_SECRET.replace(" ", ""))
    codes = set()
    for step in (-1, 0, 1):
        digest = hmac.digest(key, int(now_s // 30 + step).to_bytes(8, "big"), "sha1")
        start = digest[-1] & 15
        codes.add(f"{(int.from_bytes(digest[start:start + 4], 'big') & 0x7FFFFFFF) % 10**6:06}")
    return codes


@dataclass(frozen=True)
class Seen:
    """One request as it arrived. client: the address and port of the connection."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    client: str

    @property
    def cookies(self) -> dict[str, str]:
        pairs = (pair.partition("=") for pair in self.headers.get("cookie", "").split("; ") if pair)
        return {name: value for name, _, value in pairs}


@dataclass
class Site:
    url: str
    log: list[Seen] = field(default_factory=list)
    sessions: set[str] = field(default_factory=set)
    tokens: dict[str, str] = field(default_factory=dict)
    failures: int = 0
    """How many of the next requests are answered with status 503."""

    def expire(self) -> None:
        self.sessions.clear()

    def seen(self, path: str, method: str = "GET") -> list[Seen]:
        return [each for each in self.log if each.path == path and each.method == method]

    @property
    def logins(self) -> int:
        return len([each for each in self.log if each.path == "/enter"])


@contextmanager
def start_site(tls: ssl.SSLContext | None = None) -> Iterator[Site]:
    """Serve until the block ends, on a free loopback port; over TLS with a server's context."""
    server = _Server(("127.0.0.1", 0), _Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.site = Site(f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.site
    finally:
        server.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    site: Site

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.stopping = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that refuses the certificate or hangs up is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = 20

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """`site.log` has it."""

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.seen = Seen(self.command, parts.path, parts.query, headers, body,
                         f"{self.client_address[0]}:{self.client_address[1]}")
        self.server.site.log.append(self.seen)
        if self.server.site.failures:
            self.server.site.failures -= 1
            self.send("<title>busy</title>", status=503)
            return
        name = "page_" + parts.path.strip("/").replace("-", "_").replace("/", "_")
        page = getattr(self, name, None) if parts.path != "/" else self.page_home
        with suppress(BrokenPipeError, ConnectionResetError):
            (page or self.page_missing)()

    def send(self, text: str | bytes, *, status: int = 200, kind: str = "text/html; charset=utf-8",
             headers: tuple[tuple[str, str], ...] = ()) -> None:
        body = text.encode() if isinstance(text, str) else text
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def redirect(self, where: str, *headers: tuple[str, str]) -> None:
        self.send("moved", status=302, headers=(("Location", where), *headers))

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.seen.query, keep_blank_values=True))

    @property
    def known(self) -> bool:
        return self.seen.cookies.get("session") in self.server.site.sessions

    # Login.

    def page_home(self) -> None:
        self.send("<title>home</title><h1>Welcome</h1><a href=/private>private</a>")

    def page_private(self) -> None:
        if self.known:
            self.send("<title>private</title><p id=user>you are in</p><a href='/logout'>log out</a>")
        else:
            self.send("<title>wall</title><p>Please <a href=/login>log in</a>.</p>")

    def page_logout(self) -> None:
        self.redirect("/", ("Set-Cookie", "session=; Path=/; Max-Age=0"))

    def page_login(self) -> None:
        if self.known:
            self.redirect("/private")
        else:
            self._form()

    def page_login_quiet(self) -> None:
        self._form(quiet="1")

    def page_login_get(self) -> None:
        self._form(method="get")

    def page_login_multipart(self) -> None:
        self._form(enctype="multipart/form-data")

    def page_login_gbk(self) -> None:
        self._form(charset="gbk", kind="text/html")

    def page_login_captcha(self) -> None:
        self._form(answer="captcha")

    def page_login_locked(self) -> None:
        self._form(answer="locked")

    def page_login_broken(self) -> None:
        self._form(answer="broken")

    def page_login_css(self) -> None:
        """Three forms with the same fields."""
        forms = "".join(f"<form id={name} action=/enter method=post><input name=user><input type=password name=pass>"
                        f"<input type=hidden name=which value={name}></form>" for name in ("one", "two", "three"))
        self.send(forms)

    def page_login_walled(self) -> None:
        self.send("<title>Just a moment</title><div class='g-recaptcha'></div>", status=403)

    def page_login_gone(self) -> None:
        self.send("<h1>Not here</h1>", status=404)

    def page_login_down(self) -> None:
        self.send("<h1>Sorry</h1>", status=503)

    def _form(self, *, method: str = "post", enctype: str = "", charset: str = "utf-8", kind: str = "",
              **extra: str) -> None:
        form, token = secrets.token_hex(8), secrets.token_hex(8) + AWKWARD
        if charset != "utf-8":
            token = token.replace("é", "é".encode(charset, "ignore").decode(charset))
        self.server.site.tokens[form] = token
        hidden = "".join(f"<input type=hidden name={name} value='{value}'>" for name, value in extra.items())
        page = f"""<!doctype html><html><head><meta charset={charset}><title>登录</title></head><body>
            <p class="alert" role="alert">This site uses cookies.</p>
            <form action="/search"><input name="q"><input type="submit" name="search" value="Search"></form>
            <form action="enter?next=%2Fprivate" method="{method}" enctype="{enctype}">
              <input type="hidden" name="csrf" value="{html.escape(token)}">{hidden}
              <input type="hidden" name="charset" value="{charset}">
              <input name="user" value=""><input type="password" name="pass">
              <input type="checkbox" name="remember" value="yes" checked><input type="checkbox" name="spam">
              <select name="lang"><option value="en">English<option value="zh" selected>中文</select>
              <textarea name="note">\ntwo\nlines</textarea><input name="never" value="x" disabled>
              <button name="go" value="in">Log in</button><input type="submit" name="forgot" value="1">
            </form>
            <form action="/newsletter" method="post"><input name="email"></form></body></html>"""
        self.send(page.encode(charset), kind=kind or "text/html; charset=utf-8",
                  headers=(("Set-Cookie", f"form={form}; Path=/; HttpOnly"),))

    def page_enter(self) -> None:
        given = self._given()
        if given.get("answer") == "broken":
            self.send("<h1>It broke</h1>", status=502)
        elif given.get("answer") == "captcha":
            self.send("<p class=error>Please solve the captcha first.</p>")
        elif given.get("answer") == "locked":
            self.send("<div class=errors><ul><li>Your account is locked for an hour.</ul></div>")
        elif problem := self._problem(given):
            self.send(f"<p>{html.escape(problem)}</p>", status=403)
        elif (given.get("user"), given.get("pass")) != (USER, PASSWORD):
            self.send("<p class=alert role=alert>This site uses cookies.</p><p class='error'>The user name or\x07 "
                      f"password is <b>wrong</b>: {html.escape(given.get('pass', ''))}.</p>"
                      "<form method=post><input name=user><input type=password name=pass></form>")
        else:
            session = secrets.token_hex(8)
            self.server.site.sessions.add(session)
            cookie = ("Set-Cookie", f"session={session}; Path=/; HttpOnly; SameSite=Lax")
            if given.get("quiet"):
                self.send("<title>in</title><a href=/logout>log out</a>", headers=(cookie,))
            else:
                self.redirect(self.query.get("next") or "/private", cookie)

    def _problem(self, given: dict[str, str]) -> str:
        """What a browser would have done otherwise."""
        wanted = self.server.site.tokens.get(self.seen.cookies.get("form", ""))
        origin = self.headers.get("Origin", self.server.site.url)
        checks = {"no cookie of the login page": wanted is not None, "csrf token differs": given.get("csrf") == wanted,
                  "wrong button": given.get("go") == "in" and "forgot" not in given,
                  "checkboxes": given.get("remember") == "yes" and "spam" not in given,
                  "select": given.get("lang") == "zh", "disabled field": "never" not in given,
                  "textarea": given.get("note") == "two\r\nlines",
                  "referer": self.headers.get("Referer", "").startswith(f"{self.server.site.url}/login"),
                  "origin": origin == self.server.site.url}
        return "; ".join(name for name, fine in checks.items() if not fine)

    def _given(self) -> dict[str, str]:
        kind = self.headers.get("Content-Type", "")
        if kind.startswith("multipart/"):
            message = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + self.seen.body)
            return {str(part.get_param("name", header="Content-Disposition")):
                    part.get_payload(decode=True).decode() for part in message.get_payload()}
        text = self.seen.query if self.command == "GET" else self.seen.body.decode("ascii")
        charset = dict(parse_qsl(text)).get("charset", "utf-8")
        given = dict(parse_qsl(text, keep_blank_values=True, encoding=charset))
        # What an encoding lacks comes as &#…;, from browsers too.
        return {name: html.unescape(value) if charset != "utf-8" else value for name, value in given.items()}

    # A login in three pages: user name, password, one-time code.

    def page_login_steps(self) -> None:
        self.send("<form action=/steps/user method=post><input name=user><button>Next</button></form>",
                  headers=(("Set-Cookie", "steps=user; Path=/"),))

    def page_steps_user(self) -> None:
        if self._given().get("user") != USER or self.seen.cookies.get("steps") != "user":
            self.send("<div class=error>We do not know you.</div>"
                      "<form action=/steps/user method=post><input name=user></form>")
        else:
            self.send("<form action=/steps/pass method=post><input type=password name=pass></form>",
                      headers=(("Set-Cookie", "steps=pass; Path=/"),))

    def page_steps_pass(self) -> None:
        if self._given().get("pass") != PASSWORD or self.seen.cookies.get("steps") != "pass":
            self.send("<div class=error>Wrong password.</div>"
                      "<form action=/steps/pass method=post><input type=password name=pass></form>")
        elif "known_device" in self.seen.cookies:
            self._let_in()
        else:
            self.send("<form action=/steps/code method=post><input name=otp autocomplete=one-time-code></form>",
                      headers=(("Set-Cookie", "steps=code; Path=/"),))

    def page_steps_code(self) -> None:
        if self._given().get("otp") in _codes(time.time()) and self.seen.cookies.get("steps") == "code":
            self._let_in()
        else:
            self.send("<div class=error>That code is no longer valid.</div>"
                      "<form action=/steps/code method=post><input name=otp></form>")

    def _let_in(self) -> None:
        session = secrets.token_hex(8)
        self.server.site.sessions.add(session)
        self.redirect("/private", ("Set-Cookie", f"session={session}; Path=/"),
                      ("Set-Cookie", "known_device=1; Path=/; Max-Age=9999"))

    # An API: JSON in, a token out, a header from then on.

    def page_api_login(self) -> None:
        given = json.loads(self.seen.body)
        if given != {"user": USER, "pass": PASSWORD}:
            self.send(json.dumps({"error": {"message": "bad credentials"}}), status=401, kind="application/json")
        else:
            token = secrets.token_hex(8)
            self.server.site.sessions.add(token)
            self.send(json.dumps({"data": {"token": token}}), kind="application/json")

    def page_api_me(self) -> None:
        known = self.headers.get("X-Token", "").removeprefix("t=") in self.server.site.sessions
        self.send(json.dumps({"name": USER} if known else {"error": "who?"}), status=200 if known else 401,
                  kind="application/json")

    # Pages to fetch.

    def page_gzip(self) -> None:
        self.send(gzip.compress("<title>zipped</title><p>ünpacked</p>".encode()), headers=(("Content-Encoding", "gzip"),))

    def page_bomb(self) -> None:
        """64 MB of zeros in 64 kB."""
        self.send(gzip.compress(bytes(64 * 10**6)), headers=(("Content-Encoding", "gzip"),))

    def page_latin1(self) -> None:
        self.send("<title>Übergröße</title>".encode("latin-1"), kind="text/html; charset=ISO-8859-1")

    def page_gbk(self) -> None:
        self.send("<meta http-equiv=Content-Type content='text/html; charset=gb2312'><title>中文€</title>".encode("gb18030"),
                  kind="text/html")

    def page_mislabelled(self) -> None:
        """Shift_JIS that says UTF-8."""
        self.send("<title>日本語</title>".encode("cp932"))

    def page_json(self) -> None:
        self.send(json.dumps({"user": {"name": "zoë"}, "none": []}), kind="application/json")

    def page_echo(self) -> None:
        seen = {"method": self.command, "query": self.seen.query, "headers": self.seen.headers,
                "body": self.seen.body.decode("latin-1")}
        self.send(json.dumps(seen), kind="application/json")

    def page_cookies(self) -> None:
        self.send(json.dumps(self.seen.cookies), kind="application/json")

    def page_cookies_set(self) -> None:
        """Sets each pair of the query as a cookie; `attributes` is added to each."""
        attributes = self.query.get("attributes", "Path=/")
        pairs = [(name, value) for name, value in self.query.items() if name != "attributes"]
        self.send("set", headers=tuple(("Set-Cookie", f"{name}={value}; {attributes}") for name, value in pairs))

    def page_redirect(self) -> None:
        self.redirect(self.query["to"])

    def page_circle(self) -> None:
        self.redirect("/circle")

    def page_long_redirect(self) -> None:
        """A redirect whose body never ends."""
        self.send_response(302)
        self.send_header("Location", "/private")
        self.end_headers()
        self._drip()

    def page_drip(self) -> None:
        """A body that arrives byte by byte, and never all of it."""
        self.send_response(200)
        self.end_headers()
        self._drip()

    def _drip(self) -> None:
        self.close_connection = True
        deadline = time.monotonic() + 20
        while not self.server.stopping.wait(0.02) and time.monotonic() < deadline:
            self.wfile.write(b".")

    def page_silence(self) -> None:
        """No answer at all."""
        self.close_connection = True
        self.server.stopping.wait(20)

    def page_cut(self) -> None:
        """A body that breaks off."""
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b"half")
        self.close_connection = True

    def page_missing(self) -> None:
        self.send("<title>nothing here</title>", status=404)
