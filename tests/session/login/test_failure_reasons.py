"""Failed logins and their reported causes, through the command line."""

from __future__ import annotations

import socket
import socketserver
import struct
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner

from pipeline.cli.main import main
from tests.servers.authority import Authority
from tests.servers.pages import Answer, Asked, PageSite
from tests.servers.ports import free_port
from tests.servers.proxies import start_http_proxy, start_socks_proxy
from tests.session.proxies.test_proxies import pem_files

FORM = "<form method=post><input type=hidden name=csrf value=1><input name=user><input type=password name=pass></form>"
OUT = "<a href=/logout>out</a>"


def site_that_answers(answer: Answer) -> PageSite:
    def login(asked: Asked) -> Answer:
        return answer if asked.method == "POST" else Answer(FORM)
    return PageSite({"/login": login, "/": Answer("<p>start</p>")})


def settings(folder: Path, site: PageSite, extra: str = "") -> str:
    file = folder / "settings.toml"
    file.write_text(f"""
        [pipeline]
        data_dir = "data"
        [spiders.s]
        start = "{site.url}/"
        robots = false
        [spiders.s.items.fields]
        text = "p"
        [spiders.s.login]
        url = "{site.url}/login"
        check = "a[href*=logout]"
        {extra}
        """ + ('fields = { user = "me", pass = { env = "SITE_PASSWORD" } }' if "fields" not in extra else ""))
    return str(file)


SET = {"Set-Cookie": "sid=1; Path=/"}
MATRIX = [
    ("right password, wrong check, a greeting", Answer("<div class=flash>Welcome back, me!</div>", headers=SET),
     "login.check matches nothing on the page after the login"),
    ("right password, wrong check, a form to change it", Answer(
        "<h1>me</h1><form><input type=password name=new></form>", headers=SET), "login.check matches nothing"),
    ("wrong password, 403 beside a CSRF field", Answer(f"<p class=error>Wrong password</p>{FORM}", 403),
     "the user name or password was not accepted: “Wrong password”"),
    ("wrong password, 401", Answer("<p>who?</p>", 401), "the user name or password was not accepted"),
    ("wrong password, 200", Answer(f"<p class=error>Wrong password</p>{FORM}"), "the user name or password was not accepted"),
    ("the form refused", Answer("<h1>Forbidden</h1><p>CSRF verification failed.</p>", 403), "refused the form (CSRF check)"),
    ("a captcha", Answer("<div class=g-recaptcha></div>"), "asks for a captcha"),
    ("a wall of scripts", Answer("<noscript>Please enable JavaScript</noscript><script>go()</script>"), "runs scripts"),
    ("locked", Answer(f"<p class=error>Your account is locked</p>{FORM}"), "locked, or there were too many login attempts"),
    ("a code", Answer("<form><input name=otp autocomplete=one-time-code></form>"), "asks for a one-time code"),
    ("a Secure cookie over http", Answer(FORM, headers={"Set-Cookie": "sid=1; Secure; Path=/"}), "has set no cookie that could identify the session"),
    ("a cookie of another domain", Answer(FORM, headers={"Set-Cookie": "sid=1; Domain=other.example"}),
     "has set no cookie that could identify the session"),
]


@pytest.mark.parametrize("command", [["login"], ["run"], ["check", "--connect"]], ids=" ".join)
@pytest.mark.parametrize(("answer", "said"), [row[1:] for row in MATRIX], ids=[row[0] for row in MATRIX])
def test_a_failed_login_is_reported_with_its_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer, said: str,
                                         command: list[str]) -> None:
    monkeypatch.setenv("SITE_PASSWORD", "geheim")
    if command != ["login"] and said not in MATRIX[0][2] and "no cookie" not in said:
        pytest.skip("the message is the same: one of each is enough")
    with site_that_answers(answer) as site:
        file = settings(tmp_path, site)
        names = ["s"] if command != ["check", "--connect"] else []
        result = CliRunner().invoke(main, [command[0], "--settings", file, *command[1:], *names])
        told = result.output + str(result.exception)
    assert result.exit_code != 0
    assert said in told


@pytest.mark.parametrize(("page", "said"), [
    (Answer("<head><script src=/app.js></script></head><noscript>You need to enable JavaScript to run this app.</noscript>"
            "<div id=root></div>"), "the login page requires a browser that runs scripts"),
    (Answer("<title>Just a moment...</title><div id=cf></div><script>go()</script>", 403), "the login page requires a browser that runs scripts"),
    (Answer("<h1>Forbidden</h1>", 403), "the login page responded with status 403"),
    (Answer("<p>Welcome</p><script>go()</script>"), "the login page has no form with a field")])
def test_a_missing_form_is_reported_with_its_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: Answer, said: str) -> None:
    monkeypatch.setenv("SITE_PASSWORD", "geheim")
    with PageSite({"/login": page, "/": Answer("<p>start</p>")}) as site:
        result = CliRunner().invoke(main, ["login", "--settings", settings(tmp_path, site), "s"])
    assert said in result.output + str(result.exception)


def test_login_says_that_a_session_is_valid_and_fresh_logs_in_again(tmp_path: Path,
                                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    def login(asked: Asked) -> Answer:
        if asked.method != "POST":
            return Answer(FORM)
        return Answer(OUT if b"geheim" in asked.body else f"<p class=error>Wrong password</p>{FORM}",
                      headers=SET if b"geheim" in asked.body else {})

    def start(asked: Asked) -> Answer:
        return Answer(OUT if "sid=1" in asked.headers.get("Cookie", "") else "<p>anonymous</p>")
    with PageSite({"/login": login, "/": start}) as site:
        file = settings(tmp_path, site)
        monkeypatch.setenv("SITE_PASSWORD", "geheim")

        def told(*options: str) -> str:
            result = CliRunner().invoke(main, ["login", "--settings", file, *options, "s"])
            return result.output + str(result.exception or "")
        assert "s: logged in" in told()
        monkeypatch.setenv("SITE_PASSWORD", "falsch")
        assert "the session is still logged in; the password was not tried" in told()
        assert "not accepted: “Wrong password”" in told("--fresh")
        assert "the session is still logged in" in told()  # what it had is not lost
        monkeypatch.setenv("SITE_PASSWORD", "geheim")
        assert "s: logged in" in told("--fresh")


def test_a_token_rule_that_finds_nothing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITE_PASSWORD", "geheim")
    with PageSite({"/login": lambda asked: Answer('{"access": "abc", "ok": true}', headers={"Content-Type": "application/json"})}) as site:
        file = settings(tmp_path, site, 'json = true\ntoken = { jmes = "token" }').replace("", "")
        Path(file).write_text(Path(file).read_text().replace('check = "a[href*=logout]"', 'check = { jmes = "ok" }'))
        result = CliRunner().invoke(main, ["login", "--settings", file, "s"])
    assert "login.token found nothing in the response" in result.output + str(result.exception)


def behind_proxy(folder: Path, site: PageSite, proxy: str, more: str = "") -> str:
    """The settings of a spider with a login, through a proxy."""
    file = Path(settings(folder, site))
    file.write_text(file.read_text().replace("robots = false", f'robots = false\nproxy = "p"\nretries = 0\n{more}')
                    + f'\n[proxies]\np = "{proxy}"\n')
    return str(file)


@contextmanager
def dead_proxy() -> Iterator[str]:
    yield f"http://me:geheim@127.0.0.1:{free_port()}"


@contextmanager
def wrong_password() -> Iterator[str]:
    with start_http_proxy("me:right") as place:
        yield f"http://me:wrong@{place}"


@contextmanager
def no_password() -> Iterator[str]:
    with start_http_proxy("me:right") as place:
        yield f"http://{place}"


@contextmanager
def strange_certificate() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        cert, key = pem_files(Authority(trustme.CA(), Path(folder)), Path(folder))
        with start_http_proxy("me:right", cert=cert, key=key) as place:
            yield f"https://me:right@{place}"


@contextmanager
def no_tls() -> Iterator[str]:
    with PageSite() as server:
        yield f"https://me:right@{server.host}"


@contextmanager
def socks_password() -> Iterator[str]:
    with start_socks_proxy("me", "right") as place:
        yield f"socks5://me:wrong@{place}"


class _Greeting(socketserver.BaseRequestHandler):
    """What a mail server says first."""

    def handle(self) -> None:
        self.request.recv(3)
        self.request.sendall(b"220 ready\r\n")


@contextmanager
def no_socks() -> Iterator[str]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Greeting) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"socks5://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


PROXIES = {
    "down": (dead_proxy, "the proxy is down: Connection refused; the request was not sent without the proxy"),
    "407, wrong password": (wrong_password, "the proxy refused the user name or password"),
    "407, no password": (no_password, "the proxy refused the user name or password"),
    "a certificate of nobody": (strange_certificate, "the proxy's certificate is not trusted"),
    "no TLS": (no_tls, "the proxy does not speak TLS on this port"),
    "SOCKS, wrong password": (socks_password, "the proxy refused the user name or password"),
    "no SOCKS": (no_socks, "the proxy does not speak SOCKS5 on this port"),
}
COMMANDS = {"login": ["login", "s"], "run": ["run", "s"], "run without a login": ["run", "s"], "check": ["check", "--connect"]}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("proxy", [pytest.param(name, marks=[pytest.mark.needs("microsocks")] * ("password" in name and "SOCKS" in name))
                                   for name in PROXIES])
def test_a_proxy_that_does_not_work_is_reported_as_the_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxy: str,
                                                     command: str) -> None:
    monkeypatch.setenv("SITE_PASSWORD", "geheim")
    start, said = PROXIES[proxy]
    with site_that_answers(Answer(OUT)) as site, start() as url:
        file = Path(behind_proxy(tmp_path, site, url))
        if "without" in command:
            text = file.read_text()
            file.write_text(text[:text.index("[spiders.s.login]")] + text[text.index("[proxies]"):])
        name, *arguments = COMMANDS[command]
        result = CliRunner().invoke(main, [name, "--settings", str(file), *arguments])
        told = result.output + str(result.exception)
    assert result.exit_code != 0
    assert f"{url.partition(':')[0]}://{url.rpartition('/')[2].rpartition('@')[2]}: {said}" in told
    assert "me:" not in told
    assert site.asked == []


TRIED = {
    "a page like any other": (Answer(OUT), ""),
    "a page that is refused": (Answer("no", 403), "the session is valid, but the site refused this page (status 403)"),
    "a page that asks for a password": (Answer(FORM), "this page asks for a password, although the session is valid"),
    "a page that shows what login.expired names": (Answer("<p id=wall>log in</p>"), "matched login.expired.present"),
    "a page that logs out": (Answer("<p>bye</p>"), "the session has expired, and this may be the page for anonymous visitors"),
}


@pytest.mark.parametrize("tried", TRIED)
def test_try_says_what_a_page_shows_about_the_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tried: str) -> None:
    monkeypatch.setenv("SITE_PASSWORD", "geheim")
    page, said = TRIED[tried]
    over: list[str] = []

    def start(asked: Asked) -> Answer:
        return Answer(OUT if "sid=1" in asked.headers.get("Cookie", "") and not over else "<p>anonymous</p>")

    def one(asked: Asked) -> Answer:
        if "logs out" in tried:
            over.append(asked.path)
        return page
    with site_that_answers(Answer(OUT, headers=SET)) as site:
        site.pages |= {"/": start, "/page": one}
        file = settings(tmp_path, site, "expired = { present = '#wall' }")
        result = CliRunner().invoke(main, ["try", "--settings", file, "s", f"{site.url}/page"])
        told = result.output + str(result.exception or "")
    assert said in told
    assert ("session: " in told) == bool(said and "expired.present" not in said), told


FRAMES = {
    "an iframe": ({"/login": "<h1>x</h1><iframe src='/sso/form'></iframe>", "/sso/form": FORM}, "in a frame at {url}/sso/form"),
    "a frameset": ({"/login": "<frameset><frame src=menu><frame src=in.html></frameset>", "/menu": "<p>m</p>", "/in.html": FORM},
                   "in a frame at {url}/in.html"),
    "a frame in a frame": ({"/login": "<iframe src=/a></iframe>", "/a": "<iframe src=/b></iframe>", "/b": FORM}, "in a frame at {url}/b"),
    "beside a search form": ({"/login": "<form><input name=q></form><iframe src=/f></iframe>", "/f": FORM}, "in a frame at {url}/f"),
    "by base": ({"/login": "<base href=/deep/><iframe src=f></iframe>", "/deep/f": FORM}, "in a frame at {url}/deep/f"),
    "another host": ({"/login": "<iframe src=http://sso.example/in></iframe>"}, "the form may be in a frame, at http://sso.example/in"),
    "itself": ({"/login": "<iframe src=/login></iframe>"}, "the login page has no form with a field user or pass; fields found: none; fix"),
    "a frame without it": ({"/login": "<iframe src=/f></iframe>", "/f": "<p>advertisement</p>"}, "the form may be in a frame, at {url}/f"),
    "a counter": ({"/login": "<form><input type=password name=pw></form><noscript><iframe src=/ns></iframe></noscript>"}, "fields found: pw; fix"),
}


@pytest.mark.parametrize(("pages", "said"), FRAMES.values(), ids=FRAMES.keys())
def test_a_login_form_in_a_frame_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pages: dict[str, str], said: str) -> None:
    monkeypatch.setenv("SITE_PASSWORD", "geheim")
    with PageSite({path: Answer(body) for path, body in pages.items()}) as site:
        result = CliRunner().invoke(main, ["login", "--settings", settings(tmp_path, site), "s"])
        assert said.replace("fix", "").rstrip("; ").format(url=site.url) in result.output + str(result.exception)
        if "in a frame at" in said:
            assert f"set login.url to {said.rpartition(' ')[2].format(url=site.url)}" in result.output + str(result.exception)
    assert not [asked for asked in site.asked if asked.method == "POST"]


@pytest.mark.parametrize("command", [["login", "s"], ["run", "s"], ["try", "s", "{url}/"], ["check", "--connect"]], ids=" ".join)
@pytest.mark.parametrize("check_url", ["", "check_url = '{url}/me'"], ids=["no check_url", "check_url"])
def test_a_login_check_without_a_page_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], check_url: str) -> None:
    """The check matches only on the response to the login; the start page is the same without a login."""
    monkeypatch.setenv("SITE_PASSWORD", "geheim")
    with site_that_answers(Answer(OUT, headers=SET)) as site:
        site.pages["/me"] = lambda asked: Answer(OUT if "sid=1" in asked.headers.get("Cookie", "") else "no")
        file = settings(tmp_path, site, check_url.format(url=site.url))
        result = CliRunner().invoke(main, [command[0], "--settings", file, *(word.format(url=site.url) for word in command[1:])])
        assert ("items are never reported as gone: login.check matches only on the response to the login" in " ".join(result.output.split())) is (not check_url), result.output


class BadProxy(socketserver.BaseRequestHandler):
    """A proxy that ends a connection after what it was told to say; b"reset": without reading what it was asked."""

    said: bytes | None

    def handle(self) -> None:
        if self.said == b"reset":
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif self.said is not None:
            self.request.recv(65536)
            self.request.sendall(self.said)


HUNG_UP = "the proxy closed the connection before a response arrived from https://site.example/"
BAD_PROXIES = {
    "hangs up at once": (None, HUNG_UP, "https"), "hangs up before its answer": (b"", HUNG_UP, "https"),
    "hangs up in the site's handshake": (b"HTTP/1.1 200 OK\r\n\r\n", HUNG_UP, "https"),
    "resets the connection": (b"reset", HUNG_UP, "https"),
    "502": (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "the proxy answered 502", "https"),
    "403": (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", "the proxy answered 403", "https"),
    "a redirect to a portal": (b"HTTP/1.1 302 Found\r\nLocation: http://portal.lan/\r\n\r\n", "the proxy answered 302", "https"),
    "ssh": (b"SSH-2.0-OpenSSH_9.2\r\n", "the proxy did not respond with HTTP but with “SSH-2.0-OpenSSH_9.2”; correct the proxy's scheme or port", "https"),
    "ssh, to a page without TLS": (b"SSH-2.0-OpenSSH_9.2\r\n", "the proxy did not respond with HTTP but with “SSH-2.0-OpenSSH_9.2”", "http"),
    "ftp": (b"220 ready\r\n", "the proxy did not respond with HTTP but with “220 ready”", "https"),
    "ftp, to a page without TLS": (b"220 ready\r\n", "the proxy did not respond with HTTP but with “220 ready”", "http"),
    "TLS": (b"\x15\x03\x01\0\x02\x02\x46", "the proxy did not respond with HTTP but with TLS", "https"),
    "TLS, to a page without it": (b"\x15\x03\x01\0\x02\x02\x46", "the proxy did not respond with HTTP but with TLS", "http"),
    "a page without a head": (b"<p>no</p>", "the proxy did not respond with HTTP but with “<p>no</p>”", "http"),
}


@pytest.mark.parametrize("command", [["login", "s"], ["run", "s"], ["run", "open"], ["check", "--connect"]], ids=" ".join)
@pytest.mark.parametrize("case", BAD_PROXIES)
def test_a_proxy_that_closes_the_connection_or_refuses_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, command: list[str]) -> None:
    said, told_of_it, scheme = BAD_PROXIES[case]
    monkeypatch.setenv("SITE_PASSWORD", "geheim")
    handler = type("Handler", (BadProxy,), {"said": said})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        proxy = f"http://127.0.0.1:{server.server_address[1]}"
        common = f'start = "{scheme}://site.example/"\nproxy = "p"\nrobots = false\nretries = 0\n[spiders.%s.items.fields]\ntext = "p"\n'
        file = tmp_path / "settings.toml"
        file.write_text(f"""[pipeline]\ndata_dir = "data"\n[proxies]\np = {{ url = "{proxy}" }}\n[spiders.open]\n{common % "open"}
            [spiders.s]\n{common % "s"}[spiders.s.login]\nurl = "{scheme}://site.example/login"\ncheck = "a"\nfields = {{ user = "me" }}\n""")
        result = CliRunner().invoke(main, [command[0], "--settings", str(file), *command[1:]])
        server.shutdown()
    told = result.output + str(result.exception)
    assert result.exit_code != 0
    assert f"{proxy}: {told_of_it}" in " ".join(told.split())
