"""Secrets go only to the origins that the settings name.

All senders, all redirects, other hosts, ports and schemes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from pipeline.errors import MailError, PipelineError
from pipeline.heartbeat.notify.dead_man_switch import send_beat
from pipeline.mail.transports.oauth2 import TokenServer
from pipeline.session.trusted_origins import TrustedOrigins, referer_for
from tests.servers.authority import Authority
from tests.servers.pages import Answer, Asked, PageSite
from tests.servers.program import Program

SECRETS = ("the-password", "the-token", "the-header", "the-body", "dGhlLXVzZXI6dGhlLXBhc3N3b3Jk")
FORM = "<form method=post action='{action}'><input name=user><input type=password name=password></form>"
IN = "<a href=/logout>out</a><a class=page href=/page>p</a><a class=file href=/file>f</a>"


@dataclass
class Sites:
    """The spider's own site over TLS, and another one without. kind: how the other address differs."""

    own: PageSite
    other: PageSite
    kind: str

    @property
    def elsewhere(self) -> str:
        port = self.own.host.partition(":")[2]
        return {"host": f"https://localhost:{port}", "port": f"https://{self.second.host}", "scheme": self.other.url}[self.kind]

    second: PageSite

    def leaked(self) -> list[str]:
        """What any address but our own was told."""
        misdirected = [asked for asked in self.own.asked if asked.headers.get("Host") != self.own.host]
        return [secret for asked in (*misdirected, *self.other.asked, *self.second.asked) for secret in SECRETS if secret in said(asked)]

    def asked_elsewhere(self) -> bool:
        return bool([asked for asked in self.own.asked if asked.headers.get("Host") != self.own.host] or self.other.asked or self.second.asked)


def said(asked: Asked) -> str:
    return f"{asked.path} {asked.headers} {asked.body.decode('latin-1')}"


@pytest.fixture(params=["host", "port", "scheme"])
def sites(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sites]:
    authority = Authority(trustme.CA(), tmp_path)
    context = authority.context(host="127.0.0.1")
    authority.ca.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    with PageSite(tls=context) as own, PageSite() as other, PageSite(tls=context) as second:
        for site in (other, second):
            site.pages = {path: Answer(IN) for path in ("/login", "/in", "/page", "/file", "/robots.txt")}
        assert authority.ca_file.exists()
        yield Sites(own, other, request.param, second)


def login(sites: Sites, more: str = "", *, url: str = "/login") -> str:
    return f"""
[spiders.s.login]
url = "{sites.own.url}{url}"
fields = {{ user = "the-user", password = {{ env = "PASSWORD" }} }}
check = "a[href='/logout']"
{more}
"""


def run(program: Program, sites: Sites, tables: str, spider: str = "", *, start: str = "") -> str:
    program.environment |= {"PASSWORD": "the-password", "HEADER": "the-header", "BODY": "the-body"}
    program.write(f"""
[spiders.s]
start = [{start or f'"{sites.own.url}/"'}]
follow = ["a.page"]
download = ["a.file"]
hosts = ["{sites.elsewhere.partition('://')[2]}", "localhost", "127.0.0.1"]
ca_file = "{(program.folder / 'ca.pem').as_posix()}"
retries = 0
{spider}
{tables}
""")
    done = program.run("run", "s")
    return done.stdout + done.stderr


@pytest.fixture(autouse=True)
def _trusted(program: Program, tmp_path: Path) -> None:
    if not (program.folder / "ca.pem").exists() and (tmp_path / "ca.pem").exists():
        (program.folder / "ca.pem").write_bytes((tmp_path / "ca.pem").read_bytes())


def names_both(text: str, sites: Sites, setting: str) -> bool:
    """Whether an error names our origin, the other one, and the setting that would allow it (there is none to http)."""
    other = sites.elsewhere
    return sites.own.url in text and other in text and (setting in text or sites.kind == "scheme")


def test_a_login_form_that_posts_to_another_origin_is_not_sent(program: Program, sites: Sites) -> None:
    sites.own.pages = {"/login": Answer(FORM.format(action=f"{sites.elsewhere}/in")), "/": Answer(IN)}
    told = run(program, sites, login(sites))
    assert names_both(told, sites, "login.origins"), told
    assert not sites.leaked()


def test_of_two_forms_the_one_for_a_trusted_origin_is_sent(program: Program, sites: Sites) -> None:
    sites.own.pages = {"/login": Answer(FORM.format(action=f"{sites.elsewhere}/in") + FORM.format(action="/in")), "/": Answer(IN),
                       "/in": Answer(IN)}
    told = run(program, sites, login(sites))
    assert [asked.path for asked in sites.own.asked if "the-password" in said(asked)] == ["/in"], told
    assert not sites.leaked()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_form_of_a_login_url_that_redirects_to_another_origin_is_not_sent(program: Program, sites: Sites, status: int) -> None:
    sites.own.pages = {"/login": Answer(status=status, headers={"Location": f"{sites.elsewhere}/form"}), "/": Answer(IN)}
    for site in (sites.own, sites.other, sites.second):
        site.pages["/form"] = Answer(FORM.format(action="/in"))
    told = run(program, sites, login(sites))
    assert names_both(told, sites, "login.origins"), told
    assert not sites.leaked()


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("json", [False, True], ids=["form", "json"])
def test_a_login_post_is_not_redirected_to_another_origin(program: Program, sites: Sites, status: int, json: bool) -> None:
    there = Answer(status=status, headers={"Location": f"{sites.elsewhere}/in"})
    sites.own.pages = {"/login": there if json else Answer(FORM.format(action="/post")), "/post": there, "/": Answer(IN)}
    told = run(program, sites, login(sites, "json = true" if json else ""))
    assert names_both(told, sites, "login.origins"), told
    assert not sites.leaked()


@pytest.mark.parametrize("status", [307, 308])
def test_a_post_start_sends_its_body_to_no_other_origin(program: Program, sites: Sites, status: int) -> None:
    sites.own.pages = {"/": Answer(status=status, headers={"Location": f"{sites.elsewhere}/page"})}
    told = run(program, sites, "", start=f'{{ url = "{sites.own.url}/", method = "POST", body = "the-body", '
               'headers = { X-Own = { env = "HEADER" } } }')
    assert names_both(told, sites, "headers_for"), told
    assert not sites.leaked()


def with_login(sites: Sites) -> None:
    """An API's login whose token goes with each request, and a site that sends a page, a file and robots.txt elsewhere."""
    def redirect(path: str) -> Answer:
        return Answer(status=302, headers={"Location": f"{sites.elsewhere}{path}"})

    sites.own.pages = {
        "/login": Answer('{"token": "the-token", "in": 1}', headers={"Content-Type": "application/json"}),
        "/check": Answer(IN), "/": Answer(IN + f"<a class=page href='{sites.elsewhere}/page'>1</a><a class=file href='{sites.elsewhere}/file'>2</a>"),
        "/page": redirect("/page"), "/file": redirect("/file"), "/robots.txt": redirect("/robots.txt")}


SENDING = """headers = { X-Own = { env = "HEADER" } }
auth = { type = "basic", user = "the-user", password = { env = "PASSWORD" } }"""
TOKEN = """json = true
token = { jmes = "token" }
token_header = "X-Token: {token}"
check_url = "%s/check"
"""


def test_token_headers_and_credentials_go_to_trusted_origins_only_for_pages_files_and_robots(program: Program, sites: Sites) -> None:
    with_login(sites)
    told = run(program, sites, login(sites, TOKEN % sites.own.url), SENDING)
    assert sites.asked_elsewhere(), told
    assert not sites.leaked()
    at_home = " ".join(said(asked) for asked in sites.own.asked if asked.path in ("/page", "/file"))
    assert all(secret in at_home for secret in ("the-token", "the-header", SECRETS[-1]))


def test_named_origins_get_the_secrets_they_are_named_for(program: Program, sites: Sites) -> None:
    sites.own.pages = {"/login": Answer(FORM.format(action=f"{sites.elsewhere}/in")), "/": Answer(IN), "/page": Answer("x"),
                       "/file": Answer(status=302, headers={"Location": f"{sites.elsewhere}/file"})}
    sites.own.pages["/in"] = Answer(IN)
    run(program, sites, login(sites, f'origins = ["{sites.elsewhere}"]'),
        f'headers_for = ["{sites.elsewhere}"]\nheaders = {{ X-Own = {{ env = "HEADER" }} }}')
    assert set(sites.leaked()) == (set() if sites.kind == "scheme" else {"the-password", "the-header"})


@pytest.mark.parametrize(("source", "target", "referer"), [
    ("https://a.example/x?q=1#f", "https://a.example/y", "https://a.example/x?q=1"),
    ("https://u:p@a.example/x", "https://a.example/y", "https://a.example/x"),
    ("https://a.example/x", "https://b.example/y", "https://a.example/"),
    ("https://a.example:8443/x", "https://a.example/y", "https://a.example:8443/"),
    ("https://a.example/x", "http://a.example/y", ""),
    ("http://a.example/x", "https://a.example/y", "http://a.example/"),
    ("http://a.example/x", "http://b.example/y", "http://a.example/"),
    ("about:blank", "http://b.example/y", ""),
    ("", "http://b.example/y", ""),
])
def test_a_referer_to_another_origin_has_only_the_origin(source: str, target: str, referer: str) -> None:
    assert referer_for(source, target) == referer


@pytest.mark.parametrize(("named", "url", "source", "trusted"), [
    ("https://a.example/login", "https://A.example:443/in", "", True),
    ("https://a.example/", "https://a.example:8443/", "", False),
    ("https://a.example/", "https://b.a.example/", "", False),
    ("https://a.example/", "http://a.example/", "", False),
    ("http://a.example/", "https://a.example/", "", True),
    ("http://a.example:81/", "https://a.example/", "", False),
    ("http://a.example/", "http://a.example/x", "https://a.example/", False),
    ("https://bücher.example/", "https://xn--bcher-kva.example/", "", True),
    ("https://a.example/", "https://a.example./", "", True),
    ("https://a.example/", "https://a.example@b.example/", "", False),
    ("https://a.example/", "https://a.example\\@b.example/", "", False),
    ("https://a.example/", "", "", False),
])
def test_trusted_origins_decide_by_scheme_host_and_port(named: str, url: str, source: str, trusted: bool) -> None:
    assert TrustedOrigins([named], "x").trust(url, source) is trusted


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_beats_and_token_servers_are_not_redirected(status: int) -> None:
    with PageSite({"/stolen": Answer('{"access_token": "x"}')}) as other, PageSite() as own:
        there = Answer(status=status, headers={"Location": f"{other.url}/stolen"})
        own.pages = {"/beat": there, "/beat/fail": there, "/token": there}
        with pytest.raises(PipelineError, match=f"status {status}"):
            send_beat(f"{own.url}/beat", "fail", "the-body")
        with pytest.raises(MailError, match=f"status {status}"):
            TokenServer(f"{own.url}/token", "client", lambda: "the-password").ask({"refresh_token": "the-token"})
        assert not other.asked
        assert len(own.asked) == 2
