"""Logins in a browser: forms that JavaScript builds, and sessions that are kept in localStorage."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import LoginError
from pipeline.session import Session, open_session
from pipeline.session.browser.browser import SessionBrowser
from pipeline.session.browser.emulation import Emulation
from pipeline.session.browser.login.form import FormWords, fill_in, find_form, submit
from pipeline.session.browser.login.password_guard import PasswordGuard
from pipeline.session.browser.process.program import BrowserProgram
from pipeline.settings import load
from tests.servers.browser import running_browser
from tests.servers.pages import Answer, Asked, PageSite
from tests.servers.script_site import PASSWORD, TOTP_SECRET, USER, ScriptSite, script_site

pytestmark = pytest.mark.needs("chromium")
ONE = 'fields = { "E-mail" = "ada", "Password" = { env = "SITE_PASSWORD" } }'
PLAIN = 'fields = { "User name" = "ada", current-password = { env = "SITE_PASSWORD" } }'
TWO = 'fields = { user-name = "ada" }\nsteps = [{ fields = { password = { env = "SITE_PASSWORD" } } }]'
CODE = ('fields = { user-name = "ada" }\nsteps = [{ fields = { password = { env = "SITE_PASSWORD" } } }, '
        '{ totp = { one-time-code = { env = "SITE_TOTP" } } }]')


@pytest.fixture(scope="module")
def running() -> Iterator[str]:
    """The URL of a browser that runs already, for all sessions of this file."""
    with running_browser() as url:
        yield url


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch, running: str) -> None:
    monkeypatch.setenv("BROWSER_URL", running)
    monkeypatch.setenv("SITE_PASSWORD", PASSWORD)
    monkeypatch.setenv("SITE_TOTP", TOTP_SECRET)


def session_of(folder: Path, site: ScriptSite | PageSite, login: str, *, render: bool = True, more: str = "", check: str = '"#user"') -> Session:
    """The session of the spider `s`, as the next process opens it."""
    file = folder / "settings.toml"
    file.write_text(f"""[browser]
remote = {{ env = "BROWSER_URL" }}
[spiders.s]
start = "{site.url}/home"
timeout = "15s"
{'render = "browser"' if render else ""}
{more}
[spiders.s.login]
url = "{site.url}/"
browser = true
check = {check}
{login}
""", "utf-8")
    settings = load(file)
    return open_session("s", settings.spiders["s"], settings)


def refused(session: Session) -> LoginError:
    with pytest.raises(LoginError) as caught:
        session.ensure_login()
    return caught.value


ONLY = r"render = { only = ['/\p{L}+$'] }"
"""\\p{L} is a syntax of the module regex, which the settings allow, and not of Python's re."""


@pytest.mark.parametrize(("mode", "login", "only"), [("one", ONE, ONLY), ("plain", PLAIN, ""), ("code", CODE, "")])
def test_a_form_that_javascript_builds_is_filled_in_as_people_do_and_the_login_checked(tmp_path: Path, mode: str, login: str, only: str) -> None:
    with script_site(mode) as site:
        session = session_of(tmp_path, site, login, render=not only, more=only)
        assert session.ensure_login()
        assert session.checkable
        assert [cookie.value for cookie in session.jar] == site.logins


@pytest.mark.parametrize("storage", ["localStorage", "sessionStorage"])
def test_a_login_whose_token_is_only_in_the_storage_continues_in_the_next_process(tmp_path: Path, storage: str) -> None:
    with script_site("two", storage) as site:
        assert session_of(tmp_path, site, TWO).ensure_login()
        file = tmp_path / "var/jars/s.storage"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert not session_of(tmp_path, site, TWO).ensure_login()
        assert len(site.logins) == 1
        if storage == "localStorage":
            site.expire()
            assert session_of(tmp_path, site, TWO).ensure_login()
            assert len(site.logins) == 2
            assert site.logins[-1] in file.read_text("utf-8")


def test_a_spider_that_renders_nothing_sends_the_token_of_the_storage(tmp_path: Path) -> None:
    with script_site("one", "localStorage") as site:
        login = f'{ONE}\ntoken = {{ jmes = "token" }}\ncheck_url = "{site.url}/api/me"'
        session = session_of(tmp_path, site, login, render=False, check='{ jmes = "name" }')
        assert session.ensure_login()
        assert session.login_headers(f"{site.url}/api/me") == {"Authorization": f"Bearer {site.logins[0]}"}
        with session.client() as client:
            assert client.get(f"{site.url}/api/me").json()["items"] == site.items
        assert not session_of(tmp_path, site, login, render=False, check='{ jmes = "name" }').ensure_login()


@pytest.mark.parametrize(("status", "words"), [
    (401, "the user name or password was not accepted: “Wrong user or password”; correct login.fields"),
    (429, "the account is locked, or there were too many login attempts: “Wrong user or password”")])
def test_a_refused_login_is_reported_in_the_words_of_the_page_or_of_its_api(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, words: str) -> None:
    with script_site("plain", says=status == 401) as site:
        session = session_of(tmp_path, site, PLAIN)
        monkeypatch.setenv("SITE_PASSWORD", "letmein<now>")
        site.status = status
        error = refused(session)
        kept = tmp_path / "var/pages/login-s.html"
        assert words in str(error)
        assert error.retry is (status == 429)
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert "User name" in kept.read_text("utf-8")
        assert "letmein" not in kept.read_text("utf-8")


@pytest.mark.parametrize(("mode", "login", "words"), [
    ("never", ONE, "the login page has no form with a field E-mail or Password; fields found: none"),
    ("plain", 'fields = { "User nam" = "ada" }', "has no field User nam (did you mean 'User name'?); fields found: User name, current-password")])
def test_a_form_that_does_not_appear_is_reported_with_the_fields_of_the_page(tmp_path: Path, mode: str, login: str, words: str) -> None:
    with script_site(mode) as site:
        assert words in str(refused(session_of(tmp_path, site, login)))


FORM = "<form {}><input name=user><input name=pass type=password><button>Log in</button></form>"
WAYS = {
    "a form": FORM.format('action="OTHER/take" method=post'),
    "a form in the URL": FORM.format('action="OTHER/take"'),
    "a redirect that repeats the body": FORM.format('action="/moved" method=post'),
    "a fetch": FORM.format('onsubmit="fetch(`OTHER/take`, {method: `POST`, body: new FormData(this)}); return false"'),
    "a WebSocket": FORM.format('onsubmit="const s = new WebSocket(`OTHER/socket`.replace(`http`, `ws`)); s.onopen = () => s.send(this.pass.value); return false"')}


def test_a_password_is_refused_to_other_origins_whatever_sends_it(tmp_path: Path, running: str) -> None:
    def upgraded(asked: Asked) -> Answer:
        key = base64.b64encode(hashlib.sha1(f"{asked.headers['Sec-WebSocket-Key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest())
        return Answer("", 101, {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": key.decode()})

    with PageSite() as other, PageSite() as site:
        site.pages |= {f"/{at}": page.replace("OTHER", other.url) for at, page in enumerate(WAYS.values())}
        site.pages["/moved"] = Answer("", 307, {"Location": f"{other.url}/take"})
        other.pages["/socket"] = upgraded
        session = session_of(tmp_path, site, ONE, more=f'hosts = ["{other.host}"]')
        words = FormWords("log in", "register")

        async def refused_urls(browser: SessionBrowser, at: int) -> list[str]:
            async with browser.page(Emulation()) as page, PasswordGuard(page, [PASSWORD], lambda url, source: url.startswith(site.url)) as guard:
                await page.goto(f"{site.url}/{at}")
                form = await find_form(page, ["user", "pass"], None, words)
                await submit(page, await fill_in(page, form, {"user": USER, "pass": PASSWORD}, None, words, timeout_s=20))
                async with asyncio.timeout(30):
                    while not guard.refused:
                        await asyncio.sleep(0.05)
                return guard.refused

        async def all_ways() -> dict[str, list[str]]:
            browser = SessionBrowser(session, BrowserProgram(tmp_path, remote=running), max_pages=1)
            try:
                return {way: await refused_urls(browser, at) for at, way in enumerate(WAYS)}
            finally:
                await browser.close()

        found = asyncio.run(all_ways())
        assert {way: [url.partition("?")[0] for url in urls] for way, urls in found.items()} == {
            way: [f"{other.url}/socket" if way == "a WebSocket" else f"{other.url}/take"] for way in WAYS}
        assert {asked.path for asked in other.asked} == {"/socket"}


def test_a_form_at_an_origin_that_the_settings_do_not_name_is_not_filled_in(tmp_path: Path) -> None:
    with PageSite() as other, PageSite() as site:
        site.pages["/"] = Answer("", 302, {"Location": f"{other.url}/sign-in"})
        other.pages["/sign-in"] = WAYS["a form"].replace("OTHER", "")
        login = 'fields = { user = "ada", pass = { env = "SITE_PASSWORD" } }'
        error = refused(session_of(tmp_path, site, login, more=f'hosts = ["{other.host}"]'))
        assert f"refused to send the password to {other.url} instead of {site.url}" in str(error)
        assert f'set login.origins = ["{other.url}"]' in str(error)
        assert all(asked.method == "GET" for asked in other.asked)
