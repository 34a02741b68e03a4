"""Tests of reading a log while it is being written."""

from __future__ import annotations

from pathlib import Path

from pipeline.store.files.log_lines import LogReader, parse

LINE = '{"time": "2026-11-30T05:00:00.000+00:00", "level": "warning", "part": "pipeline", "message": "slow"}'


def test_only_whole_lines_are_returned_and_none_twice(tmp_path: Path) -> None:
    path = tmp_path / "7.log"
    reader = LogReader(path)
    assert reader.read() == []
    path.write_text(f"{LINE}\n{LINE[:20]}", "utf-8")
    assert [line.text for line in reader.read()] == ["slow"]
    assert reader.read() == []
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{LINE[20:]}\nSegmentation fault\n")
    assert [(line.level, line.text) for line in reader.read()] == [("warning", "slow"), ("", "Segmentation fault")]
    path.write_text(f"{LINE}\n", "utf-8")  # a new log in its place
    assert [line.text for line in reader.read()] == ["slow"]


def test_a_long_log_begins_with_a_whole_line_near_its_end(tmp_path: Path) -> None:
    path = tmp_path / "7.log"
    path.write_text("".join(f'{{"time": "2026-11-30T05:00:00+00:00", "level": "info", "message": "{number}"}}\n' for number in range(1000)), "utf-8")
    found = LogReader(path, last_bytes=200).read()
    assert [line.text for line in found] == ["998", "999"]


def test_levels_and_tracebacks() -> None:
    line = parse(LINE.replace('"slow"', '"failed", "traceback": "Traceback\\n  x"'))
    assert line.text == "failed\nTraceback\n  x"
    assert [line.is_at_least(level) for level in ("debug", "warning", "error")] == [True, True, False]
    assert parse("a crash of C code").is_at_least("error")
    assert parse('{"time": "no time", "level": 3}').at is None
