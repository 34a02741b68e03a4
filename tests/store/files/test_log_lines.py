"""Tests of reading a log: by pages from its end, and while it is being written."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.store.files import log_lines
from pipeline.store.files.log_lines import LogReader, page_after, page_before, parse

LINE = '{"time": "2026-11-30T05:00:00.000+00:00", "level": "warning", "part": "pipeline", "message": "slow"}'


def numbered(*numbers: int, width: int = 0) -> str:
    return "".join(json.dumps({"time": "2026-11-30T05:00:00+00:00", "level": "error" if number % 100 == 0 else "info",
                               "message": f"{number}{'.' * width}"}) + "\n" for number in numbers)


def test_only_whole_lines_are_returned_and_none_twice(tmp_path: Path) -> None:
    path = tmp_path / "7.log"
    reader = LogReader([path])
    assert list(reader.read()) == []
    path.write_text(f"{LINE}\n{LINE[:20]}", "utf-8")
    assert [line.text for line in reader.read()] == ["slow"]
    assert list(reader.read()) == []
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{LINE[20:]}\nSegmentation fault\n")
    assert [(line.level, line.text) for line in reader.read()] == [("warning", "slow"), ("", "Segmentation fault")]
    path.write_text(f"{LINE}\n", "utf-8")  # a new log in its place
    assert [line.text for line in reader.read()] == ["slow"]


def test_a_last_line_without_a_newline_counts_only_when_nobody_writes_the_log_any_more(tmp_path: Path) -> None:
    path = tmp_path / "7.log"
    path.write_text(f"{LINE}\nKilled", "utf-8")
    reader = LogReader([path])
    assert [line.text for line in reader.read()] == ["slow"]
    assert [line.text for line in reader.read(ended=True)] == ["Killed"]
    assert list(reader.read(ended=True)) == []
    assert [line.text for line in page_before([path]).lines] == ["slow"]
    assert [line.text for line in page_before([path], ended=True).lines] == ["slow", "Killed"]
    path.write_text("half", "utf-8")
    assert page_before([path]).lines == []


def test_the_pages_of_a_log_have_each_line_once_also_in_the_file_that_reached_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "7.log"
    paths = [tmp_path / "7.log.1", path]
    assert page_before(paths).lines == []
    paths[0].write_text(numbered(*range(900), width=300), "utf-8")
    path.write_text(numbered(*range(900, 1000)), "utf-8")
    found, before = [], None
    while before != 0:
        page = page_before(paths, before=before, limit=150)
        found = [line.text.rstrip(".") for line in page.lines] + found
        before = page.begin
    assert found == [str(number) for number in range(1000)]
    errors = page_before(paths, wanted=lambda line: line.is_at_least("error"), limit=3)
    assert [line.text.rstrip(".") for line in errors.lines] == ["700", "800", "900"]
    middle = page_before(paths, before=page.end - 5)  # an offset within a line is that of the line
    assert middle.end < page.end - 5


def test_one_page_examines_only_a_part_of_a_long_log(tmp_path: Path) -> None:
    path = tmp_path / "7.log"
    path.write_text(numbered(*range(1, 100), width=1000) + "x" * 300_000 + "\n" + numbered(101), "utf-8")
    page = page_before([path], wanted=lambda line: False, max_bytes=200_000)
    assert page.lines == []
    assert 0 < page.begin < page.end - 200_000
    assert page_before([path], before=page.begin, limit=1).lines[0].text.startswith("99.")
    assert page.end == path.stat().st_size


def test_pages_forwards_have_each_line_once_also_those_that_are_written_meanwhile(tmp_path: Path) -> None:
    old, path = tmp_path / "7.log.1", tmp_path / "7.log"
    old.write_text(numbered(*range(1, 6)), "utf-8")
    path.write_text(numbered(*range(6, 11)) + "half", "utf-8")
    found, after = [], 0
    for _ in range(5):
        page = page_after([old, path], after, limit=3)
        found += [line.text for line in page.lines]
        assert page.begin == after
        after = page.end
    assert [text.partition(".")[0] for text in found] == [str(number) for number in range(1, 11)]
    assert after == old.stat().st_size + path.stat().st_size - len("half")
    assert [line.text for line in page_after([old, path], after, ended=True).lines] == ["half"]
    with path.open("a", encoding="utf-8") as file:
        file.write(" and whole\n")
    page = page_after([old, path], after)
    assert ([line.text for line in page.lines], page_after([old, path], page.end).lines) == (["half and whole"], [])
    assert page_after([path], after).begin == 0, "the oldest file was deleted"


def test_reading_goes_on_in_the_next_file_when_the_log_reaches_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "7.log"
    paths = [tmp_path / "7.log.1", path]
    path.write_text(numbered(1, 2), "utf-8")
    reader = LogReader(paths, after=len(numbered(1)))
    assert [line.text for line in reader.read()] == ["2"]
    with path.open("a", encoding="utf-8") as file:
        file.write(numbered(3))
    path.replace(paths[0])
    path.write_text(numbered(4), "utf-8")
    assert [line.text for line in reader.read()] == ["3", "4"]
    assert reader.position == sum(each.stat().st_size for each in paths)
    assert LogReader(paths, after=reader.position).position == page_before(paths).end


def test_lines_longer_than_one_read_are_cut(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(log_lines, "_MAX_READ_BYTES", 100)
    path = tmp_path / "7.log"
    path.write_text("a\n" + "b" * 250 + "\nc\n", "utf-8")
    assert "".join(line.text for line in LogReader([path]).read()) == "a" + "b" * 250 + "c"


def test_levels_and_tracebacks() -> None:
    line = parse(LINE.replace('"slow"', '"failed", "traceback": "Traceback\\n  x"'))
    assert line.text == "failed\nTraceback\n  x"
    assert [line.is_at_least(level) for level in ("debug", "warning", "error")] == [True, True, False]
    assert parse("a crash of C code").is_at_least("error")
    assert parse('{"time": "no time", "level": 3}').at is None
