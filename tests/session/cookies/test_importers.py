"""Imports of cookies: headers, browser extensions, Playwright, Netscape files."""

from __future__ import annotations

import json
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import CookieError, UsageError
from pipeline.session import Jar, read_cookies
from pipeline.session.cookies.importers import import_cookies
from pipeline.settings import CookiesTable
from pipeline.store.session_files import LocalFile
from tests.session.conftest import OpenSession

URL = "https://www.a.example/start"
SOON = int(time.time()) + 86400


def read(text: str) -> list[tuple[str, str, str, bool, int | None]]:
    found = read_cookies(text, "f", url=URL)
    return [(cookie.shown_domain, cookie.name, cookie.value, cookie.secure, cookie.expires_s) for cookie in found]


def test_a_raw_header_gives_every_cookie() -> None:
    assert read('Cookie: a=1; b[x]=2; c="q;'.replace(";", "; ") + " d=e=f==;flag;") == [
        ("www.a.example", "a", "1", True, None), ("www.a.example", "b[x]", "2", True, None),
        ("www.a.example", "c", '"q', True, None), ("www.a.example", "d", "e=f==", True, None),
        ("www.a.example", "", "flag", True, None)]


def test_browser_extensions_json_is_read() -> None:
    text = json.dumps([
        {"domain": ".a.example", "hostOnly": False, "httpOnly": True, "name": "one", "path": "/p", "secure": True,
         "sameSite": "lax", "session": False, "expirationDate": SOON + 0.5, "value": "1", "storeId": "0", "id": 1},
        {"domain": "a.example", "hostOnly": True, "name": "two", "session": True, "value": "", "expirationDate": 1},
        {"domain": "a.example", "hostOnly": False, "name": "three", "value": "3", "expiry": SOON * 1000}])
    assert read(text) == [(".a.example", "one", "1", True, SOON), ("a.example", "two", "", False, None),
                          (".a.example", "three", "3", False, SOON)]
    assert read_cookies(text, "f", url=URL)[0].http_only
    assert [cookie.same_site for cookie in read_cookies(text, "f", url=URL)] == ["Lax", "", ""]


def test_playwrights_storage_state_is_read() -> None:
    text = json.dumps({"cookies": [{"name": "n", "value": "v", "domain": ".a.example", "path": "/", "expires": -1,
                                    "httpOnly": True, "secure": True, "sameSite": "Lax"}], "origins": []})
    assert read(text) == [(".a.example", "n", "v", True, None)]


def test_a_plain_table_of_names_is_read() -> None:
    assert read('{"a": "1"}') == [("www.a.example", "a", "1", True, None)]


def test_a_netscape_file_is_read_with_a_byte_order_mark() -> None:
    assert read(f"\ufeff# HTTP Cookie File\r\na.example\tTRUE\t/\tTRUE\t{SOON}\tn\tv\r\n") == [
        (".a.example", "n", "v", True, SOON)]


@pytest.mark.parametrize(("text", "words"), [
    ("", "f: the cookie file or header is empty; use a Netscape cookies.txt"),
    ("geheim", "f: the format of the cookies is not supported; supported formats: a Netscape cookies.txt"),
    ("a=1\nb=geheim", "f: the format of the cookies is not supported"),
    ("a=1; =geheim", "f: cookie 2 has no name"),
    ('{"cookies": [', "f:1:14: not valid JSON"),
    ('{"cookies": 3}', "f: the JSON is not a list of cookies"),
    ("[1]", "f: cookie 1: the entry is not a JSON object with name, value and domain"),
    ('[{"name": "n", "value": "geheim\\ud800"}]', "f: cookie 1: the cookie's name or value is missing or has control"),
    ('[{"name": "n", "value": 3}]', "f: cookie 1: the cookie's name or value is missing"),
    ('[{"name": "n", "value": "geheim\\u0007"}]', "f: cookie 1: the cookie's name or value is missing or has control"),
    ('[{"name": "n", "value": "geheim", "domain": [1]}]', "f: cookie 1: the cookie's domain or path"),
    ('[{"name": "n", "value": "geheim", "expires": "soon"}]', "f: cookie 1: the cookie's expiry time is not a number"),
    ("[" * 100000, "f"),
    ("# Netscape HTTP Cookie File\na.example TRUE", "f:2: the line has 1 tab-separated field")])
def test_each_malformed_import_is_reported_with_its_place_and_fix(text: str, words: str) -> None:
    with pytest.raises(CookieError) as caught:
        read_cookies(text, "f", url=URL)
    assert str(caught.value).startswith(words)
    assert caught.value.fix
    assert "geheim" not in str(caught.value)


def value_of(jar: Jar) -> str | None:
    return next(iter(jar)).value


def test_cookies_are_imported_only_when_they_change(open_with: OpenSession, monkeypatch: pytest.MonkeyPatch,
                                                      tmp_path: Path) -> None:
    def opened() -> Jar:
        return open_with(URL, cookies='header = { env = "SITE_COOKIE" }').jar

    monkeypatch.setenv("SITE_COOKIE", "sid=first")
    jar = opened()
    assert value_of(jar) == "first"
    mark = tmp_path / "var/jars/s.imported"
    assert stat.S_IMODE(mark.stat().st_mode) == 0o600
    assert "first" not in mark.read_text()

    jar.store(URL, [b"sid=renewed by the site; Path=/"])
    jar.save()
    assert value_of(opened()) == "renewed by the site"

    monkeypatch.setenv("SITE_COOKIE", "sid=second")
    assert value_of(opened()) == "second"

    jar.path.unlink()
    assert value_of(opened()) == "second"


def test_a_relative_path_starts_at_the_settings_folder(open_with: OpenSession, tmp_path: Path) -> None:
    (tmp_path / "cookies.txt").write_text("# Netscape HTTP Cookie File\n.a.example\tTRUE\t/\tFALSE\t0\tn\tv\n")
    assert value_of(open_with(URL, cookies='file = "cookies.txt"').jar) == "v"


@pytest.mark.parametrize(("content", "words"), [
    (None, "the file does not exist; export a Netscape cookies.txt"),
    (".a.example\tTRUE\t/\tFALSE\t1000\tn\tv\n", "the cookie has expired; log in with a browser"),
    ("# Netscape HTTP Cookie File\n", "no cookies found; log in")])
def test_an_import_without_valid_cookies_is_reported(open_with: OpenSession, tmp_path: Path, content: str | None,
                                             words: str) -> None:
    if content is not None:
        (tmp_path / "cookies.txt").write_text(content)
    with pytest.raises(CookieError) as caught:
        open_with(URL, cookies='file = "cookies.txt"')
    assert str(caught.value).startswith(f"{tmp_path / 'cookies.txt'}: {words}")


def test_a_missing_secret_of_a_header_is_reported(open_with: OpenSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COOKIE", raising=False)
    with pytest.raises(UsageError, match="NO_COOKIE is not set"):
        open_with(URL, cookies='header = { env = "NO_COOKIE" }')


def test_imported_cookies_are_sent(open_with: OpenSession, site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITE_COOKIE", "a=1; b[x]=2")
    session = open_with(site.url, cookies='header = { env = "SITE_COOKIE" }')
    with session.client() as client:
        assert client.get(f"{site.url}/cookies").json() == {"a": "1", "b[x]": "2"}


def test_the_bytes_of_an_import_are_sent_unchanged(open_with: OpenSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cookies.txt").write_bytes(b"# Netscape HTTP Cookie File\na.example\tFALSE\t/\tFALSE\t0\tn\t" + "é".encode("latin-1") + b"\n")
    assert open_with("http://a.example/", cookies='file = "cookies.txt"').jar.header("http://a.example/") == b"n=\xe9"
    (tmp_path / "cookies.json").write_text('[{"name": "n", "value": "Jos\\u00e9 \u540d", "domain": "a.example"}]', "utf-8")
    assert open_with("http://a.example/", cookies='file = "cookies.json"').jar.header("http://a.example/") == "n=José 名".encode()
    monkeypatch.setenv("SITE_COOKIE", 'Cookie: n=José\u3000; q="a, b"; flag')
    assert open_with("http://a.example/", cookies='header = { env = "SITE_COOKIE" }').jar.header("http://a.example/") == \
        'n=José\u3000; q="a, b"; flag'.encode()


def test_an_import_is_repeated_when_the_jar_has_lost_its_cookies(open_with: OpenSession, tmp_path: Path) -> None:
    line = f"a.example\tFALSE\t/\tFALSE\t{SOON}\t{{}}\t1\n"
    (tmp_path / "cookies.txt").write_text(line.format("sid") + line.format("seen"))

    def opened() -> Jar:
        return open_with("http://a.example/", cookies='file = "cookies.txt"').jar

    jar = opened()
    jar.store("http://a.example/", [b"sid=2; Path=/", b"seen=; Path=/; Max-Age=0"])
    jar.save()
    assert opened().header("http://a.example/") == b"sid=2; seen=1"  # what is there keeps its newer value
    jar = opened()
    jar.clear()
    jar.save()
    assert opened().header("http://a.example/") == b"sid=1; seen=1"
    jar = opened()
    jar.store("http://a.example/", [b"sid=; Path=/; Max-Age=0", b"sid=new; Path=/; Domain=a.example"])
    jar.save()
    assert opened().header("http://a.example/") == b"seen=1; sid=new"  # the site set a new one of that name


def test_an_import_that_has_expired_meanwhile_is_not_reported_again(open_with: OpenSession, tmp_path: Path) -> None:
    clock_is_ahead = 1_000
    (tmp_path / "cookies.txt").write_text(f"a.example\tFALSE\t/\tFALSE\t{SOON}\tsid\t1\n")
    jar = open_with("http://a.example/", cookies='file = "cookies.txt"').jar
    table, mark = CookiesTable(file="cookies.txt"), tmp_path / "var/jars/s.imported"
    import_cookies(jar, table, folder=tmp_path, default_url="http://a.example/", mark=LocalFile(mark), last_login=LocalFile(tmp_path / "state"), now_s=SOON + clock_is_ahead)
    assert jar.header("http://a.example/") == b"sid=1"


def test_a_cookie_larger_than_browsers_allow_is_reported() -> None:
    with pytest.raises(CookieError, match="f: the cookie n is larger than 4096 bytes, the maximum that browsers store; export"):
        read_cookies(f"n={'x' * 4096}", "f", url=URL)


def test_cookies_of_an_international_host_are_sent_to_it(open_with: OpenSession, tmp_path: Path) -> None:
    (tmp_path / "cookies.txt").write_text(".bücher.example\tTRUE\t/\tFALSE\t0\tn\t1\n", "utf-8")
    jar = open_with("http://bücher.example/", cookies='file = "cookies.txt"').jar
    assert jar.header("http://www.xn--bcher-kva.example/") == b"n=1"
