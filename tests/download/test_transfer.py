"""One transfer: resumed, verified, and safe against interruptions, changes and hostile servers."""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
import random
import time

import pytest

from pipeline.model import Download
from pipeline.text import size_for_people
from tests.download.conftest import Bench
from tests.servers.files import http_date

BODY = random.Random(1).randbytes(3_000_000)
OTHER = random.Random(2).randbytes(3_100_000)
LONG_AGO = http_date(time.time() - 86400)


def test_a_file_is_stored_completely_and_recorded_with_its_hash(bench: Bench) -> None:
    url = bench.server.put("/a.pdf", BODY, content_type="application/pdf; charset=x")
    figures = bench.get(Download(url, referer="http://me:secret@site/list#top", headers=(("X-Token", "t"),))).figures()
    file, = bench.files
    assert (file.name, file.size_bytes, file.content_type) == ("a.pdf", len(BODY), "application/pdf")
    assert file.sha256 == hashlib.sha256(BODY).hexdigest()
    assert bench.content(file) == BODY
    assert (figures.done, figures.failed, figures.bytes, figures.active) == (1, 0, len(BODY), ())
    assert bench.parts == []
    asked, = bench.server.asked
    assert asked.headers["accept-encoding"] == "identity"
    assert asked.headers["referer"] == "http://site/"  # of another origin (Referrer Policy, strict-origin-when-cross-origin)
    assert asked.headers["x-token"] == "t"


@pytest.mark.parametrize("validator", [{"etag": '"v1"'}, {"last_modified": LONG_AGO}])
def test_an_interrupted_transfer_is_resumed_where_it_stopped(bench: Bench, validator: dict[str, str]) -> None:
    url = bench.server.put("/a.bin", BODY, cuts=[1_000_000, 500_000], **validator)
    bench.get(url)
    assert bench.content(bench.files[0]) == BODY
    first, second, third = bench.server.asked
    assert [first.status, second.status, third.status] == [200, 206, 206]
    assert second.headers["if-range"] in validator.values()
    on_disk = int(second.headers["range"].removeprefix("bytes=").rstrip("-"))
    assert 0 < on_disk <= 1_000_000
    assert int(third.headers["range"].removeprefix("bytes=").rstrip("-")) + third.sent == len(BODY)


@pytest.mark.parametrize("how", [{}, {"ranges": False}, {"ignore_if_range": True}])
def test_a_file_that_changed_between_two_attempts_never_mixes_versions(bench: Bench, how: dict[str, bool]) -> None:
    url = bench.server.put("/a.bin", BODY, etag='"v1"', cuts=[1_500_000])
    served = bench.server.served["/a.bin"]

    def change() -> None:
        if len(bench.server.asked) == 2:
            served.body, served.etag = OTHER, '"v2"'
            served.__dict__.update(how)

    served.before = change
    bench.get(url)
    assert [bench.content(file) for file in bench.files] == [OTHER]
    assert bench.parts == []


def test_a_weak_etag_or_a_date_of_this_second_does_not_allow_a_resume(bench: Bench) -> None:
    weak = bench.server.put("/weak", BODY, etag='W/"v1"', cuts=[1_000_000])
    fresh = bench.server.put("/fresh", BODY, last_modified=http_date(time.time() + 5), cuts=[1_000_000])
    bench.get(weak, fresh)
    assert [bench.content(file) for file in bench.files] == [BODY, BODY]
    assert not [asked for asked in bench.server.asked if "range" in asked.headers]


def test_a_206_with_another_offset_restarts_the_file(bench: Bench) -> None:
    url = bench.server.put("/a.bin", BODY, etag='"v1"', cuts=[1_000_000], range_shift=-7)
    bench.get(url)
    assert bench.content(bench.files[0]) == BODY
    assert [asked.status for asked in bench.server.asked] == [200, 206, 200]


def test_a_416_restarts_the_file(bench: Bench) -> None:
    url = bench.server.put("/a.bin", BODY, etag='"v1"', cuts=[1_500_000])
    served = bench.server.served["/a.bin"]

    def shrink() -> None:
        if len(bench.server.asked) == 2:
            served.body = BODY[:1000]  # with the same ETag, although the content differs

    served.before = shrink
    bench.get(url)
    assert bench.content(bench.files[0]) == BODY[:1000]
    assert [asked.status for asked in bench.server.asked] == [200, 416, 200]


def test_a_body_shorter_than_announced_is_not_stored(bench: Bench) -> None:
    url = bench.server.put("/a.bin", b"short", lie=5000)
    done = bench.get(url)
    assert done.figures().failed == 1
    assert bench.files == []
    assert bench.names == []
    assert "the body was cut short: 5 of 5,000 bytes arrived" in str(bench.row(url)["error"])
    assert len(bench.server.asked) == 4


def test_a_body_longer_than_announced_ends_at_the_announced_length(bench: Bench) -> None:
    bench.get(bench.server.put("/a.bin", BODY, lie=1000), bench.server.put("/b.bin", b"b"))
    assert sorted(len(bench.content(file)) for file in bench.files) == [1, 1000]


@pytest.mark.parametrize("how", [{"chunked": True}, {"close_delimited": True}])
def test_a_body_without_length_is_stored(bench: Bench, how: dict[str, bool]) -> None:
    bench.get(bench.server.put("/a.bin", BODY, **how))
    assert bench.content(bench.files[0]) == BODY


def test_a_chunked_body_that_is_cut_off_is_resumed(bench: Bench) -> None:
    url = bench.server.put("/a.bin", BODY, chunked=True, cuts=[2_000_000], etag='"v1"')
    bench.get(url)
    assert bench.content(bench.files[0]) == BODY
    assert [asked.status for asked in bench.server.asked] == [200, 206]


@pytest.mark.parametrize("how", [{"chunked": True}, {"close_delimited": True}])
def test_an_endless_body_stops_at_the_size_limit_and_leaves_nothing(bench: Bench, how: dict[str, bool]) -> None:
    url = bench.server.put("/a.bin", endless=True, etag='"v1"', **how)
    done = bench.get(url, max_bytes=5_000_000, sync_bytes=1_000_000)
    assert done.figures().failed == 1
    assert "at most 5.0 MB are allowed" in str(bench.row(url)["error"])
    assert bench.row(url)["state"] == "failed"
    assert bench.names == []
    assert bench.parts == []
    assert len(bench.server.asked) == 1


def test_a_file_announced_above_the_size_limit_is_not_started(bench: Bench) -> None:
    url = bench.server.put("/a.bin", BODY)
    bench.get(url, max_bytes=1000)
    assert f"the file has {size_for_people(len(BODY))}" in str(bench.row(url)["error"])
    assert bench.parts == []


def test_a_body_that_the_server_encodes_unasked_is_decoded(bench: Bench) -> None:
    bench.get(bench.server.put("/a.csv", BODY, packed=True, content_type="text/csv"))
    assert bench.content(bench.files[0]) == BODY


def test_an_archive_labelled_as_gzip_encoded_stays_compressed(bench: Bench) -> None:
    bench.get(bench.server.put("/a.tar.gz", b"archive" * 9, packed=True, content_type="application/gzip"))
    assert gzip.decompress(bench.content(bench.files[0])) == b"archive" * 9
    assert bench.names == ["a.tar.gz"]


def test_a_body_in_an_unknown_coding_is_not_stored(bench: Bench) -> None:
    url = bench.server.put("/a.csv", BODY, headers={"Content-Encoding": "compress"})
    bench.get(url)
    assert "has the Content-Encoding compress" in str(bench.row(url)["error"])
    assert bench.names == []
    assert len(bench.server.asked) == 1


@pytest.mark.parametrize("encoding", ["utf-8", "none", "aws-chunked", "identity"])
def test_a_content_encoding_that_is_no_coding_is_ignored(bench: Bench, encoding: str) -> None:
    bench.get(bench.server.put("/a.csv", BODY, headers={"Content-Encoding": encoding}))
    assert bench.content(bench.files[0]) == BODY


def test_a_gzip_bomb_stops_at_the_size_limit(bench: Bench) -> None:
    url = bench.server.put("/a.csv", bytes(60_000_000), packed=True, content_type="text/csv")
    done = bench.get(url, max_bytes=1_000_000)
    assert done.figures().failed == 1
    assert done.figures().bytes <= 1_000_000
    assert bench.names == []
    assert bench.parts == []


def test_a_stalled_transfer_is_retried(bench: Bench) -> None:
    url = bench.server.put("/a.bin", BODY, stall_after=1_000_000, etag='"v1"')
    served = bench.server.served["/a.bin"]
    served.before = lambda: setattr(served, "stall_after", None if len(bench.server.asked) == 2 else 1_000_000)
    bench.get(url, stall_s=0.3)
    assert bench.content(bench.files[0]) == BODY
    assert bench.server.asked[1].status == 206


def test_a_server_that_sends_too_slowly_counts_as_stalled(bench: Bench) -> None:
    url = bench.server.put("/a.bin", b"x" * 70_000 * 4, pause_s=0.12)
    bench.get(url, stall_s=0.25, stall_bytes=10**6, attempts=1)
    assert "sent too little data in 0.25 s" in str(bench.row(url)["error"])


@pytest.mark.parametrize("place", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/x", "data:,x"])
def test_a_redirect_to_another_scheme_is_refused(bench: Bench, place: str) -> None:
    url = bench.server.put("/a.bin", redirect=place)
    bench.get(url)
    assert bench.row(url)["state"] == "failed"
    assert "only http and https" in str(bench.row(url)["error"])
    assert bench.names == []


def test_a_file_url_is_refused(bench: Bench) -> None:
    bench.get("file:///etc/passwd")
    assert "only http and https URLs are" in str(bench.row("file:///etc/passwd")["error"])


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/a.pdf", "FTPS://me:secret@127.0.0.1/a.pdf"])
def test_an_ftp_url_is_refused_with_the_reason(bench: Bench, url: str) -> None:
    assert bench.get(url).figures().failed == 1
    error = str(bench.row(url)["error"])
    assert "are not fetched; FTP cannot resume a partial download safely" in error
    assert "secret" not in error


def test_redirects_are_followed_up_to_a_limit(bench: Bench) -> None:
    there = bench.server.put("/files/report.pdf", BODY)
    bench.get(bench.server.put("/get?id=1", redirect=there).replace("/get?id=1", "/get"),
              bench.server.put("/round", redirect="/round"))
    bench.server.put("/get", redirect=there)
    bench.get(bench.server.url + "/get")
    assert bench.names == ["report.pdf"]
    assert "the server redirected the request too many times" in str(bench.row(bench.server.url + "/round")["error"])


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_permanent_error_is_not_retried(bench: Bench, status: int) -> None:
    url = bench.server.put("/a.bin", statuses=[status] * 9)
    bench.get(url)
    assert len(bench.server.asked) == 1
    assert f"the server answered {status}" in str(bench.row(url)["error"])


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_temporary_error_is_retried(bench: Bench, status: int) -> None:
    url = bench.server.put("/a.bin", BODY, statuses=[status, status], headers={"Retry-After": "0"})
    bench.get(url)
    assert len(bench.server.asked) == 3
    assert bench.content(bench.files[0]) == BODY


def test_a_long_retry_after_is_left_to_the_next_run(bench: Bench) -> None:
    url = bench.server.put("/a.bin", BODY, statuses=[503], headers={"Retry-After": "3600"})
    done = bench.get(url)
    assert (done.figures().done, done.figures().failed) == (0, 0)
    row = bench.row(url)
    assert row["state"] == "waiting"
    assert row["not_before"] > row["requested_at"]  # type: ignore[operator]


def test_the_spiders_checksum_is_verified(bench: Bench) -> None:
    good = bench.server.put("/good", BODY)
    bad = bench.server.put("/bad", OTHER)
    bench.get(Download(good, sha256=hashlib.sha256(BODY).hexdigest().upper()), Download(bad, sha256="0" * 64))
    assert [file.url for file in bench.files] == [good]
    assert bench.row(bad)["state"] == "failed"
    assert bench.names == ["good"]
    assert bench.parts == []


@pytest.mark.parametrize(("header", "algorithm", "form"), [
    ("Repr-Digest", "sha256", "sha-256=:%s:"), ("Repr-Digest", "sha512", "sha-512=:%s:"),
    ("Digest", "sha256", "SHA-256=%s"), ("Digest", "md5", "md5=%s"), ("Content-MD5", "md5", "%s"),
    ("Content-Digest", "sha256", "sha-256=:%s:")])
def test_the_servers_checksum_is_verified(bench: Bench, header: str, algorithm: str, form: str) -> None:
    said = form % base64.b64encode(hashlib.new(algorithm, BODY).digest()).decode()
    good = bench.server.put("/good", BODY, headers={header: said})
    bad = bench.server.put("/bad", OTHER, headers={header: said})
    bench.get(good, bad)
    assert [file.url for file in bench.files] == [good]
    assert "does not match" in str(bench.row(bad)["error"])
    assert len(bench.server.asked_for("/bad")) == 1


def test_a_part_damaged_on_disk_is_detected_and_fetched_again(bench: Bench) -> None:
    said = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
    url = bench.server.put("/a.bin", BODY, etag='"v1"', cuts=[1_500_000], gentle=True,
                           headers={"Repr-Digest": f"sha-256=:{said}:"})
    assert bench.get(url, attempts=1).figures().failed == 1
    part, = bench.parts
    with part.open("r+b") as file:
        file.write(b"spoilt")
    bench.get(url)
    assert [asked.status for asked in bench.server.asked] == [200, 206, 200]
    assert bench.content(bench.files[0]) == BODY
    assert bench.names == ["a.bin"]


def test_an_unchanged_file_is_not_fetched_again(bench: Bench) -> None:
    tagged = bench.server.put("/a.bin", BODY, etag='"v1"')
    dated = bench.server.put("/b.bin", BODY, last_modified=LONG_AGO)
    bench.get(tagged, dated)
    again = bench.get(tagged, dated).figures()
    assert (again.done, again.unchanged, again.bytes) == (2, 2, 0)
    assert len(bench.files) == 2
    assert [asked.status for asked in bench.server.asked] == [200, 200, 304, 304]


def test_the_same_content_again_makes_no_new_version(bench: Bench) -> None:
    url = bench.server.put("/a.bin", BODY)
    bench.get(url)
    again = bench.get(url).figures()
    assert (again.done, again.unchanged) == (1, 1)
    assert bench.names == ["a.bin"]
    assert bench.parts == []


def test_a_changed_file_becomes_a_new_version_next_to_the_old_one(bench: Bench) -> None:
    url = bench.server.put("/a.bin", BODY, etag='"v1"')
    bench.get(url)
    bench.server.put("/a.bin", OTHER, etag='"v2"')
    bench.get(url)
    assert [bench.content(file) for file in bench.files] == [BODY, OTHER]
    assert bench.names == ["a (2).bin", "a.bin"]


def test_a_file_that_someone_deleted_is_fetched_again(bench: Bench) -> None:
    url = bench.server.put("/a.bin", BODY, etag='"v1"')
    bench.get(url)
    (bench.folder / "a.bin").unlink()
    # The store keeps the record of the first version, so that the new file gets another key.
    bench.get(url)
    assert bench.content(bench.files[-1]) == BODY


def test_a_file_that_another_program_created_is_never_overwritten(bench: Bench) -> None:
    bench.folder.mkdir(parents=True)
    (bench.folder / "a.bin").write_bytes(b"mine")
    bench.get(bench.server.put("/a.bin", BODY))
    assert (bench.folder / "a.bin").read_bytes() == b"mine"
    assert bench.names == ["a (2).bin", "a.bin"]


def test_a_file_left_by_a_kill_before_it_was_recorded_is_used(bench: Bench) -> None:
    bench.folder.mkdir(parents=True)
    (bench.folder / "a.bin").write_bytes(BODY)
    bench.get(bench.server.put("/a.bin", BODY))
    assert bench.names == ["a.bin"]
    assert bench.files[0].name == "a.bin"


def test_no_symbolic_link_is_followed(bench: Bench) -> None:
    outside = bench.store.data_dir.parent / "outside"
    outside.mkdir()
    victim = outside / "victim"
    victim.write_bytes(b"mine")
    bench.folder.mkdir(parents=True)
    os.symlink(victim, bench.folder / "a.bin")
    bench.get(bench.server.put("/a.bin", BODY))
    assert victim.read_bytes() == b"mine"
    assert bench.files[0].name == "a (2).bin"


def test_a_linked_folder_is_refused_with_a_clear_message(bench: Bench) -> None:
    outside = bench.store.data_dir.parent / "outside"
    outside.mkdir()
    bench.folder.parent.mkdir()
    os.symlink(outside, bench.folder)
    run = bench.new_run()
    with pytest.raises(Exception, match="downloads/books: this path is a symbolic link"):
        bench.pool(run).start()
    assert list(outside.iterdir()) == []
