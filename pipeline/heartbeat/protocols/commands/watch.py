"""The heartbeat command `watch`, which sends a line for every change between two snapshots."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

from pipeline.heartbeat.protocols.commands.command import ConnectionCommand, LineConnection
from pipeline.heartbeat.protocols.commands.downloads import download_counts
from pipeline.heartbeat.protocols.commands.outbox import outbox
from pipeline.heartbeat.protocols.commands.runs import past_run_figures, run_figures
from pipeline.heartbeat.protocols.commands.status import health
from pipeline.heartbeat.snapshot.schema import Snapshot


def _watch(connection: LineConnection, argument: str) -> None:
    connection.start_watch()


WATCH = ConnectionCommand(name="watch", needs_token=True, run=_watch,
                          help="a line now and another after every change, until you send something or disconnect")


async def watched_changes(before: Snapshot, current: Callable[[], Awaitable[Snapshot]], *, every_s: float,
                          paused: Callable[[], bool]) -> AsyncIterator[list[str]]:
    """Yield the changes between two successive snapshots as a list of lines, every `every_s` seconds.

    before: the first of the compared snapshots. current: coroutine function that returns a new snapshot. paused: while
    this function returns True, no snapshots are compared and nothing is yielded.
    """
    while True:
        await asyncio.sleep(every_s)
        if not paused():
            after = await current()
            yield list(changes(before, after))
            before = after


def changes(before: Snapshot, after: Snapshot) -> Iterator[str]:
    """Yield one line for each difference between two snapshots."""
    if (before["health"], before["reasons"]) != (after["health"], after["reasons"]):
        yield f"health {health(after)}"
    earlier = {run["id"]: run for run in before["runs"]}
    for run in after["runs"]:
        if run["id"] not in earlier:
            yield f"run {run['id']} of {run['spider']} started"
        elif earlier[run["id"]]["progress"] != run["progress"]:
            yield f"run {run['id']} of {run['spider']}: {run_figures(run)}, {run['progress']['waiting']} waiting"
    for name, spider in after["spiders"].items():
        known = {run["id"] for run in before["spiders"][name]["recent"]} if name in before["spiders"] else set()
        for past in reversed(spider["recent"]):
            if past["id"] not in known:
                yield f"run {past['id']} of {name} {past['outcome']}: {past['error'] or past_run_figures(past)}"
    if _outbox_state(before) != _outbox_state(after):
        yield f"outbox {outbox(after)}"
    if download_counts(before) != download_counts(after):
        yield f"downloads {download_counts(after)}"


def _outbox_state(snapshot: Snapshot) -> tuple[int, int, str]:
    """Return the values of the outbox without the age of the oldest message, which always changes."""
    found = snapshot["outbox"]
    return found["waiting"], found["parked"], found["last_error"]
