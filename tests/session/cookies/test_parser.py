"""Parsing of `Set-Cookie`.

What is stored in the jar and what is sent back, kind by kind (RFC 6265 and RFC 6265bis).
"""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.session import Jar
from pipeline.session.cookies.cookie import text_of
from pipeline.session.cookies.netscape import read_netscape, write_netscape
from pipeline.session.cookies.parser import parse_date

DATES = json.loads((Path(__file__).parents[2] / "data" / "http-state-cookie-dates.json").read_text())["cases"]
HTTP, HTTPS = "http://www.shop.example/members/list", "https://www.shop.example/members/list"
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC).timestamp()


def sent(*lines: str, url: str = HTTP, to: str = "", served: str = "", now_s: float = NOW) -> str:
    """The Cookie field of a request to `to`, by default to `url`, after an answer of `url` with these lines."""
    jar = Jar(clock=lambda: now_s)
    jar.store(url, [line.encode() for line in lines], served=served.encode())
    return jar.header(to or url).decode()


@pytest.mark.parametrize("case", DATES, ids=lambda case: case["test"][:40])
def test_a_date_is_parsed_by_the_standard(case: dict[str, str]) -> None:
    wanted = case["expected"] and int(parsedate_to_datetime(case["expected"]).timestamp())
    assert parse_date(case["test"]) == wanted


@pytest.mark.parametrize(("date", "wanted"), [
    ("Sunday, 06-Nov-94 08:49:37 GMT", "1994-11-06T08:49:37"), ("Wed, 01 Jan 69 00:00:00 GMT", "2069-01-01T00:00:00"),
    ("Wed, 01 Jan 70 00:00:00 GMT", "1970-01-01T00:00:00"), ("Wed, 31 Dec 1969 23:59:59 GMT", "1969-12-31T23:59:59"),
    ("Mon, 01 January 1601 00:00:00 GMT", "1601-01-01T00:00:00"), ("Fri, 31 Dec 9999 23:59:59 GMT", "9999-12-31T23:59:59"),
    ("Tue Dec 01 2037 10:00:00 GMT+0000 (Coordinated Universal Time)", "2037-12-01T10:00:00"),
    ("Tue, 01 Dec 2037 10:00:00 -0000", "2037-12-01T10:00:00"), ("2037-12-01T10:00:00Z", None),
    ("Tue, 30 Feb 2037 10:00:00 GMT", None), ("Thu, 29 Feb 2036 10:00:00 GMT", "2036-02-29T10:00:00"),
    ("Tue, 01 Dec 2037 24:00:00 GMT", None), ("Tue, 01 Dec 1600 10:00:00 GMT", None), ("Tue, 01 Foo 2037 10:00:00 GMT", None),
    ("Tue, 01 Dez 2037 10:00:00 GMT", None), ("Tue, 0 Dec 2037 10:00:00 GMT", None), ("٠١ Dec 2037 10:00:00", None),
    ("", None), ("0", None), ("-1", None), ("Session", None), ("1577836800", None)])
def test_unusual_dates_are_parsed(date: str, wanted: str | None) -> None:
    assert parse_date(date) == (None if wanted is None else int(datetime.fromisoformat(f"{wanted}+00:00").timestamp()))


@pytest.mark.parametrize("attributes", [
    "Version=1;Comment=;Domain=;Path=/", 'Max-Age="3600"', "Max-Age=never", "Max-Age=", "Max-Age=1.5", "Max-Age=+5", "Max-Age=5 days",
    'Path="/"', "Path=members", "Path", "Path=", "Domain", "Domain=.", "Expires=Wed, 09 Foo 2027 22:23:32 GMT", "Expires=never",
    "Expires=", "Expires=Wed, 30 Feb 2020 00:00:00 GMT", "Max-Age=0; Max-Age=60", "Max-Age=60; Max-Age=never", "SameSite=Sometimes",
    "Max-Age=99999999999999999999999", "Expires=Fri, 31 Dec 9999 23:59:59 GMT", "Expires=Thu, 01 Jan 1970 00:00:01 GMT; Max-Age=60",
    "Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:01 GMT", "Priority=High; Partitioned", "Path=/elsewhere; Path=/members",
    "Domain=other.example; Domain=shop.example", "HttpOnly=no", ";;; ; =; ===", "Comment=a,b=c", "Max-Age=60; Max-Age=" + "9" * 2000,
    "Path=/" + "x" * 2000, "Expires=Tue, 01-Dec-37 10:00:00 GMT"])
def test_an_invalid_or_repeated_attribute_does_not_lose_the_cookie(attributes: str) -> None:
    assert sent(f"sid=1; {attributes}") == "sid=1"


@pytest.mark.parametrize("attributes", [
    "Max-Age=0", "Max-Age=-1", "Max-Age=-99999999999999", "Expires=Thu, 01 Jan 1970 00:00:00 GMT", "Expires=Wed, 31 Dec 1969 23:59:59 GMT",
    "Expires=Mon, 01 Jan 1601 00:00:00 GMT", "Expires=Thu, 01-Jan-70 00:00:01 GMT", "Max-Age=60; Max-Age=0",
    "Expires=Tue, 01 Dec 2037 10:00:00 GMT; Max-Age=0", "EXPIRES = Sat, 28 Nov 2026 12:00:00 GMT"])
def test_an_expired_cookie_deletes_one_from_the_same_response(attributes: str) -> None:
    assert sent("keep=1; Path=/", "sid=1; Path=/", f"sid=; Path=/; {attributes}") == "keep=1"


@pytest.mark.parametrize(("line", "wanted"), [
    ("token", "token"), ("  token  ", "token"), ("=token", ""), ("=", ""), ("", ""), (";", ""), ("=sid=1", ""), ("a=", "a="),
    ("a==b=", "a==b="), ('a="b; c"', 'a="b'), ("a b=c d", "a b=c d"), ("a=b\x00c", ""), ("a=b; Path=/\x07", ""), ("a=b\x7f", ""), ("a\tb=c", ""),
    ("a=b\tc", "a=b\tc"), ("\ta\t=\tb\t", "a=b"), ("a=" + "v" * 4095, "a=" + "v" * 4095), ("a=" + "v" * 4096, ""), ("é" * 2049 + "=", ""),
    ("__Host-a", ""), ("__secure-a=1", ""), ("__Secure-", ""), ("__Hosta=1", "__Hosta=1")])
def test_a_pair_is_parsed_as_in_browsers(line: str, wanted: str) -> None:
    assert sent(line) == wanted


def test_cookies_without_a_name_replace_each_other() -> None:
    assert sent("one; Path=/", "two; Path=/", "sid=1; Path=/") == "two; sid=1"
    assert sent("one; Path=/", "sid=1; Path=/", "x; Path=/; Max-Age=0") == "sid=1"


@pytest.mark.parametrize(("line", "wanted"), [
    ("__Host-a=1; Secure; Path=/", True), ("__HOST-a=1; Secure; Path=/", True), ("__Host-a=1; Secure", False),
    ("__Host-a=1; Path=/", False), ("__Host-a=1; Secure; Path=/; Domain=shop.example", False), ("__host-a=1; Secure; Path=/members", False),
    ("__Host-a=1; Secure; Path=/; Domain=", True), ("__Secure-a=1; Secure", True), ("__SeCuRe-a=1; Secure; Domain=shop.example", True),
    ("__Secure-a=1", False)])
def test_a_prefix_requires_its_attributes(line: str, wanted: bool) -> None:
    assert bool(sent(line, url="https://www.shop.example/")) == wanted
    assert sent(line, url="http://www.shop.example/") == ""


@pytest.mark.parametrize(("domain", "host", "to", "wanted"), [
    ("shop.example", "www.shop.example", "shop.example", True), (".SHOP.example", "www.shop.example", "a.b.shop.example", True),
    ("", "www.shop.example", "a.www.shop.example", False), ("www.shop.example", "shop.example", "shop.example", False),
    ("op.example", "shop.example", "shop.example", False), ("example", "shop.example", "shop.example", False),
    ("com", "shop.com", "shop.com", False), (".co.uk", "shop.co.uk", "shop.co.uk", False), ("github.io", "me.github.io", "me.github.io", False),
    ("github.io", "github.io", "github.io", True), ("github.io", "github.io", "me.github.io", False),
    ("me.github.io", "a.me.github.io", "me.github.io", True), ("b.c.kobe.jp", "x.b.c.kobe.jp", "b.c.kobe.jp", True),
    ("c.kobe.jp", "x.c.kobe.jp", "x.c.kobe.jp", False), ("city.kobe.jp", "x.city.kobe.jp", "x.city.kobe.jp", True),
    ("lan", "printer.lan", "printer.lan", False), ("localhost", "localhost", "localhost", True), ("intranet", "intranet", "intranet", True),
    ("intranet", "intranet", "a.intranet", False), ("127.0.0.1", "127.0.0.1", "127.0.0.1", True), ("0.0.1", "127.0.0.1", "127.0.0.1", False),
    ("[::1]", "[::1]", "[::1]", False), ("::1", "[::1]", "[::1]", True), ("xn--bcher-kva.example", "www.xn--bcher-kva.example", "xn--bcher-kva.example", True),
    ("bücher.example", "www.xn--bcher-kva.example", "www.xn--bcher-kva.example", False), ("shop.example.", "shop.example", "shop.example", False),
    ("shop.example:80", "shop.example", "shop.example", False), ('"shop.example"', "shop.example", "shop.example", False),
    ("..shop.example", "shop.example", "shop.example", False), ("shop..example", "shop.example", "shop.example", False)])
def test_a_domain_includes_its_subdomains_and_no_other_hosts(domain: str, host: str, to: str, wanted: bool) -> None:
    assert bool(sent(f"a=1; Domain={domain}", url=f"http://{host}/", to=f"http://{to}/")) == wanted


def test_an_international_host_has_its_cookies_however_it_is_written() -> None:
    jar = Jar()
    jar.store("http://BÜCHER.example/", [b"a=1"])
    assert jar.header("http://xn--bcher-kva.example/") == jar.header("http://bücher.example/") == b"a=1"


@pytest.mark.parametrize(("path", "to", "wanted"), [
    ("", "/members/", True), ("", "/members", True), ("", "/membership", False), ("", "/", False), ("/", "/x", True), ("/members/", "/members", False),
    ("/members", "/members/a", True), ("/members", "/members?x", True), ("/MEMBERS", "/members", False), ("/m%65mbers", "/members", False)])
def test_a_path_includes_the_paths_below_it(path: str, to: str, wanted: bool) -> None:
    assert bool(sent(f"a=1; Path={path}", to=f"http://www.shop.example{to}")) == wanted


def test_longer_paths_come_first_then_earlier_cookies_and_a_new_value_keeps_its_position() -> None:
    assert sent("a=1; Path=/", "b=1; Path=/members", "c=1; Path=/", "d=1; Domain=shop.example; Path=/members", "a=2; Path=/") == \
        "b=1; d=1; a=2; c=1"


def test_a_secure_cookie_is_set_and_sent_over_tls_only_and_plain_http_leaves_it_alone() -> None:
    jar = Jar()
    jar.store(HTTP, [b"a=plain; Secure; Path=/"])
    assert jar.header(HTTPS) == b""
    jar.store(HTTPS, [b"a=1; Secure; Path=/members; Domain=shop.example"])
    assert (jar.header(HTTP), jar.header(HTTPS)) == (b"", b"a=1")
    for attack in (b"a=2; Path=/members", b"a=2; Path=/members/list", b"a=2; Path=/members; Domain=shop.example", b"a=; Path=/members; Max-Age=0"):
        jar.store(HTTP, [attack])
        assert jar.header(HTTPS) == b"a=1"
    jar.store(HTTP, [b"a=other; Path=/", b"b=1; Path=/"])  # of another path it is another cookie
    assert jar.header(HTTPS) == b"a=1; a=other; b=1"
    jar.store(HTTPS, [b"a=3; Secure; Path=/members; Domain=shop.example"])
    assert jar.header(HTTPS) == b"a=3; a=other; b=1"


def test_an_expired_secure_cookie_blocks_no_other() -> None:
    now = time.time()
    jar = Jar(clock=lambda: now)
    jar.store(HTTPS, [b"a=1; Secure; Path=/; Max-Age=60"])
    now += 61
    jar.store(HTTP, [b"a=2; Path=/"])
    assert jar.header(HTTP) == b"a=2"


@pytest.mark.parametrize(("expires", "served", "wanted"), [
    ("Sun, 29 Nov 2026 10:00:00 GMT", "Sun, 29 Nov 2026 09:00:00 GMT", "a=1"),  # the local clock is three hours ahead
    ("Sun, 29 Nov 2026 10:00:00 GMT", "Sun, 29 Nov 2026 11:00:00 GMT", ""), ("Sun, 29 Nov 2026 10:00:00 GMT", "", ""),
    ("Thu, 01 Jan 1970 00:00:00 GMT", "Sat, 01 Jan 2000 00:00:00 GMT", ""), ("Sun, 29 Nov 2026 10:00:00 GMT", "nonsense", ""),
    ("Sat, 01 Jan 2000 01:00:00 GMT", "Sat, 01 Jan 2000 00:00:00 GMT", "a=1")])
def test_expires_is_corrected_by_the_servers_clock(expires: str, served: str, wanted: str) -> None:
    assert sent("a=0; Path=/", f"a=1; Path=/; Expires={expires}", served=served) == wanted


ATTRIBUTES = st.sampled_from([b"; Path=/", b"; path=/p", b"; Domain=shop.example", b"; Domain=\xff", b"; Max-Age=5", b"; Secure", b"; HttpOnly",
                              b"; SameSite=Lax", b"; Expires=Tue, 01 Dec 2037 10:00:00 GMT", b";;", b"; \xc3\xa9=\x80"])
LINES = st.builds(lambda pair, attributes: pair + b"".join(attributes), st.binary(max_size=30), st.lists(ATTRIBUTES, max_size=3))


@given(st.lists(LINES | st.binary(max_size=60), max_size=8), st.sampled_from([HTTP, HTTPS]))
def test_any_bytes_of_a_response_are_kept_in_the_file_without_an_error(lines: list[bytes], url: str) -> None:
    jar = Jar()
    jar.store(url, lines)
    header = jar.header(HTTPS)
    assert not re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", header)
    again = Jar()
    again.add(read_netscape(text_of(write_netscape(jar)), "f"))
    assert list(again) == list(jar)
    assert again.header(HTTPS) == header
