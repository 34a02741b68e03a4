"""The cookies of the last login, their expiry, and the mail that announces it."""

from __future__ import annotations

import json
import mailbox
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.mail.alerts import check
from pipeline.session import Session
from pipeline.session.cookies.cookie import make_cookie
from pipeline.session.cookies.jar import Jar
from pipeline.settings import Settings, load
from pipeline.store import Store, open_store
from pipeline.store.mail import login_cookies, outbox
from tests.servers.pages import Answer, Asked, PageSite
from tests.servers.program import Program, eventually
from tests.session.conftest import OpenSession

NOW = datetime.now(UTC)


def ends(session: Session) -> dict[str, float]:
    """Hours from now, by cookie."""
    found = session.login_cookies()
    assert found is not None
    return {cookie.name: round((cookie.ends_at - NOW).total_seconds() / 3600) for cookie in found[1]}


def walled(*cookies: str) -> dict[str, object]:
    """A site with a login that sets these cookies, one an answer."""
    pages: dict[str, object] = {"/in": Answer("<a href=/logout>out</a>")}
    for number, cookie in enumerate(cookies):
        onward = f"/c{number + 1}" if number + 1 < len(cookies) else "/in"
        pages[f"/c{number}"] = Answer(status=302, headers={"Location": onward, "Set-Cookie": cookie})

    def login(asked: Asked) -> Answer:
        if asked.method == "GET":
            return Answer("<form method=post><input name=user><input type=password name=pass></form>",
                          headers={"Set-Cookie": "before=1; Max-Age=7200; HttpOnly"})
        return Answer(status=302, headers={"Location": "/c0"})
    pages["/login"] = login
    return pages


@pytest.mark.parametrize(("cookies", "spider", "expected"), [
    (["sid=1; Max-Age=36000; HttpOnly", "seen=1; Max-Age=60"], "", {"sid": 10, "before": 2}),
    (["sid=1; HttpOnly", "remember=1; Max-Age=36000"], "", {"before": 2}),
    (["sid=1; HttpOnly", "remember=1; Max-Age=36000"], 'login_cookies = ["remember"]', {"remember": 10})])
def test_the_cookies_of_a_login_are_those_that_it_set(open_with: OpenSession, cookies: list[str], spider: str,
                                                            expected: dict[str, int]) -> None:
    with PageSite(walled(*cookies)) as site:  # type: ignore[arg-type]
        session = open_with(site.url, spider, login=f'url = "{site.url}/login"')
        session.jar.set_cookie(make_cookie(domain="127.0.0.1", name="old", value="1", expires_s=int(time.time()) + 60,
                                           http_only=True))
        session.ensure_login()
        assert ends(session) == expected
        assert ends(open_with(site.url, spider, login=f'url = "{site.url}/login"')) == expected


def test_of_imported_cookies_those_of_the_spiders_hosts_count(open_with: OpenSession, tmp_path: Path) -> None:
    later = int(NOW.timestamp()) + 36000
    exported = [
        {"name": "sid", "value": "1", "domain": ".shop.example", "httpOnly": True, "expirationDate": later},
        {"name": "_ga", "value": "1", "domain": ".shop.example", "expirationDate": later - 30000},
        {"name": "sub", "value": "1", "domain": ".other.example", "httpOnly": True, "expirationDate": later},
        {"name": "browser", "value": "1", "domain": "www.shop.example", "httpOnly": True, "session": True}]
    (tmp_path / "cookies.json").write_text(json.dumps(exported))
    session = open_with("https://www.shop.example/", cookies='file = "cookies.json"')
    assert ends(session) == {"sid": 10}
    found = session.login_cookies()
    assert found is not None
    assert found[1][0].brought_in
    assert found[1][0].site == "shop.example"
    assert "1" not in (tmp_path / "var/jars/s.way").read_text().partition("cookies")[2]  # names only


@pytest.mark.parametrize("damaged", ["", "{", "[]", '{"at": "x", "brought_in": true, "cookies": 3}'])
def test_a_damaged_record_of_the_last_login_loses_only_the_warning(open_with: OpenSession, tmp_path: Path, damaged: str) -> None:
    session = open_with("https://www.shop.example/")
    assert session.login_cookies() is None
    (tmp_path / "var/jars").mkdir(parents=True)
    (tmp_path / "var/jars/s.way").write_text(damaged)
    assert session.login_cookies() is None


class Ending:
    """A store in which the login of spider `s` ends, and the alerts about that."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self.store = store
        self._settings = settings

    def login(self, at: datetime, *lifetimes: timedelta, brought_in: bool = False, now: datetime | None = None) -> None:
        from pipeline.model import LoginCookie
        cookies = [LoginCookie(f"c{number}", "shop.example", at, brought_in, at + lifetime)
                   for number, lifetime in enumerate(lifetimes)]
        login_cookies.record(self.store, "s", at, cookies, now=now or at)

    def told(self, now: datetime) -> str | None:
        number = check(self.store, self._settings, late=[], log_of=lambda run: Path("none"), now=now)
        return None if number is None else outbox.get(self.store, number)[0].subject


@pytest.fixture
def ending(tmp_path: Path) -> Ending:
    (tmp_path / "settings.toml").write_text('[alerts]\nto = ["ops@example.com"]\n[spiders.s]\nstart = "http://a.example/"\n')
    return Ending(open_store(tmp_path / "var"), load(tmp_path / "settings.toml"))


def test_the_expiry_of_a_login_is_announced_once_and_its_renewal_once(ending: Ending) -> None:
    day = timedelta(days=1)
    ending.login(NOW, 14 * day, 30 * day)
    assert ending.told(NOW + 10.9 * day) is None
    assert ending.told(NOW + 11.1 * day) == "[alert] The login of s expires soon"
    for later in (11.2, 12, 13.9, 14.1, 20):  # an expired cookie is not announced again
        assert ending.told(NOW + later * day) is None
    ending.login(NOW, 14 * day, now=NOW + 20 * day)  # the jar has forgotten the first by now
    assert ending.told(NOW + 20 * day) is None
    ending.login(NOW + 21 * day, 14 * day)
    assert ending.told(NOW + 21 * day) == "[alert] s has a new login"
    assert ending.told(NOW + 32.1 * day) == "[alert] The login of s expires soon"


def test_a_cookie_that_its_site_renews_is_not_announced(ending: Ending) -> None:
    day = timedelta(days=1)
    for number in range(30):
        ending.login(NOW, (14 + number) * day, now=NOW + number * day)
        assert ending.told(NOW + number * day) is None


def test_a_login_of_short_duration_is_not_announced_but_imported_cookies_are(ending: Ending) -> None:
    hour = timedelta(hours=1)
    for number in range(5):
        ending.login(NOW + number * 8 * hour, 12 * hour)
        assert ending.told(NOW + number * 8 * hour) is None
    ending.login(NOW + 50 * hour, 12 * hour, brought_in=True)
    assert ending.told(NOW + 50 * hour) == "[alert] The login of s expires soon"


def test_a_service_mails_that_imported_cookies_expire_soon(program: Program) -> None:
    jar = Jar(program.folder / "cookies.txt")
    ends_at = int(time.time()) + 86400
    cookie = make_cookie(domain="127.0.0.1", name="session", value="geheim", expires_s=ends_at, http_only=True)
    jar.set_cookie(cookie)
    jar.save()
    with PageSite({"/": "<p>x</p>"}) as site:
        program.write(f"""
            [alerts]
            to = ["ops@example.com"]
            [spiders.s]
            start = "{site.url}/"
            schedule = "every 1h"
            cookies.file = "cookies.txt"
            items.fields.x = "p"
            """)
        program.serve()
        (message,) = eventually(lambda: list(mailbox.Maildir(program.data / "mail")), within_s=60)
        assert message["Subject"] == "[alert] The login of s expires soon"
        text = next(part for part in message.walk() if part.get_content_type() == "text/plain").get_payload(decode=True).decode()
        assert "Cookie: session (127.0.0.1)" in text
        assert "`pipeline cookies import s FILE`" in text
        assert "geheim" not in text
        assert program.status()["spiders"]["s"]["login_ends"] == datetime.fromtimestamp(ends_at, UTC).isoformat()
        assert program.stop() == 0
