"""A site whose login form, pages and session exist only after JavaScript was executed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pipeline.session.login.totp import totp_code

USER, PASSWORD, TOTP_SECRET = "ada", "geheim 7&<x>", "JBSWY3DPEHPK3PXP"

PAGE = """<!doctype html><title>App</title><div id=app></div><script>
const app = document.getElementById("app"), mode = "%(mode)s", keep = %(storage)s;
const api = (path, options = {}) => fetch(path, {...options, headers: {"Content-Type": "application/json", ...options.headers}});
const draw = html => setTimeout(() => { app.innerHTML = html; }, 60);
const token = () => keep ? keep.getItem("token") : null;
async function home() {
  const answer = await api("/api/me", keep ? {headers: {Authorization: `Bearer ${token()}`}} : {});
  if (answer.status === 401) { if (keep) keep.removeItem("token"); history.replaceState({}, "", "/"); return login(); }
  const me = await answer.json();
  app.innerHTML = `<p id=user>${me.name}</p><a href=/logout>Log out</a><ul>${me.items.map(each => `<li><b>${each}</b></li>`).join("")}</ul>`;
}
async function send(path, body) {
  const answer = await api(path, {method: "POST", body: JSON.stringify(body)});
  const told = await answer.json();
  if (!answer.ok) { app.querySelector("[role=alert]").textContent = %(says)s ? told.detail : ""; return; }
  if (told.next === "password") return password(body.user);
  if (told.next === "code") return code();
  if (keep) keep.setItem("token", told.token);
  history.pushState({}, "", "/home");
  home();
}
const ALERT = "<div role=alert></div>";
const FORMS = {
  one: `<form id=search><input name=q><button>Search</button></form><form id=f><label>E-mail <input type=email-ish></label>
        <label>Password<input type=password></label>${ALERT}<button disabled>Sign in</button></form>`,
  plain: `<div><input placeholder="User name"><input autocomplete="current-password" type=password>${ALERT}<div role=button tabindex=0>Log in</div></div>`,
};
function login() {
  if (mode === "never") return;
  if (mode === "two" || mode === "code") {
    draw(`<form><input id=user-name>${ALERT}<button>Next</button></form>`);
    setTimeout(() => { app.querySelector("form").onsubmit = event => { event.preventDefault(); send("/api/who", {user: app.querySelector("input").value}); }; }, 100);
    return;
  }
  draw(mode === "plain" ? FORMS.plain : FORMS.one);
  setTimeout(() => {
    const [user, password] = app.querySelectorAll(mode === "plain" ? "div > input" : "#f input");
    const button = app.querySelector(mode === "plain" ? "[role=button]" : "#f button");
    const go = event => { event.preventDefault(); send("/api/login", {user: user.value, password: password.value}); };
    if (mode === "plain") button.onclick = go; else { app.querySelector("#f").onsubmit = go; app.querySelector("#f").oninput = () => { button.disabled = !password.value; }; }
  }, 120);
}
function password(user) {
  draw(`<form><input type=password name=password>${ALERT}<button>Sign in</button></form>`);
  setTimeout(() => { app.querySelector("form").onsubmit = event => { event.preventDefault(); send("/api/login", {user, password: app.querySelector("input").value}); }; }, 100);
}
function code() {
  draw(`<form><p>Code</p>${"<input class=digit maxlength=1 inputmode=numeric>".repeat(6)}${ALERT}</form>`);
  setTimeout(() => {
    const digits = [...app.querySelectorAll(".digit")];
    digits[0].setAttribute("autocomplete", "one-time-code");
    digits.forEach((digit, at) => digit.oninput = () => {
      if (digits[at + 1]) digits[at + 1].focus(); else send("/api/code", {code: digits.map(each => each.value).join("")});
    });
  }, 100);
}
home();
</script>"""


class ScriptSite:
    """mode: one (labels, a disabled button), plain (no form element), two (two pages), code (three, the last for a code), never.

    storage: localStorage, sessionStorage, or null for a cookie. says: whether the page shows why a login failed. expires_at: the number of the
    request for the user's data at which all sessions end.
    """

    def __init__(self, mode: str, storage: str, *, says: bool) -> None:  # noqa: C901  the handler belongs to this site
        self.page = PAGE % {"mode": mode, "storage": storage, "says": json.dumps(says)}
        self.mode, self.keeps = mode, storage != "null"
        self.items = ["tea", "cake"]
        self.logins: list[str] = []
        self.tokens: set[str] = set()
        self.status = 401
        self.asked = 0
        self.expires_at = 0
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.path == "/api/me":
                    site.asked += 1
                    if site.asked == site.expires_at:
                        site.expire()
                    cookie = (self.headers.get("Cookie") or "").partition("sid=")[2].partition(";")[0]
                    token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") if site.keeps else cookie
                    self._tell(*((200, {"name": USER, "items": site.items}) if token in site.tokens else (401, {"detail": "log in first"})))
                else:
                    self._send(200, "text/html; charset=utf-8", site.page.encode())

            def do_POST(self) -> None:
                told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path == "/api/who":
                    self._tell(200, {"next": "password"})
                elif self.path == "/api/login":
                    right = told == {"user": USER, "password": PASSWORD}
                    if right and site.mode == "code":
                        self._tell(200, {"next": "code"})
                    else:
                        self._admit(right)
                else:
                    self._admit(any(told["code"] == totp_code(TOTP_SECRET, site.now() + moved) for moved in (0, -30)))

            def _admit(self, right: bool) -> None:
                if not right:
                    self._tell(site.status, {"detail": "Wrong user or password"})
                    return
                token = f"token-{len(site.logins)}-{site.mode}"
                site.logins.append(token)
                site.tokens.add(token)
                self._tell(200, {"token": token}, *(() if site.keeps else (("Set-Cookie", f"sid={token}; Path=/; HttpOnly; Max-Age=3600"),)))

            def _tell(self, status: int, told: Any, *headers: tuple[str, str]) -> None:
                self._send(status, "application/json", json.dumps(told).encode(), *headers)

            def _send(self, status: int, kind: str, body: bytes, *headers: tuple[str, str]) -> None:
                self.send_response(status)
                for name, value in (("Content-Type", kind), ("Content-Length", str(len(body))), *headers):
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    @staticmethod
    def now() -> float:
        import time
        return time.time()

    def expire(self) -> None:
        self.tokens.clear()


@contextmanager
def script_site(mode: str = "one", storage: str = "null", *, says: bool = True) -> Iterator[ScriptSite]:
    site = ScriptSite(mode, storage, says=says)
    thread = threading.Thread(target=site.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield site
    finally:
        site.server.shutdown()
        site.server.server_close()
        thread.join()
