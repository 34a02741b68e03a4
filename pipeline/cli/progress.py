"""Show the progress of foreground runs: bars on a terminal, otherwise a line after each change.

The progress is read from the store, to which each run writes its progress once a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TextIO

from pipeline.model import DownloadState, Run
from pipeline.run_summary import progress_line
from pipeline.store import Store
from pipeline.store.files import download_queue
from pipeline.store.runs import runs

WATCH_EVERY_S = 0.3
PLAIN_EVERY_S = 2.0


async def watch(store: Store, run_ids: Sequence[int], show: TextIO) -> None:
    """Write the progress of the runs to the stream `show`, until the task is cancelled."""
    if not show.isatty():
        await _watch_plainly(store, run_ids, show)
        return
    from rich.console import Console
    from rich.live import Live

    from pipeline.cli.progress_bars import view  # rich needs 3 MB, so it is only loaded on a terminal

    with Live(console=Console(file=show), refresh_per_second=4, transient=True) as live:
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


def _current(store: Store, run_ids: Sequence[int]) -> list[tuple[Run, dict[DownloadState, int]]]:
    found = [run for run in (runs.get_run(store, run_id) for run_id in run_ids) if run is not None]
    return [(run, download_queue.counts(store, run.pass_id)) for run in found]
