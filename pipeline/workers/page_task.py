"""Perform a task on single pages of a spider, or on a user's text, in a child with limits."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.errors import SpiderError
from pipeline.model import Json
from pipeline.settings import Settings
from pipeline.workers.process import Child

_WATCH_EVERY_S = 1.0


async def perform(settings: Settings, task: str, name: str, options: dict[str, Any], *, limit_s: float,
                  is_stopped: Callable[[], bool] = lambda: False, where: str = "", max_bytes: int | None = None) -> dict[str, Json]:
    """Perform the task of a module of pipeline.workers.pages in a child process, and return the result.

    The forkserver must be running. task: the name of the module. name: the name of the spider whose session fetches the pages. options:
    the task's further arguments. limit_s: time limit of the whole task. is_stopped: whether the task is to be given up. where: what
    errors of the process name instead of the spider. max_bytes: the maximum size of the result. If the child
    process reports an error of the login, the request or the rules, this function raises the same error; it raises SpiderError if the
    process ends unexpectedly or exceeds a limit.
    """
    where = where or f"spiders.{name}"
    with tempfile.TemporaryDirectory(prefix="pipeline-page-") as folder:
        report, log_file = Path(folder, "report.json"), Path(folder, "log")
        child = Child("page", settings, log_file, name, task, options, str(report))
        await _perform(child, limit_s, settings.spiders[name].memory_limit, is_stopped, where)
        return await asyncio.to_thread(_result, report, log_file, where, max_bytes)


async def examine_text(settings: Settings, module: str, *arguments: Any, limit_s: float, memory_limit_bytes: int) -> dict[str, Json]:
    """Call perform() of a module with the arguments in a child process, and return the result.

    The forkserver must be running. Raises SpiderError if the process ends unexpectedly or exceeds a limit.
    """
    with tempfile.TemporaryDirectory(prefix="pipeline-text-") as folder:
        report, log_file = Path(folder, "report.json"), Path(folder, "log")
        await _perform(Child("text", settings, log_file, str(report), module, *arguments), limit_s, memory_limit_bytes, lambda: False, "")
        return await asyncio.to_thread(_result, report, log_file, "", None)


async def _perform(child: Child, limit_s: float, memory_limit_bytes: int, is_stopped: Callable[[], bool], where: str) -> None:
    """Let a child process perform its task to the end. Raises the error that it reports, or SpiderError if it exceeds a limit."""
    try:
        await asyncio.to_thread(child.start)
        problem = await watch(child, limit_s, memory_limit_bytes, is_stopped)
        error = child.result() if not problem else SpiderError(problem, where=where)
    except EOFError:
        error = None
    finally:
        child.kill()
        await asyncio.to_thread(child.close)
    if error is not None:
        raise error


def _result(report: Path, log_file: Path, where: str, max_bytes: int | None) -> dict[str, Json]:
    """Return the result that the child has written. Raise SpiderError with the end of its log if it has written none."""
    if not report.exists():
        raise SpiderError(f"the process ended unexpectedly: {last_error(log_file)}", where=where)
    if max_bytes is not None and (size := report.stat().st_size) > max_bytes:
        raise SpiderError(f"the result is too large to be shown ({size / 1e6:.0f} MB)", where=where, fix="select less of the page")
    found: dict[str, Json] = json.loads(report.read_text("utf-8"))
    return found


def last_error(log_file: Path) -> str:
    """Return the last line of a log, without its fields; for an exception, the last line of the traceback."""
    lines = log_file.read_text("utf-8", "replace").splitlines() if log_file.exists() else []
    if not lines:
        return "it wrote no log"
    try:
        entry = json.loads(lines[-1])
        return str(entry.get("traceback") or entry["message"]).strip().splitlines()[-1]
    except (ValueError, KeyError, AttributeError, IndexError):
        return lines[-1]


async def watch(child: Child, limit_s: float, memory_limit_bytes: int, is_stopped: Callable[[], bool]) -> str:
    """Wait until the child ends. Return why it must be killed, or "" if it has ended by itself."""
    deadline = time.monotonic() + limit_s
    while await child.wait(min(_WATCH_EVERY_S, max(0.0, deadline - time.monotonic()))) is None:
        if is_stopped():
            return "the process was stopped"
        if time.monotonic() >= deadline:
            return f"the process was stopped after {limit_s:.0f} s"
        if (memory := await asyncio.to_thread(child.memory_bytes)) > memory_limit_bytes:
            return f"the process was stopped, because it used {memory / 1e6:.0f} MB of memory (memory_limit is {memory_limit_bytes / 1e6:.0f} MB)"
    return ""
