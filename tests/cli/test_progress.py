"""Tests of the progress display of foreground runs."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from pipeline.cli.progress_bars import left_s, view
from pipeline.model import DownloadState, Outcome, Progress, Run, Transfer
from pipeline.run_summary import ended_line, progress_line
from pipeline.text import counted

NOW = datetime(2026, 5, 1, tzinfo=UTC)
COUNTS = {DownloadState.WAITING: 6, DownloadState.DONE: 10, DownloadState.FAILED: 1}


def run(*transfers: Transfer, **progress: int) -> Run:
    return Run(3, 1, "books", 1, "manual", NOW, NOW, started_at=NOW, progress=Progress(**progress), transfers=transfers)


def shown(*current: Run) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=120, force_terminal=True, color_system=None).print(view([(each, COUNTS) for each in current]))
    return [" ".join(line.split()) for line in file.getvalue().splitlines()]


def test_each_active_download_has_a_bar_with_its_rate_and_the_time_left() -> None:
    lines = shown(run(Transfer("report.pdf", 2_500_000, 10_000_000, 1_500_000.0), Transfer("no length [b].pdf", 1000, None, 10.0),
                      pages=4, downloads=10, download_bytes=22_501_000))
    assert lines[1].startswith("books 3 running 4")
    name, bar, *rest = lines[2].split(" ", 2)
    assert name == "report.pdf"
    assert bar == "━" * 6, "a quarter of 24"
    assert rest == ["2.5 MB of 10.0 MB 1.5 MB/s 5 s left"]
    assert lines[3] == "no length [b].pdf 1.0 kB 10 B/s"
    assert "books 3: all files" in lines[4]
    assert "11 of 17" in lines[4]


def test_many_files_are_shown_as_their_number() -> None:
    lines = shown(run(*(Transfer(f"{number}.pdf", 1, 2, 1.0) for number in range(20))))
    assert lines[14] == "and 8 more"
    assert len(lines) == 16


def test_the_time_left_is_estimated_from_finished_files() -> None:
    under_way = Transfer("a", 500, 1000, 100.0)
    # Ten files of 1000 bytes came; five wait beside the one under way.
    assert left_s(run(under_way, downloads=10, download_bytes=10_500), COUNTS) == (500 + 5 * 1000) / 100
    assert left_s(run(under_way), COUNTS) is None
    assert left_s(run(under_way), {DownloadState.WAITING: 1}) == 5.0


def test_a_plain_line_has_the_same_figures() -> None:
    line = progress_line(run(Transfer("a", 2_000_000, 4_000_000, 1e6), Transfer("b", 0, 1_000_000, 0.0), pages=2, downloads=1,
                             download_bytes=5_000_000))
    assert line == "2 pages, 0 items, 1 file (5.0 MB), 2 downloading (2.0 MB of 5.0 MB) 1.0 MB/s 3 s left"


@pytest.mark.parametrize(("figures", "line"), [
    ({}, "0 pages, 0 items"),
    ({"pages": 1, "items": 1, "new": 1, "pages_failed": 1}, "1 page, 1 item, 1 new, 1 page failed"),
    ({"pages": 2, "items": 3, "changed": 1, "gone": 1, "back": 1, "rejected": 2, "pages_failed": 2},
     "2 pages, 3 items, 1 changed, 1 gone, 1 back, 2 rejected, 2 pages failed"),
    ({"pages": 1, "downloads": 1, "download_bytes": 12}, "1 page, 0 items, 1 file (12 B)"),
    ({"pages": 1, "downloads": 2, "download_bytes": 12_345}, "1 page, 0 items, 2 files (12.3 kB)"),
    ({"pages": 1, "downloads": 2, "download_bytes": 3_100_000_000}, "1 page, 0 items, 2 files (3.1 GB)"),
    ({"pages": 1, "downloads_unchanged": 1, "downloads_failed": 1}, "1 page, 0 items, 1 file unchanged, 1 file failed"),
    ({"pages": 1, "downloads_unchanged": 2, "downloads_failed": 2}, "1 page, 0 items, 2 files unchanged, 2 files failed")])
def test_figures_have_their_unit_and_the_right_plural(figures: dict[str, int], line: str) -> None:
    assert progress_line(run(**figures)) == line


@pytest.mark.parametrize(("seconds", "words"), [(0.04, "0.0 s"), (1.26, "1.3 s"), (61, "1 min"), (3725, "1 h 2 min"), (90_000, "1 d 1 h")])
def test_the_time_that_a_run_took_has_a_fitting_unit(seconds: float, words: str) -> None:
    ended = replace(run(pages=1), ended_at=NOW + timedelta(seconds=seconds), outcome=Outcome.TIMED_OUT, error="too slow")
    assert ended_line(ended).startswith(f"books run 3: timed out after {words} (1 page, 0 items")


@pytest.mark.parametrize(("number", "noun", "words"), [(1, "spider", "1 spider"), (0, "spider", "0 spiders"), (2, "entry", "2 entries"), (2, "day", "2 days"),
                                                       (2, "match", "2 matches"), (2, "process", "2 processes"), (1, "match", "1 match")])
def test_nouns_are_counted_in_english(number: int, noun: str, words: str) -> None:
    assert counted(number, noun) == words
