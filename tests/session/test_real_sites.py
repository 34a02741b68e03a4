"""Sessions with third-party sites: Django's admin and httpbin."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpbin
import pytest

from pipeline.errors import LoginError
from pipeline.session import Jar, Session, prepare
from pipeline.settings import RequestTable, Secret
from tests.servers.django_admin import PASSWORD, USER, django_admin
from tests.servers.proxies import start_http_proxy
from tests.servers.wsgi import start_wsgi
from tests.session.conftest import OpenSession


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with start_wsgi(django_admin(tmp_path_factory.mktemp("django"))) as url:
        yield url


@pytest.fixture(scope="module")
def bin_url() -> Iterator[str]:
    with start_wsgi(httpbin.app) as url:
        yield url


def django_login(url: str) -> str:
    return (f'url = "{url}/admin/login/?next=/admin/auth/user/"\ncheck = "#logout-form"\n'
            f'fields = {{ username = "{USER}", password = {{ env = "DJANGO_PASSWORD" }} }}')


def test_logs_in_to_djangos_admin_through_a_proxy(admin: str, open_with: OpenSession,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_PASSWORD", PASSWORD)
    with start_http_proxy("me:secret") as place:
        session = open_with(f"{admin}/admin/", 'proxy = "p"', before=f'[proxies]\np = "http://me:secret@{place}"',
                            login=django_login(admin))
        session.ensure_login()
        with session.client() as client:
            page = client.get(f"{admin}/admin/auth/user/").text
    assert "Select user to change" in page
    assert f"/admin/auth/user/1/change/\">{USER}" in page
    assert {cookie.name for cookie in Jar.open(session.jar.path)} == {"csrftoken", "sessionid"}
    assert open_with(f"{admin}/admin/", login=django_login(admin)).logged_in()


def test_a_wrong_password_is_reported_in_djangos_words(admin: str, open_with: OpenSession,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_PASSWORD", "wrong")
    session = open_with(f"{admin}/admin/", login=django_login(admin))
    with pytest.raises(LoginError) as caught:
        session.ensure_login()
    assert "not accepted: “Please enter the correct username and password for a staff account." in str(caught.value)


def send(session: Session, **table: object) -> dict[str, object]:
    start = prepare(RequestTable.model_validate(table))
    with session.client() as client:
        return client.request(start.method, start.url, headers=dict(start.headers), data=start.body,
                              cookies=start.cookies).json()


def test_httpbin_receives_the_declared_requests(bin_url: str, open_with: OpenSession,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIN_PASSWORD", "pässwörd")
    session = open_with(bin_url)
    got = send(session, url=f"{bin_url}/get", params={"key1": "value1", "key2": ["value2", "value3"], "none": ""})
    assert got["args"] == {"key1": "value1", "key2": ["value2", "value3"]}
    got = send(session, url=f"{bin_url}/post", form=[["key1", "value1"], ["key1", "value2"]])
    assert got["form"] == {"key1": ["value1", "value2"]}
    assert send(session, url=f"{bin_url}/post", json={"some": ["dätä", 1]})["json"] == {"some": ["dätä", 1]}
    got = send(session, url=f"{bin_url}/put", method="put", body="räw", headers={"X-Mine": "1"})
    assert (got["data"], got["headers"]["X-Mine"]) == ("räw", "1")
    assert send(session, url=f"{bin_url}/cookies", cookies={"cookies_are": "working"})["cookies"] == {
        "cookies_are": "working"}
    auth = {"type": "basic", "user": "müller", "password": Secret("env", "BIN_PASSWORD")}
    got = send(session, url=f"{bin_url}/basic-auth/müller/pässwörd", auth=auth)
    assert got["authenticated"] is True
    got = send(session, url=f"{bin_url}/bearer", auth={"type": "bearer", "token": Secret("env", "BIN_PASSWORD")})
    assert got["authenticated"] is True
    assert re.match(r"crawl-to-inbox/\d", send(session, url=f"{bin_url}/user-agent")["user-agent"])


def test_httpbins_cookies_are_kept_for_the_next_run(bin_url: str, open_with: OpenSession) -> None:
    session = open_with(bin_url)
    assert send(session, url=f"{bin_url}/cookies/set/sessioncookie/123456789")["cookies"] == {
        "sessioncookie": "123456789"}
    session.jar.save()
    assert send(open_with(bin_url), url=f"{bin_url}/cookies")["cookies"] == {"sessioncookie": "123456789"}
    session = open_with(bin_url)
    assert send(session, url=f"{bin_url}/cookies/delete?sessioncookie")["cookies"] == {}
    assert session.jar.save()
    assert len(open_with(bin_url).jar) == 0


@pytest.mark.parametrize("kind", ["gzip", "deflate", "brotli"])
def test_encoded_responses_are_decoded(bin_url: str, open_with: OpenSession, kind: str) -> None:
    assert send(open_with(bin_url), url=f"{bin_url}/{kind}")[kind.replace("gzip", "gzipped").replace(
        "deflate", "deflated")] is True


@pytest.mark.parametrize("path", ["digest-auth/auth/me/secret", "digest-auth/auth/me/secret/SHA-256",
                                  "digest-auth/auth/me/secret/SHA-256/never", "basic-auth/me/secret"])
def test_a_client_answers_http_authentication(bin_url: str, open_with: OpenSession, monkeypatch: pytest.MonkeyPatch,
                                              path: str) -> None:
    monkeypatch.setenv("BIN_PASSWORD", "secret")
    kind = path.partition("-")[0]
    session = open_with(bin_url, f'auth = {{ type = "{kind}", user = "me", password = {{ env = "BIN_PASSWORD" }} }}')
    with session.client() as client:
        assert client.get(f"{bin_url}/{path}").json()["authenticated"] is True
