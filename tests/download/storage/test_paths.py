"""Paths of downloaded files: the template of date, item and name, with every component made safe."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from pipeline.download.storage.paths import FolderLayout
from pipeline.errors import DownloadError, SettingsError
from pipeline.model import Download, Item, QueuedDownload
from pipeline.settings import load
from tests.download.conftest import Bench

BODY = b"content " * 5000


def wanted(url: str = "http://books.example/a.pdf", **item: object) -> QueuedDownload:
    return QueuedDownload(1, "books", url, "", "", (), "", 1, "", "", "", None, "", "", "",
                          datetime(2026, 3, 1, 20, 30, tzinfo=UTC), item=item)


@pytest.mark.parametrize(("template", "place"), [
    ("{name}", ("report.tar.gz",)),
    ("{date}/{name}", ("2026-03-02", "report.tar.gz")),
    ("{year}/{month}-{day}/{host}/{stem} of {item.id}{ext}", ("2026", "03-02", "books.example", "report of 7.tar.gz")),
    ("{item.category}/{item.author.name}/{name}", ("Art_Music", "Ye, Mo", "report.tar.gz")),
    ("{item.up}/{name}", ("_etc", "report.tar.gz")),
    ("{item.dots}/{item.device}/{name}", ("unsorted", "CON_", "report.tar.gz")),
    ("{item.missing}/{item.blank}/{item.none}/{name}", ("unsorted", "unsorted", "unsorted", "report.tar.gz"))])
def test_a_template_is_filled_with_safe_parts(template: str, place: tuple[str, ...]) -> None:
    item = {"id": 7, "category": "Art/Music", "author": {"name": ["Ye", "Mo"]}, "up": "../etc", "dots": "..", "device": "CON",
            "blank": "  ", "none": None}
    # 20:30 UTC is the next day in Shanghai.
    assert FolderLayout(template, ZoneInfo("Asia/Shanghai")).path_of(wanted(**item), "report.tar.gz") == place


def test_hostile_fields_stay_inside_the_folder(bench: Bench) -> None:
    fields = ["../../x", "C:\\x", "/etc/passwd", "\u202egpj.exe", "a\x00b\x1b[2J", "CON", ".hidden", "x" * 400, ".parts"]
    run = bench.new_run()
    items = [Item(str(number), {"title": field}) for number, field in enumerate(fields)]
    bench.ask_for(run, *(Download(bench.server.put(f"/{number}.txt", b"%d" % number), item_key=str(number))
                         for number in range(len(fields))), items=items)
    made = bench.pool(run, layout=FolderLayout("{item.title}/{item.title} {name}"))
    made.start()
    made.drain()
    assert (made.figures().done, made.fatal) == (len(fields), None)
    outside = [path for path in bench.store.data_dir.parent.rglob("*") if path.is_file()
               and bench.folder not in path.parents and path.parent != bench.store.data_dir]
    assert outside == []
    assert {bench.content(file) for file in bench.files} == {b"%d" % number for number in range(len(fields))}
    assert all(len(Path(name).parts) == 2 for name in bench.names)


def test_a_link_in_place_of_a_folder_is_refused(bench: Bench) -> None:
    outside = bench.store.data_dir.parent / "outside"
    outside.mkdir()
    bench.folder.mkdir(parents=True)
    os.symlink(outside, bench.folder / "127.0.0.1")
    url = bench.server.put("/a", BODY)
    bench.get(url, layout=FolderLayout("{host}/{name}"))
    assert "downloads/books/127.0.0.1: this path is a symbolic link" in str(bench.row(url)["error"])
    assert list(outside.iterdir()) == []


def test_files_with_the_same_name_and_content_each_get_a_name(bench: Bench) -> None:
    run = bench.new_run()
    bench.ask_for(run, *(bench.server.put(f"/{number}/same.pdf", BODY) for number in range(8)))
    made = bench.pool(run, workers=8)
    made.start()
    made.drain()
    assert (made.figures().done, made.fatal) == (8, None)
    assert len({file.key for file in bench.files}) == 8


def test_a_deleted_file_gets_its_name_again(bench: Bench) -> None:
    url = bench.server.put("/a.bin", BODY, etag='"v1"')
    bench.get(url)
    (bench.folder / "a.bin").unlink()
    again = bench.get(url)
    assert (again.figures().done, again.fatal) == (1, None)
    assert bench.names == ["a.bin"]
    assert [bench.content(file) for file in bench.files] == [BODY]


def test_the_same_content_is_stored_once_with_link_duplicates(bench: Bench) -> None:
    first, second = bench.server.put("/a.bin", BODY), bench.server.put("/b.bin", BODY)
    other = bench.server.put("/c.bin", BODY[:-1] + b"!")
    bench.get(first, layout=FolderLayout(link_duplicates=True))
    bench.get(second, other, layout=FolderLayout("{host}/{name}", link_duplicates=True))
    inodes = {file.name: os.stat(bench.store.files.path(file.key)).st_ino for file in bench.files}
    assert inodes["a.bin"] == inodes["b.bin"] != inodes["c.bin"]
    assert bench.parts == []


def test_a_modified_file_does_not_count_as_the_same_content(bench: Bench) -> None:
    first, second = bench.server.put("/a.bin", BODY), bench.server.put("/b.bin", BODY)
    bench.get(first)
    (bench.folder / "a.bin").write_bytes(BODY[:-1] + b"!")
    bench.get(second, layout=FolderLayout(link_duplicates=True))
    assert bench.content(bench.files[1]) == BODY


@pytest.mark.parametrize(("path", "problem"), [
    ("/etc/{name}", "contains an empty folder or file name"), ("../{name}", "not a valid file name on every operating system"),
    ("a//{name}", "contains an empty folder or file name"), ("a:b/{name}", "not a valid file name on every operating system"),
    ("{nmae}", "{nmae} in the path '{nmae}' is not a placeholder (did you mean 'name'?)"), ("{name}/x", "the file name in the path"),
    ("{item.title}", "must contain {name} or {ext}"), ("{item.}/{name}", "{item.} in the path '{item.}/{name}' is not a placeholder"),
    ("{name", "not a valid file name on every operating system"), ("a/" * 9 + "{name}", "more than 8 folders"),
    ("{item.titel}/{name}", "{item.titel}, but the items have no such field (did you mean 'title'?)")])
def test_an_invalid_template_is_an_error_of_the_settings(tmp_path: Path, path: str, problem: str) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(f"""
[spiders.books]
start = "http://books.example/"
[spiders.books.items]
fields = {{ title = "h1" }}
[spiders.books.downloads]
path = "{path}"
""")
    with pytest.raises(SettingsError) as raised:
        load(file)
    assert problem in str(raised.value)
    assert "spiders.books" in str(raised.value)


def test_the_final_name_of_an_unrecorded_file_is_removed_before_its_part_is_resumed(bench: Bench) -> None:
    """A kill between link(2) and the record: the part has two names, and the next attempt resumes it."""
    url = bench.server.put("/a.bin", BODY * 60, etag='"v1"', cuts=[2_000_000], gentle=True)
    bench.get(url, attempts=1)
    part, = bench.parts
    (bench.folder / "2026").mkdir()
    os.link(part, bench.folder / "2026" / "a.bin")
    bench.get(url, layout=FolderLayout("{host}/{name}"))
    assert bench.server.asked[-1].status == 206
    assert bench.names == ["127.0.0.1/a.bin"]
    assert bench.content(bench.files[0]) == BODY * 60


def test_the_error_names_the_folder_that_cannot_be_written(bench: Bench) -> None:
    bench.folder.mkdir(parents=True)
    (bench.folder / "127.0.0.1").write_bytes(b"a file in its place")
    url = bench.server.put("/a", BODY)
    bench.get(url, layout=FolderLayout("{host}/{name}"))
    assert "downloads/books/127.0.0.1" in str(bench.row(url)["error"])
    assert DownloadError.exit_code == 6
