"""The cookie jar: its file, what is sent, limits, clocks, repairs and threads."""

from __future__ import annotations

import http.cookiejar
import stat
import string
import subprocess
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import CookieError
from pipeline.session import Jar, describe
from pipeline.session.cookies.cookie import make_cookie, text_of
from pipeline.session.cookies.cookie_store import HOST_BYTES, HOST_COOKIES, JAR_BYTES, JAR_COOKIES
from pipeline.session.cookies.netscape import read_netscape, write_netscape
from tests.servers.site import Site
from tests.session.conftest import OpenSession

SOON = int(time.time()) + 86400


def names(jar: Jar) -> set[str]:
    return {cookie.name for cookie in jar}


def test_a_missing_file_is_an_empty_jar(tmp_path: Path) -> None:
    jar = Jar.open(tmp_path / "jar.txt")
    assert len(jar) == 0
    assert jar.save() is False
    assert not (tmp_path / "jar.txt").exists()


def test_cookies_are_the_same_after_saving_and_opening(tmp_path: Path) -> None:
    jar = Jar.open(tmp_path / "jars/jar.txt")
    jar.set_cookie(make_cookie(domain="a.example", name="session", value="x=y; z", http_only=True, secure=True))
    jar.set_cookie(make_cookie(domain=".a.example", name="kept", value='"q"', path="/p", expires_s=SOON))
    jar.set_cookie(make_cookie(domain="localhost", name="empty", value=""))
    assert jar.save() is True
    assert jar.save() is False
    assert stat.S_IMODE((tmp_path / "jars/jar.txt").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "jars").stat().st_mode) == 0o700
    again = Jar.open(tmp_path / "jars/jar.txt")
    assert list(again) == list(jar)
    assert again.save() is False
    assert [path.name for path in (tmp_path / "jars").iterdir()] == ["jar.txt"]


def test_the_standard_library_reads_the_file(tmp_path: Path) -> None:
    jar = Jar(tmp_path / "jar.txt")
    jar.set_cookie(make_cookie(domain=".a.example", name="n", value="v", expires_s=SOON))
    jar.set_cookie(make_cookie(domain="b.example", name="hidden", value="v", expires_s=SOON, http_only=True))
    jar.save()
    theirs = http.cookiejar.MozillaCookieJar(tmp_path / "jar.txt")
    theirs.load()
    assert {cookie.name for cookie in theirs} == {"n", "hidden"}


@pytest.mark.parametrize(("line", "words"), [
    ("a.example TRUE / FALSE 0 n v", ":2: the line has 1 tab-separated field instead of seven; export the file again"),
    ("a.example\tYES\t/\tFALSE\t0\tn\tgeheim", ":2: the second field is neither TRUE nor FALSE"),
    ("a.example\tTRUE\t/\tFALSE\tsoon\tn\tgeheim", ":2: the fifth field is not an expiry time"),
    ("a.example\tTRUE\t/\tFALSE\tnan\tn\tgeheim", ":2: the fifth field is not an expiry time"),
    ("\tTRUE\t/\tFALSE\t0\tn\tgeheim", ":2: the line has no domain, no name"),
    ("a.example\tTRUE\t/\tFALSE\t0\tn\tge\x1bheim", ":2: the line has no domain, no name, or a control character")])
def test_a_malformed_line_is_reported_with_its_number(line: str, words: str) -> None:
    with pytest.raises(CookieError) as caught:
        list(read_netscape(f"# Netscape HTTP Cookie File\n{line}\n", "file"))
    assert f"file{words}" in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_a_folder_in_place_of_the_jar_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CookieError, match="cannot be read: Is a directory"):
        Jar.open(tmp_path)


def test_files_of_other_programs_are_read() -> None:
    text = ("\r\n# a comment\r\n#HttpOnly_.a.example\tTRUE\t/\tTRUE\t0\tone\tv\r\n"
            f"a.example\tTRUE\t/\tfalse\t{SOON}.75\ttwo\ta=b\tc\n"[:-3] + "\n"
            "b.example\tFALSE\t/\tFALSE\t-1\tthree\t\nb.example\tFALSE\t/\tFALSE\t0\tfour\n")
    one, two, three, four = read_netscape(text, "f")
    assert (one.shown_domain, one.secure, one.expires_s) == (".a.example", True, None)
    assert (two.shown_domain, two.expires_s, two.value) == (".a.example", SOON, "a=b")
    assert (three.shown_domain, three.value, three.expires_s) == ("b.example", "", None)
    assert four.value == ""


printable = st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\t"), max_size=20)
token = st.text(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~[]", min_size=1, max_size=10)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(["a.example", ".a.example", "localhost", "127.0.0.1"]), token, printable,
                          st.booleans(), st.sampled_from([None, SOON])), max_size=5))
def test_any_cookie_survives_the_file(rows: list[tuple[str, str, str, bool, int | None]]) -> None:
    jar = Jar()
    for domain, name, value, flag, expires in rows:
        jar.set_cookie(make_cookie(domain=domain, name=name, value=value, secure=flag, http_only=flag, expires_s=expires))
    data = write_netscape(jar)
    assert list(read_netscape(text_of(data), "f")) == list(jar)


def test_a_sites_cookies_are_kept_and_sent_again(site: Site, open_with: OpenSession) -> None:
    session = open_with(site.url)
    with session.client() as client:
        client.get(f"{site.url}/cookies/set?plain=1&awkward=\"a,b\"&b[x]=2")
    assert session.jar.save()
    with open_with(site.url).client() as client:
        assert client.get(f"{site.url}/cookies").json() == {"plain": "1", "awkward": '"a,b"', "b[x]": "2"}
        assert client.get(f"{site.url}/cookies", cookies={"plain": "2"}).json()["plain"] == "2"
        assert client.get(f"{site.url}/cookies", headers={"Cookie": "mine=1"}).json() == {"mine": "1"}
        client.get(f"{site.url}/cookies/set?plain=&attributes=Path=/;Max-Age=0")
        assert "plain" not in client.get(f"{site.url}/cookies").json()


def test_hosts_without_a_dot_keep_their_cookies(site: Site, open_with: OpenSession) -> None:
    url = site.url.replace("127.0.0.1", "localhost")
    session = open_with(url)
    with session.client() as client:
        client.get(f"{url}/cookies/set?one=1")
        client.get(f"{url}/cookies/set?two=2&attributes=Domain=localhost;Path=/")
    session.jar.save()
    assert "\nlocalhost\tFALSE" in session.jar.path.read_text()
    with open_with(url).client() as client:
        assert client.get(f"{url}/cookies").json() == {"one": "1", "two": "2"}
        assert client.get(f"{site.url}/cookies").json() == {}
        client.get(f"{url}/cookies/set?one=&attributes=Path=/;Max-Age=0")
        assert client.get(f"{url}/cookies").json() == {"two": "2"}


@pytest.mark.parametrize(("domain", "sent_to"), [
    ("a.example", {"http://a.example/"}),
    (".a.example", {"http://a.example/", "http://www.a.example/"}),
    ("www.a.example", {"http://www.a.example/"})])
def test_host_only_and_domain_cookies_go_where_browsers_send_them(open_with: OpenSession, domain: str,
                                                                 sent_to: set[str]) -> None:
    session = open_with("http://a.example/")
    session.jar.set_cookie(make_cookie(domain=domain, name="n", value="v"))
    session.jar.set_cookie(make_cookie(domain=domain, name="tls", value="v", secure=True))
    urls = ["http://a.example/", "http://www.a.example/", "http://example/", "http://ba.example/"]
    with session.client() as client:
        import requests
        cookies = {url: client.prepare_request(requests.Request("GET", url)).headers.get("Cookie") for url in urls}
    assert cookies == {url: "n=v" if url in sent_to else None for url in urls}


def test_cookies_of_one_request_stay_with_its_host(site: Site, open_with: OpenSession) -> None:
    elsewhere = site.url.replace("127.0.0.1", "localhost")
    with open_with(site.url).client() as client:
        found = client.get(f"{site.url}/redirect?to={elsewhere}/cookies", cookies={"mine": "1"}).json()
        assert found == {}
        assert site.seen("/redirect")[0].cookies == {"mine": "1"}


def test_a_cookie_that_no_header_can_carry_does_not_stop_the_request(site: Site, open_with: OpenSession) -> None:
    session = open_with(site.url)
    session.jar.set_cookie(make_cookie(domain="127.0.0.1", name="n", value="中文"))
    with session.client() as client:
        found = client.get(f"{site.url}/cookies").json()
    assert found["n"].encode("latin-1").decode() == "中文"


def test_threads_share_a_jar(site: Site, open_with: OpenSession) -> None:
    session = open_with(site.url)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with session.client() as client:
                for turn in range(6):
                    client.get(f"{site.url}/cookies/set?c{number}_{turn}=1")
                    session.jar.save()
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []
    assert len(session.jar) == len(Jar.open(session.jar.path)) == 36


def test_values_are_masked_when_shown() -> None:
    jar = Jar()
    jar.set_cookie(make_cookie(domain="a.example", name="sid", value="geheim", secure=True, http_only=True))
    jar.set_cookie(make_cookie(domain=".a.example", name="until", value="g", expires_s=1800000000))
    until, sid = describe(jar, datetime(2026, 1, 1, tzinfo=UTC))
    assert (sid.value, sid.expires, sid.flags) == ("••• (6 characters)", None,
                                                   ("secure", "httponly", "host-only", "session"))
    assert (until.expires, until.expired, until.flags) == (datetime(2027, 1, 15, 8, 0, tzinfo=UTC), False, ())
    assert describe(jar, datetime(2028, 1, 1, tzinfo=UTC))[0].expired
    assert "geheim" not in repr(describe(jar, datetime.now(UTC))) + repr(jar)


@pytest.mark.needs("curl")
def test_curl_reads_the_jar_and_writes_one_back(site: Site, open_with: OpenSession, tmp_path: Path) -> None:
    session = open_with(site.url)
    with session.client() as client:
        client.get(f"{site.url}/cookies/set?session=1&attributes=Path=/;HttpOnly")
        client.get(f"{site.url}/cookies/set?lasting=2&attributes=Path=/;Max-Age=9999")
    session.jar.save()
    theirs = tmp_path / "curl.txt"
    done = subprocess.run(["curl", "-sS", "--noproxy", "*", "-b", session.jar.path, "-c", theirs, f"{site.url}/cookies",
                           f"{site.url}/cookies/set?fromcurl=3&attributes=Path=/;HttpOnly"],
                          capture_output=True, text=True, timeout=20, check=True)
    assert '"session": "1"' in done.stdout
    assert '"lasting": "2"' in done.stdout
    back = Jar.open(theirs)
    assert names(back) == {"session", "lasting", "fromcurl"}
    assert {cookie.name: cookie.value for cookie in back} == {"session": "1", "lasting": "2", "fromcurl": "3"}
    assert {(line.name, *line.flags) for line in describe(back, datetime.now(UTC))} == {
        ("session", "httponly", "host-only", "session"), ("lasting", "host-only"),
        ("fromcurl", "httponly", "host-only", "session")}


def test_same_site_is_kept_in_a_comment_that_other_readers_skip(site: Site, open_with: OpenSession, tmp_path: Path) -> None:
    session = open_with(site.url)
    with session.client() as client:
        client.get(f"{site.url}/cookies/set?strict=1&attributes=Path=/;SameSite=STRICT")
        client.get(f"{site.url}/cookies/set?odd=1&attributes=Path=/;SameSite=whatever")
    session.jar.set_cookie(make_cookie(domain="a.example", name="lax", value="1", same_site="Lax"))
    session.jar.save()
    assert session.jar.path is not None
    again = Jar.open(session.jar.path)
    flags = {line.name: [flag for flag in line.flags if flag.startswith("samesite")] for line in describe(again, datetime.now(UTC))}
    assert flags == {"strict": ["samesite=strict"], "odd": [], "lax": ["samesite=lax"]}
    assert again.save() is False
    standard = http.cookiejar.MozillaCookieJar(session.jar.path)
    standard.load(ignore_discard=True, ignore_expires=True)
    assert {cookie.name for cookie in standard} == {"strict", "odd", "lax"}


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


def test_a_clock_that_is_ahead_for_a_moment_loses_no_cookie(tmp_path: Path) -> None:
    """It is ahead while the jar is opened, asked, changed and saved."""
    clock = Clock()
    jar = Jar.open(tmp_path / "jar.txt", clock=clock)
    jar.store("http://a.example/", [b"sid=1; Max-Age=3600; Path=/"])
    jar.save()
    clock.now += 10 * 365 * 86400
    jar = Jar.open(tmp_path / "jar.txt", clock=clock)
    assert jar.header("http://a.example/") == b""
    jar.store("http://a.example/", [b"other=1; Path=/"])
    jar.save()
    clock.now -= 10 * 365 * 86400
    assert jar.header("http://a.example/") == b"sid=1; other=1"
    assert Jar.open(tmp_path / "jar.txt", clock=clock).header("http://a.example/") == b"sid=1; other=1"


def test_a_cookie_is_sent_until_it_expires() -> None:
    clock = Clock()
    jar = Jar(clock=clock)
    jar.store("http://a.example/", [b"short=1; Max-Age=60; Path=/", b"long=1; Max-Age=600; Path=/", b"deep=1; Max-Age=60; Path=/deep"])
    assert jar.header("http://a.example/deep") == b"deep=1; short=1; long=1"
    clock.now += 61
    assert (jar.header("http://a.example/"), jar.header("http://a.example/deep")) == (b"long=1", b"long=1")
    assert [cookie.name for cookie in jar.alive()] == ["long"]


def test_the_next_run_sends_cookies_in_the_same_order(tmp_path: Path) -> None:
    jar = Jar(tmp_path / "jar.txt")
    jar.store("http://www.a.example/", [b"z=1; Domain=a.example", b"b=1", b"y=1; Domain=a.example", b"a=1", b"z=2; Domain=a.example"])
    assert jar.header("http://www.a.example/") == b"z=2; b=1; y=1; a=1"
    jar.save()
    assert Jar.open(tmp_path / "jar.txt").header("http://www.a.example/") == b"z=2; b=1; y=1; a=1"


def test_a_host_keeps_180_cookies_expired_ones_go_first_and_those_of_a_login_last() -> None:
    clock = Clock()
    jar = Jar(clock=clock)
    jar.store("http://a.example/login", [b"sid=1; Path=/"])
    jar.store("http://other.example/", [b"other=1; Path=/"])
    jar.protect(cookie.key for cookie in jar if cookie.name == "sid")
    jar.store("http://a.example/", [b"brief=1; Path=/; Max-Age=1", b"old=1; Path=/", b"used=1; Path=/used"])
    jar.store("http://a.example/", [f"n{number}=1; Path=/n".encode() for number in range(176)])
    assert len(jar) == 181
    clock.now += 2
    assert b"used=1" in jar.header("http://a.example/used")  # and so is `old`
    jar.store("http://a.example/", [b"more=1; Path=/"])
    assert not {"brief"} & names(jar)
    jar.store("http://a.example/", [f"m{number}=1; Path=/".encode() for number in range(177)])
    assert len(jar) == 181
    assert {"sid", "other", "m176", "m0"} <= names(jar)
    assert not {"n0", "n175"} & names(jar)


def test_a_response_with_too_many_cookies_leaves_the_last_ones(caplog: pytest.LogCaptureFixture) -> None:
    jar = Jar()
    jar.store("http://a.example/", [f"c{number}=1; Path=/".encode() for number in range(5000)])
    jar.store("http://a.example/", [b"c4999=1; Path=/", b"c4820=1; Path=/"])
    assert [record.getMessage() for record in caplog.records] == [
        "a.example has set more than 180 cookies or 60000 bytes of cookies: the oldest cookies are removed"]
    assert [cookie.name for cookie in jar] == [f"c{number}" for number in range(5000 - HOST_COOKIES, 5000)]


def test_the_jar_has_a_limit_on_cookies_and_bytes() -> None:
    jar = Jar()
    for host in range(40):
        jar.store(f"http://h{host}.example/", [f"c{number}=1; Path=/".encode() for number in range(100)])
    assert len(jar) == JAR_COOKIES
    assert jar.header("http://h0.example/") == b""
    assert jar.header("http://h39.example/").count(b"=") == 100
    for host in range(40):
        jar.store(f"http://large{host}.example/", [f"c{number}={'x' * 4000}; Path=/".encode() for number in range(180)])
    assert HOST_BYTES - 4100 < len(jar.header("http://large39.example/")) < HOST_BYTES
    assert JAR_BYTES - 4100 < sum(len(cookie.octets()) + 2 for cookie in jar) <= JAR_BYTES


def test_a_jar_that_a_site_let_grow_to_21_mb_is_repaired_and_keeps_the_login(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "jar.txt"
    junk = "".join(f"a.example\tFALSE\t/\tFALSE\t0\tjunk{number}\t{'x' * 2000}\n" for number in range(10_500))
    path.write_text(f"# Netscape HTTP Cookie File\na.example\tFALSE\t/\tFALSE\t0\tsid\tgeheim\n{junk}a.example\tFALSE\t/\tFALSE\t0\thuge\t{'x' * 5000}\n")
    assert path.stat().st_size > 21e6
    jar = Jar.open(path, protected=[("a.example", "/", "sid")])
    assert names(jar) == {"sid", *(f"junk{number}" for number in range(10_471, 10_500))}
    assert f"{path}: 10472 of 10502 cookies were skipped, because they exceed a limit: 4096 bytes for a cookie, 180 cookies" in caplog.text
    assert jar.save()
    caplog.clear()
    assert list(Jar.open(path)) == list(jar)
    assert caplog.text == ""


def test_invalid_lines_of_a_jar_are_skipped_and_logged_without_their_content(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "jar.txt"
    path.write_bytes(b"\x00\xff geheim\na.example\tFALSE\t/\tFALSE\t0\tsid\t1\na.example\tFALSE\t/\tFALSE\tsoon\tn\tgeheim\n"
                     b"a.example\tFALSE\t/\tFALSE\t0\tn\tge\x1bheim\n")
    jar = Jar.open(path)
    assert jar.header("http://a.example/") == b"sid=1"
    assert f"{path}: 3 invalid lines skipped; the first: the line has 1 tab-separated field instead of seven" in caplog.text
    assert "geheim" not in caplog.text
    assert jar.save()
    assert b"geheim" not in path.read_bytes()


def test_a_jar_is_written_only_when_something_changed(tmp_path: Path) -> None:
    jar = Jar(tmp_path / "jar.txt")
    jar.store("http://a.example/", [b"a=1; Path=/"])
    assert jar.save()
    version = jar.version
    jar.store("http://a.example/", [b"a=1; Path=/"])
    assert (jar.version, jar.save()) == (version, False)
    jar.store("http://a.example/", [b"a=; Path=/; Max-Age=0"])
    assert jar.save()
    assert "a.example" not in (tmp_path / "jar.txt").read_text()


def test_a_jar_that_windows_wrote_as_utf_16_is_read(tmp_path: Path) -> None:
    (tmp_path / "jar.txt").write_text("a.example\tFALSE\t/\tFALSE\t0\tn\té\r\n", "utf-16")
    assert Jar.open(tmp_path / "jar.txt").header("http://a.example/") == "n=é".encode()


def test_threads_that_store_send_and_save_at_once_lose_nothing(tmp_path: Path) -> None:
    jar = Jar(tmp_path / "jar.txt")
    errors: list[BaseException] = []

    def work(number: int) -> None:
        url = f"http://h{number % 3}.a.example/"
        try:
            for turn in range(100):
                jar.store(url, [f"c{number}_{turn % 20}={turn}; Path=/p{turn % 3}".encode(), f"d{number}=1; Domain=a.example; Path=/".encode()])
                header = jar.header(f"{url}p{turn % 3}")
                assert f"c{number}_{turn % 20}={turn}".encode() in header.split(b"; ")
                jar.save()
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert list(Jar.open(tmp_path / "jar.txt")) == list(jar)
