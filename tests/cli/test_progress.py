"""Tests of the progress display of foreground runs."""

from __future__ import annotations

import io
from datetime import UTC, datetime

from rich.console import Console

from pipeline.cli.progress_bars import left_s, view
from pipeline.model import DownloadState, Progress, Run, Transfer
from pipeline.run_summary import progress_line

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
    assert line == "2 pages, 0 items, 1 files (5.0 MB), 2 downloading (2.0 MB of 5.0 MB) 1.0 MB/s 3 s left"
