"""What runs are doing, as it happens: bars on a terminal, a line whenever the figures change elsewhere.

All of it is read from the store, where each run writes its figures once a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.model import DownloadState, Run, together
from pipeline.run_summary import progress_line, speed
from pipeline.store import Store
from pipeline.store.files import download_queue
from pipeline.store.runs import runs
from pipeline.text import size_for_people

WATCH_EVERY_S = 0.3
PLAIN_EVERY_S = 2.0
_BAR = 24
_MOST_BARS = 12
_NAME = 40

Counts = Mapping[DownloadState, int]
"""How many downloads of a pass are in each state."""


async def watch(store: Store, run_ids: Sequence[int], show: TextIO) -> None:
    """Show the figures of the runs, until cancelled."""
    console = Console(file=show)
    if not console.is_terminal:
        await _watch_plainly(store, run_ids, show)
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        while True:
            current = await asyncio.to_thread(_current, store, run_ids)
            live.update(view(current))
            await asyncio.sleep(WATCH_EVERY_S)


async def _watch_plainly(store: Store, run_ids: Sequence[int], show: TextIO) -> None:
    shown: dict[int, str] = {}
    while True:
        for run, _ in await asyncio.to_thread(_current, store, run_ids):
            line = f"{run.spider} run {run.id}: {progress_line(run)}"
            if run.running and shown.get(run.id) != line and (run.progress.pages or run.transfers):
                shown[run.id] = line
                show.write(line + "\n")
                show.flush()
        await asyncio.sleep(PLAIN_EVERY_S)


def _current(store: Store, run_ids: Sequence[int]) -> list[tuple[Run, Counts]]:
    found = [run for run in (runs.get_run(store, run_id) for run_id in run_ids) if run is not None]
    return [(run, download_queue.counts(store, run.pass_id)) for run in found]


def view(current: Sequence[tuple[Run, Counts]]) -> RenderableType:
    """A table of the runs; below it a bar for each file under way, and one for all files of a run."""
    table = _table()
    for name in ("run", "state", "pages", "waiting", "items", "new", "changed", "files", "MB"):
        table.add_column(name, justify="left" if name in ("run", "state") else "right")
    bars = _table(show_header=False)
    for name in ("name", "bar", "done", "rate", "left"):
        bars.add_column(name, justify="left" if name in ("name", "bar") else "right", no_wrap=True,
                        max_width=_NAME if name == "name" else None)
    for run, counts in current:
        progress = run.progress
        state = run.outcome.value if run.outcome else "running" if run.running else "waiting for a place"
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
        # A bar that does not know its end stays empty: a pulse would say that all is well of a silent server.
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
    """Seconds until all files are there, when those that wait are like those that came; None when nobody can tell."""
    here = together(run.transfers)
    waiting = max(0, counts.get(DownloadState.WAITING, 0) - len(run.transfers))
    if not waiting:
        return here.left_s
    fetched = run.progress.downloads
    if not fetched or here.rate_bytes_s <= 0:
        return None
    usual = max(0.0, (run.progress.download_bytes - here.done_bytes) / fetched)
    return ((here.total_bytes or here.done_bytes) - here.done_bytes + waiting * usual) / here.rate_bytes_s
