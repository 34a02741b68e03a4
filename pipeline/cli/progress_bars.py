"""The table of runs and the progress bars of downloads that `pipeline run` shows on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.model import DownloadState, Run, together
from pipeline.run_summary import speed
from pipeline.text import size_for_people

_BAR = 24
_MOST_BARS = 12
_NAME = 40

Counts = Mapping[DownloadState, int]
"""For each state, the number of downloads of a pass in this state."""


def view(current: Sequence[tuple[Run, Counts]]) -> RenderableType:
    """Return what the terminal shows: a table of the runs and, below the table, progress bars.

    There is a bar for each download in progress, and for each run a bar for all its downloads together.
    """
    table = _table()
    for name in ("run", "state", "pages", "waiting", "items", "new", "changed", "files", "MB"):
        table.add_column(name, justify="left" if name in ("run", "state") else "right")
    bars = _table(show_header=False)
    for name in ("name", "bar", "done", "rate", "left"):
        bars.add_column(name, justify="left" if name in ("name", "bar") else "right", no_wrap=True,
                        max_width=_NAME if name == "name" else None)
    for run, counts in current:
        progress = run.progress
        state = run.outcome.value if run.outcome else "running" if run.running else "waiting to start"
        table.add_row(f"{run.spider} {run.id}", state, str(progress.pages), str(progress.waiting),
                      str(progress.items), str(progress.new), str(progress.changed), str(progress.downloads),
                      f"{progress.download_bytes / 1e6:.1f}")
        if run.running and any(counts.values()):
            _add_bars(bars, run, counts)
    return Group(table, bars) if bars.row_count else table


def _table(*, show_header: bool = True) -> Table:
    return Table(box=None, pad_edge=False, show_header=show_header)


def _add_bars(bars: Table, run: Run, counts: Counts) -> None:
    for transfer in run.transfers[:_MOST_BARS]:
        total = transfer.total_bytes
        # If the size of the file is unknown, the bar remains empty. A pulsing bar would suggest progress even if the server sends nothing.
        bar = ProgressBar(total or 1, transfer.done_bytes if total else 0, width=_BAR)
        bars.add_row(Text(f"  {transfer.name}", overflow="ellipsis"), bar,
                     size_for_people(transfer.done_bytes) + (f" of {size_for_people(total)}" if total is not None else ""),
                     *speed(transfer.rate_bytes_s, transfer.left_s))
    if len(run.transfers) > _MOST_BARS:
        bars.add_row(Text(f"  and {len(run.transfers) - _MOST_BARS} more"))
    files = sum(counts.values())
    over = files - counts.get(DownloadState.WAITING, 0)
    bars.add_row(Text(f"{run.spider} {run.id}: all files"), ProgressBar(files, over, width=_BAR), f"{over} of {files}",
                 *speed(together(run.transfers).rate_bytes_s, left_s(run, counts)))


def left_s(run: Run, counts: Counts) -> float | None:
    """Return the estimated seconds until all files of a run are downloaded; None if there is no estimate.

    The estimate assumes that the remaining files have the mean size of the files that were already downloaded.
    """
    here = together(run.transfers)
    waiting = max(0, counts.get(DownloadState.WAITING, 0) - len(run.transfers))
    if not waiting:
        return here.left_s
    fetched = run.progress.downloads
    if not fetched or here.rate_bytes_s <= 0:
        return None
    usual = max(0.0, (run.progress.download_bytes - here.done_bytes) / fetched)
    return ((here.total_bytes or here.done_bytes) - here.done_bytes + waiting * usual) / here.rate_bytes_s
