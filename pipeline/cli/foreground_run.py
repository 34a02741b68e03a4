"""`pipeline run`: perform runs in the foreground, and show their progress.

While this module is imported, the fork server loads Scrapy at the same time. So that a run can start early, this module imports only
what a run needs at its start.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

from pipeline.cli.progress import WATCH_EVERY_S, watch
from pipeline.errors import PipelineError
from pipeline.model import Run
from pipeline.settings import Settings
from pipeline.store import Store
from pipeline.store.maintenance.clock_trust import ClockTrust
from pipeline.store.runs import runs
from pipeline.workers.forkserver import warm_up
from pipeline.workers.prepared_process import PreparedProcess
from pipeline.workers.runner import Runner


def prepare(settings: Settings, names: Sequence[str]) -> contextlib.AbstractContextManager[PreparedProcess | None]:
    """Start the process for a single run, or the fork server that starts the processes of several runs.

    Call this function before opening the store, because a process that is forked from this process must not inherit an open store.
    """
    first = settings.spiders[names[0]]
    single = len(names) == 1 and first.first_processes == 1
    if single and sys.platform == "linux" and threading.active_count() == 1:  # forking is safe only with a single thread
        return PreparedProcess(first.most_followers)
    warm_up()
    return contextlib.nullcontext()


async def run_now(store: Store, settings: Settings, names: Sequence[str], *, show: TextIO,
                  reason: str = "manual", prepared: PreparedProcess | None = None) -> list[Run]:
    """Claim a slot for each named spider, perform the runs as the service would; return the ended runs.

    The ended runs are returned in the order of `names`. If a service with the same store starts one of these runs before this
    function does, the function waits until the run has ended. show: stream to which progress is written. reason: the `reason` of the
    runs. prepared: the process that prepare() has started for a single run; None if prepare() has started no process.
    """
    runner = Runner(store, settings, prepared)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, runner.stop)
    now = datetime.now(UTC)
    for run in runs.abandon_expired(store, now=now):
        show.write(f"{run.spider} run {run.id} was abandoned: the process of the run no longer exists\n")
    claimed = []
    for name in names:
        waiting = runs.claim_slot(store, name, f"manual {now.isoformat()} {store.owner}", due_at=now, reason=reason,
                              now=now, overlap=settings.spiders[name].overlap)
        assert waiting is not None  # no other process can claim a slot with this key
        claimed.append(waiting)
    watching = asyncio.create_task(watch(store, [run.id for run in claimed], show))
    async with demo_site(settings, names):
        try:
            ended = list(await asyncio.gather(*(_one(store, settings, runner, run) for run in claimed)))
            await asyncio.to_thread(_delete_surplus_files, store, settings, show)
            await asyncio.to_thread(_archive_housekeeping, store, settings, show)
            return ended
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching


def _delete_surplus_files(store: Store, settings: Settings, show: TextIO) -> None:
    """Delete downloads that exceed their limits. An error is shown, but the runs' outcomes remain."""
    from pipeline.download.storage.retention import delete_surplus  # imported here, because no run needs it
    try:
        now = datetime.now(UTC)
        doubt = ClockTrust(store).doubt(now)
        if doubt and any(spider.downloads.keep_for is not None for spider in settings.spiders.values()):
            show.write(f"warning: {doubt}\n")
        delete_surplus(store, settings, now=now, by_age=not doubt)
    except PipelineError as error:
        show.write(f"downloaded files that exceed the limits could not be deleted: {error}\n")


def _archive_housekeeping(store: Store, settings: Settings, show: TextIO) -> None:
    """Merge the archived pages of ended days, and delete what is too old, as a service does. An error is shown, but the runs' outcomes remain."""
    if not (settings.data_dir / "archive").exists():
        return
    from pipeline.archive.housekeeping.housekeeping import (  # imported here, because no run needs it
        HousekeepingOptions,
        do_housekeeping,
        is_due,
    )
    try:
        now = datetime.now(UTC)
        options = HousekeepingOptions(by_age=not ClockTrust(store).doubt(now))
        if not is_due(store, settings, options, now=now):
            return
        report = do_housekeeping(store, settings, options, now=now)
    except (PipelineError, OSError) as error:
        show.write(f"the files of the archive could not be kept in order: {error}\n")
        return
    for text in (*report.done, *(f"warning: {problem}" for problem in report.problems)):
        show.write(f"archive: {text}\n")


async def _one(store: Store, settings: Settings, runner: Runner, run: Run) -> Run:
    """Wait until fewer than `max_runs` runs are in progress, then perform a run and return the ended run."""
    while run.outcome is None:
        leased = await asyncio.to_thread(runs.start_run, store, run.id, owner=store.owner, now=datetime.now(UTC),
                                         limit=settings.pipeline.max_runs)
        if leased is not None:
            return await runner.perform(leased)
        await asyncio.sleep(WATCH_EVERY_S)
        found = await asyncio.to_thread(runs.get_run, store, run.id)
        run = found if found is not None and found.ended_at is not None else run
    return run


@contextlib.asynccontextmanager
async def demo_site(settings: Settings, names: Sequence[str]) -> Any:
    """Serve the demo site during a `with` block if the demo spider is to run.

    If a service already serves the demo site, this function does nothing.
    """
    if settings.demo is None or "demo" not in names:
        yield
        return
    from pipeline.demo import DemoSite  # imported only now, because other spiders do not need a web server
    site = DemoSite(host=settings.demo.host, port=settings.demo.port,
                    password_file=settings.data_dir / "demo-password")
    try:
        await site.start()
    except PipelineError:
        yield  # the port is in use: if not by the demo site of a service, the run will fail and report the other server's response
        return
    try:
        yield
    finally:
        await site.stop()
