"""`pipeline run` while a service is up.

The service performs the runs, and the command shows their progress.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TextIO

from pipeline.cli.progress import WATCH_EVERY_S, watch
from pipeline.cli.running_service import RunningService
from pipeline.errors import HeartbeatError
from pipeline.model import Run
from pipeline.store import Store
from pipeline.store.runs import runs
from pipeline.store.runs.stop_requests import request_stop

LOOK_FOR_SERVICE_S = 2.0


async def run_by_service(service: RunningService, store: Store, names: Sequence[str], *, show: TextIO) -> list[Run]:
    """Ask the service to run the spiders, and return the ended runs in the order of `names`. SIGINT and SIGTERM stop them at a checkpoint.

    Raises HeartbeatError if the service ends before it has started one of them.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    ids = [await asyncio.to_thread(service.start_run, name) for name in names]
    show.write(f"the service at {service} performs {'the run' if len(ids) == 1 else f'{len(ids)} runs'}\n")
    watching = asyncio.create_task(watch(store, ids, show))
    try:
        return await _ended(service, store, ids, stopped)
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


async def _ended(service: RunningService, store: Store, ids: Sequence[int], stopped: asyncio.Event) -> list[Run]:
    """Wait until the runs have ended, and return them."""
    found: dict[int, Run] = {}
    look_at = time.monotonic() + LOOK_FOR_SERVICE_S
    is_stopping = False
    while True:
        for run_id in ids:
            if run_id not in found or found[run_id].ended_at is None:
                found[run_id] = await asyncio.to_thread(_run, store, run_id)
        left = [run for run in found.values() if run.ended_at is None]
        if not left:
            return [found[run_id] for run_id in ids]
        if stopped.is_set() and not is_stopping:
            is_stopping = True
            await asyncio.to_thread(_stop, service, store, left)
        if time.monotonic() > look_at:
            look_at = time.monotonic() + LOOK_FOR_SERVICE_S
            if not store.shared and not await asyncio.to_thread(service.is_up):
                await asyncio.to_thread(_without_service, service, store, left)
        if is_stopping:
            await asyncio.sleep(WATCH_EVERY_S)
        else:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), WATCH_EVERY_S)


def _run(store: Store, run_id: int) -> Run:
    found = runs.get_run(store, run_id)
    if found is None:
        raise HeartbeatError(f"run {run_id} is not in the database of these settings", where="run", fix="check [pipeline] database")
    return found


def _stop(service: RunningService, store: Store, left: Sequence[Run]) -> None:
    for run in left:
        try:
            service.stop_run(run.id)
        except HeartbeatError:  # the service is stopping, too
            request_stop(store, run_id=run.id, now=datetime.now(UTC))


def _without_service(service: RunningService, store: Store, left: Sequence[Run]) -> None:
    """End the runs of a service that was killed. Raises HeartbeatError if one of them has not started, and so waits for the next service."""
    runs.abandon_expired(store, now=datetime.now(UTC))
    waiting = [run.id for run in left if (now := runs.get_run(store, run.id)) is not None and now.started_at is None and now.ended_at is None]
    if waiting:
        raise HeartbeatError(f"the service has ended before it started run {', '.join(map(str, waiting))}", where=str(service),
                             fix="the next `pipeline serve` starts what waits, and so does `pipeline run`")
