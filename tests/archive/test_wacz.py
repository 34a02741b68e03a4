"""Tests of the export of an archive.

They show what it contains, that nothing damaged or half is left, and that tools nobody here wrote accept it.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import resource
import zipfile
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline.archive.errors import ArchiveError
from pipeline.archive.reading import wacz
from pipeline.archive.reading.wacz import export
from pipeline.atomic_write import replace_file
from pipeline.model import RenderedPage
from pipeline.store import Store, open_store
from pipeline.store.files import archive_files
from tests.archive.exchanges import NOW, exchange
from tests.archive.filled import add_segment, close_day

DAY = timedelta(days=1)


@pytest.fixture
def archived(tmp_path: Path) -> Iterator[Store]:
    """A store with an archive of three days, of which the last refers to the first."""
    store = open_store(tmp_path / "var")
    for ago in (3, 2, 1):
        at = NOW - ago * DAY
        pages = [exchange("/same", at=at), exchange("/other", at=at, body=f"<h1>day {ago}</h1>".encode(), rendered=RenderedPage(b"<h1>rendered</h1>", b""))]
        confirmed = exchange("/same", at=at + timedelta(hours=1), status=304, reason=b"Not Modified", body=b"", request_headers=((b"If-None-Match", b'"1"'),))
        add_segment(store, pages, [confirmed], now=at)
    close_day(store, f"{NOW - 3 * DAY:%Y-%m-%d}", now=NOW)
    yield store
    store.close()


def test_a_package_has_all_files_to_which_its_days_refer_with_their_checksums(archived: Store, tmp_path: Path) -> None:
    path = tmp_path / "books.wacz"
    done = export(archived, "books", path, now=NOW, first_day=f"{NOW - DAY:%Y-%m-%d}")
    assert (done.files, done.referred) == (1, 2)
    assert done.size_bytes == path.stat().st_size
    with zipfile.ZipFile(path) as package:
        assert package.testzip() is None
        described = json.loads(package.read("datapackage.json"))
        assert described["wacz_version"] == "1.1.1"
        assert json.loads(package.read("datapackage-digest.json"))["hash"] == f"sha256:{hashlib.sha256(package.read('datapackage.json')).hexdigest()}"
        for resource in described["resources"]:
            content = package.read(resource["path"])
            assert (resource["bytes"], resource["hash"]) == (len(content), f"sha256:{hashlib.sha256(content).hexdigest()}")
            assert package.getinfo(resource["path"]).compress_type == zipfile.ZIP_STORED
        listed = {resource["path"] for resource in described["resources"]} | {"datapackage.json", "datapackage-digest.json"}
        assert listed == set(package.namelist())
        lines = gzip.decompress(package.read("indexes/index.cdx.gz")).splitlines()
        pages = [json.loads(line) for line in package.read("pages/pages.jsonl").splitlines()]
    assert lines == sorted(lines)
    entries = [json.loads(line.split(b" ", 2)[2]) for line in lines]
    assert {f"archive/{entry['filename']}" for entry in entries} == {path for path in listed if path.startswith("archive/")}
    assert "304" not in {entry.get("status") for entry in entries}, "replay tools would show an empty page"
    assert sorted(page["url"].rpartition("/")[2] for page in pages[1:]) == ["other", "other", "other", "same"]


def test_an_export_that_fails_leaves_nothing_and_says_why(archived: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "books.wacz"
    path.write_bytes(b"earlier")
    with pytest.raises(ArchiveError, match=r"no pages of this spider between 2020-01-01 and 2020-01-02; `pipeline archive list books`"):
        export(archived, "books", path, now=NOW, first_day="2020-01-01", last_day="2020-01-02")
    file = archive_files.files_of(archived, "books")[0]
    damaged = archived.files.path(file.key)
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-1] + b"x")
    with pytest.raises(ArchiveError, match=f"{file.key}: the file no longer has the checksum"):
        export(archived, "books", path, now=NOW)
    damaged.unlink()
    with pytest.raises(ArchiveError, match="is missing"):
        export(archived, "books", path, now=NOW)
    assert [each.name for each in tmp_path.glob("*.wacz*")] == ["books.wacz"]
    assert [each for each in tmp_path.iterdir() if each.name.endswith(".part")] == []
    assert path.read_bytes() == b"earlier"
    damaged.write_bytes(content)
    written = wacz._written

    def merged_meanwhile(*arguments: object) -> int:
        monkeypatch.setattr(wacz, "_written", written)
        close_day(archived, f"{NOW - 2 * DAY:%Y-%m-%d}", now=NOW)
        for gone in archived.files.root.glob(f"archive/books/segments/{NOW - 2 * DAY:%Y-%m-%d}*"):
            gone.unlink()
        return written(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(wacz, "_written", merged_meanwhile)
    assert export(archived, "books", path, now=NOW).files == 3


def test_the_index_of_a_package_has_blocks_that_a_tool_reads_one_by_one(archived: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wacz, "_LINES", 2)
    monkeypatch.setattr(wacz, "_OPEN", 2)
    export(archived, "books", tmp_path / "books.wacz", now=NOW)
    with zipfile.ZipFile(tmp_path / "books.wacz") as package:
        blocks, (meta, *places) = package.read("indexes/index.cdx.gz"), package.read("indexes/index.idx").splitlines()
    assert meta.startswith(b"!meta 0 ")
    assert len(places) > 2
    lines = gzip.decompress(blocks).splitlines()
    assert lines == sorted(lines)
    assert len(lines) == 9
    for place in places:
        key, at, text = place.split(b" ", 2)
        where = json.loads(text)
        block = blocks[where["offset"]:where["offset"] + where["length"]]
        assert where["digest"] == f"sha256:{hashlib.sha256(block).hexdigest()}"
        assert gzip.decompress(block).startswith(b"%s %s {" % (key, at))


@pytest.mark.parametrize(("methods", "indexed", "pages"), [
    (("POST", "GET", "PUT"), [None], 1), (("POST", "POST"), ["POST", "POST"], 0), (("GET", "GET"), [None, None], 1), (("HEAD", "POST"), ["POST"], 0)])
def test_a_replay_tool_does_not_take_the_response_to_a_form_for_the_page(tmp_path: Path, methods: tuple[str, ...], indexed: list[str | None], pages: int) -> None:
    with closing(open_store(tmp_path / "var")) as store:
        add_segment(store, [exchange("/search", after_s=number, method=method, body=f"<h1>{method} {number}</h1>".encode()) for number, method in enumerate(methods)],
                    [exchange("/search?q=1", body=b"\"method\": \"POST\"", response_headers=((b"Content-Type", b"text/plain"),))], now=NOW)
        export(store, "books", tmp_path / "books.wacz", now=NOW)
    with zipfile.ZipFile(tmp_path / "books.wacz") as package:
        lines = [line.split(b" ", 2) for line in gzip.decompress(package.read("indexes/index.cdx.gz")).splitlines()]
        listed = [json.loads(line)["url"] for line in package.read("pages/pages.jsonl").splitlines()[1:]]
    assert [json.loads(text).get("method") for key, _, text in lines if key.endswith(b"/search")] == indexed
    assert len(set(listed)) == pages


def test_an_export_to_a_full_disk_or_a_missing_folder_names_its_place(archived: Store, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as raised:
        export(archived, "books", tmp_path / "missing" / "books.wacz", now=NOW)
    assert raised.value.filename == str(tmp_path / "missing")
    path = tmp_path / "books.wacz"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))  # writing more fails as it does on a full disk, with an error that names no file
    try:
        for write in (lambda: export(archived, "books", path, now=NOW), lambda: replace_file(path, b"x" * 4000)):
            with pytest.raises(OSError, match="File too large") as failed:
                write()
            assert failed.value.filename == str(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [each.name for each in tmp_path.iterdir()] == ["var"]
    export(archived, "books", path, now=NOW)
    assert path.stat().st_mode & 0o777 == 0o600
