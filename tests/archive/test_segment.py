"""Segments under failures: full disks, kills, cuts; and the day's file made of them."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest
from warcio.archiveiterator import ArchiveIterator

from pipeline.archive.errors import ArchiveError
from pipeline.archive.format import cdxj
from pipeline.archive.format.members import records_of
from pipeline.archive.writing.day_file import merge
from pipeline.archive.writing.part_file import ClosedSegment
from pipeline.archive.writing.repair import describe, repair, unfinished, whole_records
from tests.archive import torture
from tests.archive.exchanges import NOW, exchange, segment, warcio_check, writer


def agrees(closed: ClosedSegment) -> list[str]:
    """Return the URLs of the index of a segment after a check that index and file agree."""
    assert describe(closed.path, closed.index_path) == closed
    lines = closed.index_path.read_bytes().splitlines(keepends=True)
    assert lines == sorted(lines)
    made = closed.index_path.with_suffix(".made")
    describe(closed.path, made)
    assert made.read_bytes() == b"".join(lines)
    made.unlink()
    return [cdxj.parse(line).url for line in lines]


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """Let no file grow beyond a size: such a write fails like one to a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_a_run_writes_one_segment_a_day_and_leaves_nothing_else(tmp_path: Path) -> None:
    segments = writer(tmp_path)
    segments.write([[exchange("/1"), exchange("/2")], []], NOW)
    segments.write([[exchange("/3")]], NOW.replace(hour=23, minute=59))
    segments.write([[exchange("/4")]], NOW + timedelta(days=1))
    first, second = segments.close()
    assert [(each.spider, each.day, each.run_id, each.records) for each in (first, second)] == [("books", "2026-11-30", 7, 10), ("books", "2026-12-01", 7, 4)]
    assert [agrees(each) for each in (first, second)] == [[f"https://www.books.example/{name}" for name in names] for names in ("123", "4")]
    assert first.size_bytes < segments.written_bytes < first.size_bytes + second.size_bytes
    assert {path.suffix for path in tmp_path.iterdir()} == {".gz", ".cdxj", ".sqlite3"}
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_a_run_without_pages_leaves_no_file(tmp_path: Path) -> None:
    segments = writer(tmp_path / "segments")
    segments.write([[], []], NOW)
    segments.hold([[]], NOW)
    segments.keep([])
    assert (segments.close(), (tmp_path / "segments").exists()) == ([], False)


def test_only_the_kept_pages_of_a_batch_are_in_the_segment(tmp_path: Path) -> None:
    segments = writer(tmp_path)
    for names in ("abc", "def"):
        segments.hold([[exchange(f"/{name}")] for name in names], NOW)
        segments.keep([1])
    segments.hold([[exchange("/g")]], NOW + timedelta(days=1))
    assert [part.name[:10] for part in unfinished(tmp_path)] == ["2026-12-01"]  # nothing says that the day before is still written
    segments.keep([])
    [closed] = segments.close()
    assert agrees(closed) == ["https://www.books.example/b", "https://www.books.example/e"]
    assert not unfinished(tmp_path)


def test_pages_that_were_held_when_the_process_was_killed_are_kept(tmp_path: Path) -> None:
    segments = writer(tmp_path)
    segments.write([[exchange("/written")]], NOW)
    segments.hold([[exchange("/a")], [exchange("/b")]], NOW)
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path, copy, ignore=shutil.ignore_patterns("copy"))  # what a kill leaves: the same files without locks
    closed = [repair(part) for part in unfinished(copy)]
    assert sorted(url for each in closed if each for url in agrees(each)) == [f"https://www.books.example/{name}" for name in ("a", "b", "written")]
    assert all(warcio_check(each.path) == "" for each in closed if each)


def test_kept_pages_that_could_not_be_written_to_the_segment_are_completed_later(tmp_path: Path) -> None:
    segments = writer(tmp_path)
    segments.write([[exchange("/1", body=random.Random(1).randbytes(9000))]], NOW)
    segments.hold([[exchange("/2")]], NOW)
    with small_files(5000), pytest.raises(OSError, match="File too large"):
        segments.keep([0])
    segments.hold([[exchange("/3")], [exchange("/4")]], NOW)
    segments.keep([1])
    closed = [*segments.close(), *(repair(part) for part in unfinished(tmp_path))]
    assert sorted(url for each in closed if each for url in agrees(each)) == [f"https://www.books.example/{name}" for name in "124"]


def test_held_pages_of_which_nothing_was_said_are_kept(tmp_path: Path) -> None:
    segments = writer(tmp_path)
    segments.hold([[exchange("/a")]], NOW)
    segments.hold([[exchange("/b")], [exchange("/c")]], NOW)
    segments.keep([1])
    segments.hold([[exchange("/d")]], NOW)
    closed = [*segments.close(), *(repair(part) for part in unfinished(tmp_path))]
    assert sorted(url for each in closed if each for url in agrees(each)) == [f"https://www.books.example/{name}" for name in "acd"]


def test_a_part_is_left_alone_while_its_process_writes_it(tmp_path: Path) -> None:
    segments = writer(tmp_path)
    segments.write([[exchange()]], NOW)
    [part] = unfinished(tmp_path)
    before = part.read_bytes()
    assert (repair(part), part.read_bytes()) == (None, before)
    assert len(segments.close()) == 1
    assert repair(part) is None  # closed meanwhile


def test_a_part_is_cut_after_its_last_whole_record_wherever_it_ends(tmp_path: Path) -> None:
    closed = segment(tmp_path / "whole", [exchange("/1")], [exchange("/1", after_s=1)])
    data = closed.path.read_bytes()
    with closed.path.open("rb") as file:
        records = list(records_of(file))
    ends = [record.offset + record.length for record in records]
    lines = {cdxj.parse(line).offset: line for line in closed.index_path.read_bytes().splitlines(keepends=True)}
    (folder := tmp_path / "cut").mkdir()
    part = folder / (closed.path.name + ".part")
    for cut in range(len(data) + 1):
        left = data[:cut] + (b"\0" * 50 if cut % 3 == 0 else b"")  # zeros: what a power failure leaves
        whole = [end for end in ends if left.startswith(data[:end])]
        index = sorted(line for offset, line in lines.items() if offset < max(whole, default=0))
        found = whole_records(BytesIO(left), closed.path.name, made := BytesIO())
        assert (found.size, found.records, sorted(made.getvalue().splitlines(keepends=True))) == (max(whole, default=0), len(whole), index)
        if cut % 101 and cut not in ends:
            continue
        part.write_bytes(left)
        repaired = repair(part)
        if len(whole) <= 1:
            assert (repaired, list(folder.iterdir())) == (None, [])
            continue
        assert repaired is not None
        assert (repaired.size_bytes, repaired.path.read_bytes(), repaired.index_path.read_bytes()) == (whole[-1], data[:whole[-1]], b"".join(index))
        repaired.path.unlink()
        repaired.index_path.unlink()


def test_records_after_a_damaged_one_are_kept_aside(tmp_path: Path) -> None:
    closed = segment(tmp_path, [exchange("/1")], [exchange("/2")])
    data = bytearray(closed.path.read_bytes())
    with closed.path.open("rb") as file:
        records = list(records_of(file))
    data[records[2].offset + 40] ^= 255
    part = tmp_path / f"{closed.path.name}.part"
    closed.path.rename(part)
    part.write_bytes(data)
    repaired = repair(part)
    assert repaired is not None
    assert repaired.size_bytes == records[2].offset
    assert (tmp_path / f"{closed.path.name}.damaged").read_bytes() == bytes(data[records[2].offset:])


def test_a_full_disk_loses_one_batch_and_leaves_whole_ones(tmp_path: Path) -> None:
    segments = writer(tmp_path)
    segments.write([[exchange("/1")]], NOW)
    size = sum(path.stat().st_size for path in tmp_path.glob("*.warc.gz.part"))
    with small_files(size + 500):
        for write in (segments.write, segments.hold):
            with pytest.raises(OSError, match="File too large"):
                write([[exchange(f"/2/{number}")] for number in range(9)], NOW)
    segments.write([[exchange("/3")]], NOW)
    [closed] = segments.close()
    assert agrees(closed) == ["https://www.books.example/1", "https://www.books.example/3"]
    assert warcio_check(closed.path) == ""
    assert not unfinished(tmp_path)


def test_a_process_killed_at_any_moment_leaves_files_that_agree(tmp_path: Path) -> None:
    torture.kills(tmp_path, rounds=4, randomness=random.Random(21))


def test_a_day_file_has_the_records_of_its_segments_at_the_places_in_its_index(tmp_path: Path) -> None:
    made = [segment(tmp_path / "segments", *([exchange(f"/{number}", after_s=offset)] for number in range(offset, 30, 3))) for offset in range(3)]
    made.append(segment(tmp_path / "segments", [exchange("/0", after_s=9)]))
    day = merge([(each.path, each.index_path) for each in made], tmp_path / "2026-11-30.warc.gz", tmp_path / "2026-11-30.cdxj")
    assert warcio_check(day.path) == ""
    assert (day.records, day.size_bytes) == (sum(each.records for each in made), day.path.stat().st_size)
    lines = day.index_path.read_bytes().splitlines(keepends=True)
    assert lines == sorted(lines)
    assert len(lines) == 31
    with day.path.open("rb") as file:
        for entry in map(cdxj.parse, lines):
            file.seek(entry.offset)
            iterator = ArchiveIterator(file, block_size=512)
            record = next(iter(iterator))
            assert (record.rec_headers["WARC-Target-URI"], record.rec_type == "revisit", entry.filename) == (entry.url, entry.is_revisit, day.path.name)
            assert (iterator.get_record_offset(), iterator.get_record_length()) == (entry.offset, entry.length)
    again = merge([(each.path, each.index_path) for each in made], tmp_path / "again" / day.path.name, tmp_path / "again" / "x.cdxj")
    assert (again.sha256, again.index_path.read_bytes()) == (day.sha256, b"".join(lines))
    described = describe(day.path, day.index_path)
    assert (described.sha256, described.records, described.spider) == (day.sha256, day.records, "books")


def test_no_day_file_is_made_of_a_damaged_segment(tmp_path: Path) -> None:
    closed = segment(tmp_path, [exchange()])
    data = bytearray(closed.path.read_bytes())
    data[-30] ^= 1
    closed.path.write_bytes(data)
    with pytest.raises(ArchiveError):
        merge([(closed.path, closed.index_path)], tmp_path / "day.warc.gz", tmp_path / "day.cdxj")
    assert not list(tmp_path.glob("day*"))


def test_records_are_on_the_disk_once_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def counted(descriptor: int) -> None:
        with suppress(OSError):
            synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    segments = writer(tmp_path)
    segments.write([[exchange("/1")]], NOW)
    monkeypatch.setattr(os, "fsync", counted)
    segments.write([[exchange(f"/{number}")] for number in range(50)], NOW)
    assert len(synced) == 1
    assert synced[0].endswith(".warc.gz.part")
    segments.close()
