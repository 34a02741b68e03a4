"""Performs the housekeeping of the archive in a child process, with limits of time and memory.

The libraries that read archive files and timestamps are loaded there only.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path

from pipeline.archive.housekeeping.housekeeping import HousekeepingOptions, HousekeepingReport
from pipeline.errors import SpiderError
from pipeline.settings import Settings
from pipeline.workers.page_task import last_error, watch
from pipeline.workers.process import Child

LIMIT_S = 1800.0
"""How long the process may take. Merging copies files, at some hundred megabytes a second; what is left is done by the next process."""
MEMORY_BYTES = 2**29
_PROBLEM = "problem: "


async def run_in_child(settings: Settings, options: HousekeepingOptions, *, is_stopped: Callable[[], bool]) -> HousekeepingReport:
    """Perform the housekeeping in a child process, and return what it did. It may be killed at any moment.

    The forkserver must be running. Raises the error that the child reported, SpiderError if it ends unexpectedly or exceeds a limit.
    """
    where = "archive"
    with tempfile.TemporaryDirectory(prefix="pipeline-archive-log-") as logs:
        log_file = Path(logs, "log")
        child = Child("archive", settings, log_file, options)
        try:
            await asyncio.to_thread(child.start)
            problem = await watch(child, LIMIT_S, MEMORY_BYTES, is_stopped)
            error = child.result() if not problem else SpiderError(problem, where=where)
        except EOFError:
            error = SpiderError(f"the process ended unexpectedly: {last_error(log_file)}", where=where)
        finally:
            child.kill()
            await asyncio.to_thread(child.close)
    if error is not None:
        raise error
    return received(child.remarks)


def sent(report: HousekeepingReport) -> list[str]:
    """Return what a child sends to its parent."""
    return [*report.done, *(f"{_PROBLEM}{problem}" for problem in report.problems)]


def received(remarks: list[str]) -> HousekeepingReport:
    """Return what a child has sent."""
    return HousekeepingReport([text for text in remarks if not text.startswith(_PROBLEM)],
                              [text.removeprefix(_PROBLEM) for text in remarks if text.startswith(_PROBLEM)])
