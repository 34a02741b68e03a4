"""The index: its keys, its lines and the search in it."""

from __future__ import annotations

from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.archive.format import cdxj
from pipeline.archive.format.surt import surt
from tests.archive.exchanges import NOW

KEYS = {
    "https://example.com": "com,example)/",
    "http://www.Example.com:80/A/b/?b=2&a=1&B=3": "com,example)/a/b?a=1&b=2&b=3",
    "https://www2.ex.org:8443/x//y/../z/./": "org,ex:8443)/x/z",
    "https://exämple.de/ä?ö=ü": "de,xn--exmple-cua)/%c3%a4?%c3%b6=%c3%bc",
    "https://a.b/%25%32%35?x=%2541#f": "b,a)/%25?x=a",
    "http://127.0.0.1:8000/x": "1,0,0,127:8000)/x",
    "http://[::1]:8000/x?y": "::1:8000)/x?y",
    "https://a.b/?": "b,a)/",
    "https://a.b/x?sid=0123456789abcdef0123456789abcdef&x=1": "b,a)/x?x=1",
    "https://a.b/x?q=a b+c&&": "b,a)/x?&&q=a%20b+c",
    "urn:view:https://Example.com/A/?b=2&a=1": "urn:view:https://example.com/a?a=1&b=2",
    "https://a.b/foo/(S(0123456789abcdefghijklmn))/x.aspx?y=1": "b,a)/foo/x.aspx?y=1",
    "https://a.b/../x": "b,a)/../x",
    "https://a.b/x?a=1=2&a": "b,a)/x?a&a=1=2",
    "https://a.b./x": "b,a)/x",
    "https://user:pass@a.b/": "b,a)/",
    "https://a.b/x?token=****&z": "b,a)/x?token=****&z",
    'https://a.b/"<>{}|\\^`': 'b,a)/"<>{}|\\^`',
    "https://a.b/x?cfid=1&cftoken=2&z=3": "b,a)/x?z=3",
}
"""URLs and the keys that the package surt 0.3.1, which pywb uses, makes of them."""


@pytest.mark.parametrize("url", KEYS)
def test_keys_are_those_of_replay_tools(url: str) -> None:
    assert surt(url) == KEYS[url]


@given(st.text(max_size=30))
def test_no_url_makes_a_key_that_breaks_the_index(text: str) -> None:
    for url in (text, f"https://{text}", f"https://books.example/{text}", f"urn:dom:{text}"):
        key = surt(url)
        assert key.isascii()
        assert not set(key) & set(" \r\n\t\0")


def test_a_line_says_what_replay_tools_ask_for() -> None:
    line = cdxj.Line("https://www.books.example/a?b=1", NOW, "text/html", 200, "sha256:00", "GET")
    made = cdxj.line(line, 17, 420, "a.warc.gz")
    assert made == (b'example,books)/a?b=1 20261130120000 {"microsecond": "123456", "url": "https://www.books.example/a?b=1", "mime": "text/html", "status": "200", '
                    b'"digest": "sha256:00", "length": "420", "offset": "17", "filename": "a.warc.gz"}\n')
    assert cdxj.parse(cdxj.moved(made, 1000, "day.warc.gz")) == cdxj.Entry(
        "example,books)/a?b=1", NOW, line.url, "text/html", 200, "sha256:00", 420, 1017, "day.warc.gz")
    posted = cdxj.parse(cdxj.line(line._replace(method="post", status=None), 0, 1, "x"))
    assert (posted.method, posted.status) == ("POST", None)


@pytest.mark.parametrize("line", [b"", b"key", b"key 20261130120000", b"key 20261130120000 {}", b'key 2026 {"url": 1}', b"key 2026 []", b"\xff 1 {}"])
def test_a_damaged_line_is_an_error(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a line|codec|values to unpack|Expecting|does not match"):
        cdxj.parse(line)


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 5)), max_size=30), st.sampled_from("abcdefghx"))
def test_the_search_finds_each_line_of_a_key(wanted: list[tuple[str, int]], path: str) -> None:
    lines = [cdxj.line(cdxj.Line(f"https://books.example/{name * (1 + number)}", NOW + timedelta(seconds=number), "text/html", 200, "sha256:0"), number, 1, "f")
             for name, number in wanted]
    out = BytesIO()
    cdxj.write_sorted(lines, out, Path())
    for size in (1, 2):
        key = surt(f"https://books.example/{path * size}")
        assert list(cdxj.entries_of(BytesIO(out.getvalue()), key)) == [cdxj.parse(line) for line in sorted(lines) if line.startswith(key.encode() + b" ")]


def test_a_large_index_is_sorted_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cdxj, "_SORTED_AT_ONCE", 10)
    lines = [b"%d 1 {}\n" % (number * 37 % 101) for number in range(101)]
    out = BytesIO()
    cdxj.write_sorted(lines, out, tmp_path)
    assert out.getvalue().splitlines(keepends=True) == sorted(lines)
    assert not list(tmp_path.iterdir())
