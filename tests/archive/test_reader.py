"""Archived pages as they are found and read again, in segments and in day files."""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from pipeline.archive.errors import ArchiveError, RecordError
from pipeline.archive.format.members import records_of
from pipeline.archive.format.redaction import Redaction
from pipeline.archive.reading.capture_at import capture_at
from pipeline.archive.reading.instants import instant_of
from pipeline.archive.reading.reader import captures, raw_record, read
from pipeline.archive.writing.day_file import merge
from pipeline.archive.writing.originals import Originals
from pipeline.archive.writing.part_file import ClosedSegment
from pipeline.model import RenderedPage
from pipeline.store import Store, open_store
from pipeline.store.files.archive_files import DAY, SEGMENT, NewFile, add, files_of, replace_by_day
from tests.archive.exchanges import HTML, NOW, exchange, segment
from tests.servers.s3 import S3Server
from tests.store.files.test_file_stores import object_storage

URL = "https://www.books.example/"
SECOND = timedelta(seconds=1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path)
    yield opened
    opened.close()


def archived(store: Store, *pages: Any, now: datetime = NOW, **options: Any) -> ClosedSegment:
    """Write pages to a segment, and add its row."""
    closed = segment(store.data_dir / "archive/books/segments", *pages, now=now, **options)
    assert add(store, new_file(store, closed), now=now)
    return closed


def new_file(store: Store, closed: Any, state: str = SEGMENT, day: str = "") -> NewFile:
    return NewFile("books", day or closed.day, state, str(closed.path.relative_to(store.data_dir)), str(closed.index_path.relative_to(store.data_dir)),
                   size_bytes=closed.size_bytes, index_bytes=closed.index_path.stat().st_size, records=closed.records, sha256=closed.sha256, oldest_day=closed.oldest_day)


def to_day_file(store: Store, day: str) -> None:
    segments = [file for file in files_of(store, "books") if file.day == day]
    made = merge([(store.data_dir / file.key, store.data_dir / file.index_key) for file in segments],
                 store.data_dir / f"archive/books/{day}.warc.gz", store.data_dir / f"archive/books/{day}.cdxj")
    replace_by_day(store, segments, new_file(store, made, DAY, day), now=NOW)
    for file in segments:
        (store.data_dir / file.key).unlink()
        (store.data_dir / file.index_key).unlink()


def test_a_page_is_found_as_it_was_at_each_time(store: Store) -> None:
    bodies = [b"one", b"one", b"two", b"two", b"three"]
    days = [NOW + timedelta(days=number) for number in range(5)]
    for at, body in zip(days, bodies, strict=True):
        archived(store, [exchange(at=at, body=body)], [exchange("/other", at=at)], now=at)
    to_day_file(store, "2026-11-30")
    to_day_file(store, "2026-12-02")
    assert [capture.at for capture in captures(store, "books", URL, limit=9)] == days[::-1]
    assert [capture.at for capture in captures(store, "books", URL, before=days[2], limit=1)] == [days[1]]
    assert [capture.at for capture in captures(store, "books", URL, after=days[2], limit=1)] == [days[3]]
    assert captures(store, "books", URL, before=days[0]) == captures(store, "books", URL, after=days[4]) == captures(store, "films", URL) == []
    pages = [read(store, capture) for capture in captures(store, "books", URL, limit=9)]
    assert [(page.body, page.at, page.refers_to, page.status, page.missing) for page in pages] == [
        (b"three", days[4], None, 200, ""), (b"two", days[3], days[2], 200, ""), (b"two", days[2], None, 200, ""),
        (b"one", days[1], days[0], 200, ""), (b"one", days[0], None, 200, "")]


@pytest.mark.parametrize("is_merged", [False, True])
def test_records_of_one_second_are_in_the_order_of_their_times(store: Store, is_merged: bool) -> None:
    times = [NOW.replace(microsecond=number) for number in (5, 20_000, 999_999)]
    for at, body in ((times[2], b"third"), (times[0], b"first"), (times[1], b"first")):  # the segment of a later record may be the first one
        archived(store, [exchange(at=at, body=body)], now=NOW)
    if is_merged:
        to_day_file(store, "2026-11-30")
        keys = [line.split(b'"url"')[0] for line in (store.data_dir / "archive/books/2026-11-30.cdxj").read_bytes().splitlines()]
        assert keys == [b'example,books)/ 20261130120000 {"microsecond": "%06d", ' % at.microsecond for at in times]
    assert [capture.at for capture in captures(store, "books", URL, limit=9)] == times[::-1]
    assert [capture.at for capture in captures(store, "books", URL, before=times[2], limit=1)] == [times[1]]
    second = capture_at(store, "books", URL, times[1])
    assert second is not None
    assert (second.chosen.at, second.previous and second.previous.at, second.following and second.following.at) == (times[1], times[0], times[2])
    page = read(store, second.chosen)
    assert (page.body, page.refers_to) == (b"first", times[0])
    asked = capture_at(store, "books", URL, instant_of("2026-11-30 12:00:00", UTC))
    assert asked is not None
    assert asked.chosen.at == times[2], "a second without fractions means its end"


@pytest.mark.parametrize("last", [datetime.max, datetime(9999, 12, 31)])
def test_a_page_is_found_at_the_end_of_time(store: Store, last: datetime) -> None:
    archived(store, [exchange()])
    last = last.replace(tzinfo=UTC)
    assert len(captures(store, "books", URL, before=last)) == 1
    found = capture_at(store, "books", URL, last)
    assert found is not None
    assert (found.exact, found.following) == ("at", None)


def test_a_page_is_read_as_it_was_sent_but_decoded(store: Store) -> None:
    headers = ((b"Content-Type", b"text/html; charset=utf-8"), (b"Content-Encoding", b"gzip"), (b"Set-Cookie", b"sid=1"), (b"X-Name", b"caf\xe9"))
    archived(store, [exchange(body=gzip.compress(HTML), response_headers=headers, rendered=RenderedPage(b"<p>dom", b"\x89PNG"))])
    page = read(store, captures(store, "books", URL)[0])
    assert (page.url, page.at, page.status, page.reason, page.content_type, page.body) == (URL, NOW, 200, "OK", "text/html; charset=utf-8", HTML)
    assert page.headers == (("Content-Type", "text/html; charset=utf-8"), ("Content-Encoding", "gzip"), ("Set-Cookie", "sid=****"), ("X-Name", "café"))
    assert (page.dom, page.screenshot, page.redacted) == (b"<p>dom", b"\x89PNG", ("request header Cookie", "response header Set-Cookie"))
    assert page.file == files_of(store, "books")[0]


def test_what_a_browser_made_is_read_where_it_did_not_change_either(store: Store) -> None:
    rendered = RenderedPage(b"<p>dom", b"\x89PNG")
    archived(store, [exchange(rendered=rendered)], [exchange(after_s=1, rendered=rendered)], [exchange("/x", status=0, rendered=rendered)])
    page = read(store, captures(store, "books", URL)[0])
    assert (page.body, page.dom, page.screenshot, page.refers_to) == (HTML, b"<p>dom", b"\x89PNG", NOW)
    found = captures(store, "books", f"{URL}x")[0]
    page = read(store, found)
    assert (found.status, page.status, page.body, page.dom, page.screenshot, page.content_type) == (None, 0, b"<p>dom", b"<p>dom", b"\x89PNG", "text/html; charset=utf-8")


def test_a_page_that_the_server_called_unmodified_has_the_content_of_the_one_before(store: Store) -> None:
    archived(store, [exchange()], [exchange(after_s=1, status=304, reason=b"Not Modified", body=b"", response_headers=(), request_headers=((b"If-None-Match", b'"1"'),))])
    page = read(store, captures(store, "books", URL)[0])
    assert (page.status, page.reason, page.body, page.content_type, page.refers_to) == (304, "Not Modified", HTML, "text/html; charset=utf-8", NOW)


def test_a_page_whose_content_was_removed_says_so(store: Store) -> None:
    first = archived(store, [exchange()])
    archived(store, [exchange(at=NOW + timedelta(days=1))], now=NOW + timedelta(days=1))
    first.path.unlink()
    first.index_path.unlink()
    page = read(store, captures(store, "books", URL)[0])
    assert (page.status, page.body, page.missing, page.refers_to) == (200, b"", "the content was in a file of the archive that was removed", NOW)


def test_a_page_is_read_although_its_segment_became_a_part_of_a_day_file_meanwhile(store: Store) -> None:
    for number in range(3):
        archived(store, [exchange(f"/{number}", body=b"%d" % number)])
    found = captures(store, "books", f"{URL}1")[0]
    to_day_file(store, "2026-11-30")
    assert read(store, found).body == b"1"
    assert next(records_of(BytesIO(b"".join(raw_record(store, found))))).block.endswith(b"\r\n\r\n1")


def test_the_records_of_a_page_are_a_file_of_their_own(store: Store) -> None:
    archived(store, [exchange("/1")], [exchange("/2", rendered=RenderedPage(b"<p>dom"))], [exchange("/3")])
    data = b"".join(raw_record(store, captures(store, "books", f"{URL}2")[0]))
    assert [record.kind for record in records_of(BytesIO(data))] == ["response", "request", "resource", "metadata"]


def test_a_record_that_is_in_two_segments_after_a_kill_is_found_once(store: Store) -> None:
    for _ in range(2):
        archived(store, [exchange()], [exchange(after_s=1, body=b"x")])
        (store.data_dir / "archive/books/segments/originals.sqlite3").unlink()
    assert [read(store, capture).body for capture in captures(store, "books", URL, limit=9)] == [b"x", HTML]


def test_urls_that_replay_tools_take_for_the_same_are_found_if_there_is_no_other(store: Store) -> None:
    archived(store, [exchange("http://books.example/A?b=1&a=2")])
    assert [capture.url for capture in captures(store, "books", "https://www.books.example/a?a=2&b=1")] == ["http://books.example/A?b=1&a=2"]
    archived(store, [exchange("https://www.books.example/a?a=2&b=1", after_s=-60)])
    assert [capture.url for capture in captures(store, "books", "https://www.books.example/a?a=2&b=1", limit=9)] == ["https://www.books.example/a?a=2&b=1"]


def test_a_url_with_a_redacted_parameter_is_found(store: Store) -> None:
    redaction = Redaction(params=["token"])
    archived(store, [exchange("/?token=1")], redaction=redaction)
    assert captures(store, "books", redaction.url(f"{URL}?token=2"))[0].url == f"{URL}?token=****"


def test_a_page_fetched_before_midnight_and_committed_after_it_is_found(store: Store) -> None:
    midnight = datetime(2026, 12, 1, tzinfo=UTC)
    archived(store, [exchange(at=midnight - SECOND)], now=midnight + SECOND)
    archived(store, [exchange(at=midnight - 60 * SECOND, body=b"earlier")], now=midnight - 59 * SECOND)
    assert [capture.at for capture in captures(store, "books", URL, before=midnight)] == [midnight - SECOND]
    assert [capture.at for capture in captures(store, "books", URL, after=midnight - 60 * SECOND)] == [midnight - SECOND]


def test_a_page_is_read_from_an_object_store_in_ranges(s3: S3Server, tmp_path: Path) -> None:
    store = open_store(tmp_path, storage=object_storage(s3))
    large = random.Random(1).randbytes(600_000)
    closed = segment(tmp_path / "archive/books/segments", [exchange("/1", body=large)], [exchange("/2")], [exchange("/1", after_s=1, body=large)])
    assert add(store, new_file(store, closed), now=NOW)
    for path in (closed.path, closed.index_path):
        store.files.write(str(path.relative_to(tmp_path)), path.read_bytes())
        path.unlink()
    found = captures(store, "books", f"{URL}1")[0]
    page = read(store, found)
    assert (found.is_revisit, page.body, page.refers_to) == (True, large, NOW)
    store.close()


def test_damage_is_an_error_that_names_the_file(store: Store) -> None:
    closed = archived(store, [exchange()])
    found = captures(store, "books", URL)[0]
    data = bytearray(closed.path.read_bytes())
    data[found.offset + found.length - 9] ^= 255
    closed.path.write_bytes(data)
    with pytest.raises(RecordError, match=r"archive/books/segments/2026-11-30.*gzip member"):
        read(store, found)
    closed.path.unlink()
    with pytest.raises(ArchiveError, match="there is no such file"):
        read(store, found)
    closed.index_path.write_bytes(b"example,books)/ 20261130120000 {nonsense\n")
    with pytest.raises(ArchiveError, match=r"\.cdxj: the index is damaged"):
        captures(store, "books", URL)


def test_after_the_clock_was_set_back_pages_are_whole_and_what_refers_to_a_later_record_is_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    tomorrow = NOW + timedelta(days=1)
    archived(store, [exchange(at=tomorrow)], now=tomorrow)
    find = Originals.find
    with monkeypatch.context() as before:  # as before this was mended: the first record of this day refers to the next day
        before.setattr(Originals, "find", lambda self, urls, now: find(self, urls, now + timedelta(days=2)))
        archived(store, [exchange(at=NOW)], now=NOW + SECOND)
    archived(store, [exchange(at=NOW + 2 * SECOND)], now=NOW + 3 * SECOND)
    archived(store, [exchange(at=NOW + 4 * SECOND)], now=NOW + 5 * SECOND)
    found = [read(store, capture) for capture in captures(store, "books", URL, limit=9)]
    assert [(page.refers_to, page.body, page.missing) for page in found] == [
        (None, HTML, ""), (NOW + 2 * SECOND, HTML, ""), (None, HTML, ""), (tomorrow, HTML, "")]
    archived(store, [exchange("/other", at=NOW + timedelta(days=2))], now=NOW)  # fetched before the clock was set back, and archived after it
    found_at = capture_at(store, "books", f"{URL}other", NOW + timedelta(days=1))
    assert found_at is not None
    assert (found_at.chosen.at.date(), found_at.exact) == ((NOW + timedelta(days=2)).date(), "after")
