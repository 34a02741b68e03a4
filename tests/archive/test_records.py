"""Exchanges as WARC records: what is in them, and that hostile ones are valid records, too."""

from __future__ import annotations

import gzip
import random
import re
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from warcio.archiveiterator import ArchiveIterator

from pipeline.archive.format.http_block import parse
from pipeline.archive.format.members import records_of
from pipeline.archive.format.records import RecordWriter
from pipeline.archive.format.redaction import Redaction
from pipeline.model import Exchange, RenderedPage
from tests.archive.exchanges import HTML, NOW, exchange, segment, warcio_check, writer

TOKEN = st.text("abcXYZ09-_.!~", min_size=1, max_size=12).map(str.encode)
VALUE = st.binary(max_size=40).map(lambda value: re.sub(rb"[\r\n\0]", b"", value).strip(b" \t"))
"""Any bytes that a header line can contain, also those that are no UTF-8. @ and = are in the tests of the redaction."""
LINES = st.lists(st.tuples(TOKEN.map(lambda name: b"X" + name), VALUE.map(lambda value: value.replace(b"@", b"").strip(b" \t"))), max_size=8).map(tuple)


def stored(*exchanges: Exchange, redaction: Redaction | None = None) -> list:
    """Return the records of exchanges as they are read from the file, without the first one."""
    made = RecordWriter("books", 7, redaction or Redaction())
    members = [made.warcinfo("test.warc.gz", NOW), *(each.member for one in exchanges for each in made.records(one, lambda url: None))]
    return list(records_of(BytesIO(b"".join(members))))[1:]


@settings(max_examples=150)
@given(request=LINES, response=LINES, body=st.binary(max_size=300), status=st.integers(100, 599), method=st.sampled_from(["GET", "POST", "HEAD", "PATCH"]),
       reason=VALUE, query=st.text(max_size=20), request_body=st.binary(max_size=50))
def test_a_record_has_every_byte_of_the_exchange(*, request: tuple, response: tuple, body: bytes, status: int, method: str, reason: bytes, query: str,
                                                 request_body: bytes) -> None:
    sent = exchange("/search?" + query.replace("#", "").replace("\ud800", ""), request_headers=request, response_headers=response, body=body, status=status,
                    method=method, reason=reason, request_body=request_body)
    first, second = stored(sent)
    assert (first.kind, second.kind) == ("response", "request")
    got, asked = parse(first.block), parse(second.block)
    assert (got.status, got.reason, got.headers, got.body) == (status, reason, response, body)
    assert (asked.first_line.split()[0].decode(), asked.headers, asked.body) == (method, request, request_body)
    assert second.headers["warc-concurrent-to"] == first.headers["warc-record-id"]
    assert first.headers["warc-target-uri"] == second.headers["warc-target-uri"] == "https://www.books.example" + asked.first_line.split()[1].decode()


HOSTILE = {
    "line ends in a value": {"response_headers": ((b"X-A", b"1\r\n\r\nHTTP/1.1 200 OK\r\nX-B: 2\n\x00"), (b"X-C", b"3"))},
    "line ends in a name": {"response_headers": ((b"X\r\nY: z", b"1"), (b"", b"no name"), (b" X", b"space"), (b"a:b", b"colon"))},
    "bytes outside ASCII": {"response_headers": ((b"Server", b"caf\xe9"), (b"X-U", "中文".encode()), (b"Content-Disposition", b'attachment; filename="\xff\xfe"'))},
    "300 headers": {"response_headers": tuple((b"X-%d" % number, b"v" * number) for number in range(300))},
    "no reason phrase": {"reason": b""},
    "a reason that is no ASCII": {"reason": "Gefunden ✓".encode()},
    "HTTP/0.9": {"http_version": "HTTP/0.9", "response_headers": (), "reason": b""},
    "HTTP/2": {"http_version": "HTTP/2"},
    "no body": {"body": b""},
    "a body that looks like chunks": {"body": b"5\r\nhello\r\n0\r\n\r\n", "response_headers": ((b"Transfer-Encoding", b"chunked"),)},
    "a compressed body": {"body": gzip.compress(HTML * 99), "response_headers": ((b"Content-Encoding", b"gzip"), (b"Content-Length", b"9"))},
    "a status that is none": {"status": 7},
    "an address that is none": {"address": "proxy.example:8080\r\nX: y"},
    "a method that is none": {"method": "GET / HTTP/1.1\r\nX: y"},
    "a body that looks like a record": {"body": b"\r\n\r\nWARC/1.1\r\nWARC-Type: response\r\n\r\n"},
    "a media type that is none": {"response_headers": ((b"Content-Type", b'text/html", "x": "\r\n{'),)},
    "an ETag in two lines": {"response_headers": ((b"ETag", b'"a\r\nb"'),)},
}


def test_hostile_exchanges_are_valid_records(tmp_path: Path) -> None:
    urls = ["https://www.books.example/a b\r\nX: y", "https://user:secret@www.books.example/<>\"{}|\\^`%", "https://www.books.example", "https://bücher.example/中文?ü=ö#frag",
            "https://www.books.example/\ud800", f"https://www.books.example/{'x' * 9000}"]
    pages = [[exchange(f"/{number}", **changes)] for number, changes in enumerate(HOSTILE.values())]
    pages += [[exchange(url)] for url in urls]
    closed = segment(tmp_path, *pages)
    assert warcio_check(closed.path) == ""
    with closed.path.open("rb") as file:
        read = [(record.rec_type, record.rec_headers["WARC-Target-URI"], record.http_headers) for record in ArchiveIterator(file, verify_http=True)]
    responses = [(url, head) for kind, url, head in read if kind == "response"]
    assert len(responses) == len(pages)
    assert all(head.protocol in {"HTTP/1.1", "HTTP/1.0"} for _, head in responses)
    found = {name: head for name, (_, head) in zip(HOSTILE, responses, strict=False)}
    assert found["line ends in a value"].headers == [("X-A", "1 HTTP/1.1 200 OK X-B: 2 "[:-1]), ("X-C", "3")]
    assert len(found["300 headers"].headers) == 300
    assert found["a body that looks like chunks"].headers == [("X-Orig-Transfer-Encoding", "chunked")]
    assert [url for url, _ in responses[-len(urls):]] == [
        "https://www.books.example/a%20b%0D%0AX:%20y", "https://www.books.example/%3C%3E%22{}|\\^`%", "https://www.books.example/",
        "https://b%C3%BCcher.example/%E4%B8%AD%E6%96%87?%C3%BC=%C3%B6", "https://www.books.example/%ED%A0%80", urls[-1]]
    assert b"secret" not in gzip.decompress(closed.path.read_bytes()).replace(b"secret or otp", b"").replace(b"secrets", b"").replace(b"secret,", b"")


@pytest.mark.parametrize(("version", "protocol"), [("HTTP/2", "h2"), ("HTTP/3", "h3"), ("HTTP/0.9", "http/0.9"), ("HTTP/1.1", None), ("HTTP/1.0", None)])
def test_a_version_that_replay_tools_do_not_know_is_in_a_field_of_the_record(version: str, protocol: str | None) -> None:
    assert stored(exchange(http_version=version))[0].headers.get("warc-protocol") == protocol


def test_a_record_says_what_was_redacted_and_the_first_one_what_is_in_general(tmp_path: Path) -> None:
    closed = segment(tmp_path, [exchange()], redaction=Redaction(headers=["X-Key"], params=["token"]))
    with closed.path.open("rb") as file:
        first, *_, last = records_of(file)
    assert first.kind == "warcinfo"
    assert {"isPartOf: books", "run: 7", "redacted: header x-key", "redacted: URL parameter token"} <= set(first.block.decode().splitlines())
    assert (last.kind, last.block) == ("metadata", b"redacted: request header Cookie\r\nredacted: response header Set-Cookie\r\n")


def test_what_a_browser_made_of_a_page_is_in_records_of_its_own() -> None:
    response, _, dom, view, _ = stored(exchange(rendered=RenderedPage(b"<p>dom", b"\x89PNG")))
    assert [(each.kind, each.headers["warc-target-uri"], each.headers["content-type"], each.block) for each in (dom, view)] == [
        ("resource", "urn:dom:https://www.books.example/", "text/html; charset=utf-8", b"<p>dom"),
        ("resource", "urn:view:https://www.books.example/", "image/png", b"\x89PNG")]
    assert dom.headers["warc-concurrent-to"] == response.headers["warc-record-id"]


def test_a_rendered_page_without_a_response_is_replayed_from_its_document() -> None:
    dom, view = stored(exchange(status=0, request_headers=(), response_headers=(), rendered=RenderedPage(b"<p>dom", b"\x89PNG")))
    assert (dom.kind, dom.headers["warc-target-uri"], dom.block) == ("resource", "https://www.books.example/", b"<p>dom")
    assert view.headers["warc-concurrent-to"] == dom.headers["warc-record-id"]


def kinds(path: Path) -> list[tuple[str, str]]:
    with path.open("rb") as file:
        return [(record.kind, record.headers["warc-profile"].rpartition("/")[2] if record.kind == "revisit" else "")
                for record in records_of(file) if record.kind in {"response", "revisit", "resource"}]


def test_what_did_not_change_is_a_revisit_of_the_last_full_record(tmp_path: Path) -> None:
    asked = ((b"If-None-Match", b'"0", W/"1"'),)
    closed = segment(
        tmp_path, [exchange()], [exchange(after_s=1)], [exchange(after_s=2, status=304, body=b"", request_headers=asked)],
        [exchange(after_s=3, body=b"other")], [exchange(after_s=4, body=b"other")],
        [exchange(after_s=5, status=304, body=b"", request_headers=((b"If-None-Match", b'"2"'),))],  # confirms another version than the archived one
        [exchange(after_s=6, body=b"", status=204)], [exchange(after_s=7, body=b"other", status=404)], [exchange("/x", after_s=8)])
    full, same, confirmed = ("response", ""), ("revisit", "identical-payload-digest"), ("revisit", "server-not-modified")
    assert kinds(closed.path) == [full, same, confirmed, full, same, full, full, full, full]
    assert warcio_check(closed.path) == ""
    with closed.path.open("rb") as file:
        records = list(records_of(file))
    original, revisit = records[1], records[4]
    assert (revisit.headers["warc-refers-to"], revisit.headers["warc-refers-to-target-uri"], revisit.headers["warc-refers-to-date"]) == (
        original.headers["warc-record-id"], "https://www.books.example/", original.headers["warc-date"])
    assert revisit.headers["warc-payload-digest"] == original.headers["warc-payload-digest"]


def test_each_week_has_a_full_record(tmp_path: Path) -> None:
    rendered = RenderedPage(b"<p>dom")
    found = []
    for day in (0, 3, 6.9, 7.1, 10):
        at = NOW + timedelta(days=day)
        closed = segment(tmp_path, [exchange(after_s=day * 86400, rendered=rendered)], now=at)
        found.append([kind for kind, _ in kinds(closed.path)])
        oldest = {0: "2026-11-30", 3: "2026-11-30", 6.9: "2026-11-30", 7.1: "2026-12-07", 10: "2026-12-07"}[day]
        assert closed.oldest_day == oldest
    assert found == [["response", "resource"], ["revisit", "revisit"], ["revisit", "revisit"], ["response", "resource"], ["revisit", "revisit"]]


@pytest.mark.parametrize("damage", ["gone", "no database", "cut"])
def test_pages_are_archived_in_full_without_the_list_of_archived_pages(tmp_path: Path, damage: str) -> None:
    segment(tmp_path, [exchange()])
    cache = tmp_path / "originals.sqlite3"
    if damage == "gone":
        cache.unlink()
    else:
        cache.write_bytes(random.Random(1).randbytes(8192) if damage == "no database" else cache.read_bytes()[:5000])
    for _ in range(2):
        closed = segment(tmp_path, [exchange(after_s=1)], now=NOW + timedelta(seconds=2))
        assert kinds(closed.path)[0][0] in {"response", "revisit"}
    assert kinds(closed.path) == [("revisit", "identical-payload-digest")]  # the file was made anew


def test_a_held_page_that_is_not_kept_is_no_original(tmp_path: Path) -> None:
    segments = writer(tmp_path)
    segments.hold([[exchange()], [exchange("/b")]], NOW)
    segments.keep([1])
    segments.hold([[exchange(after_s=1)], [exchange("/b", after_s=1)]], NOW)
    segments.keep([0, 1])
    [closed] = segments.close()
    assert kinds(closed.path) == [("response", ""), ("response", ""), ("revisit", "identical-payload-digest")]
