"""Perform a task on single pages of a spider in a child process, and return its result."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.cli.foreground_run import demo_site
from pipeline.errors import SpiderError, UsageError
from pipeline.model import Json
from pipeline.settings import Settings
from pipeline.store import open_store
from pipeline.workers.forkserver import warm_up
from pipeline.workers.process import Child

TASK_LIMIT_S = 300.0


def perform(settings: Settings, task: str, name: str, options: dict[str, Any], *, limit_s: float = TASK_LIMIT_S,
            where: str = "") -> dict[str, Json]:
    """Perform the task of a module of pipeline.workers.pages in a child process, and return the result.

    task: the name of the module. name: the name of the spider whose session fetches the pages. options: the task's further arguments.
    limit_s: time limit of the whole task. where: what errors of the process name instead of the spider. If the child process reports an error of the login, the request or the rules, this
    function raises the same error; it raises SpiderError if the process ends unexpectedly or exceeds the time limit.
    """
    open_store(settings.data_dir, settings.database_url).close()  # creates or migrates the tables, which a child process never does
    with tempfile.TemporaryDirectory(prefix="pipeline-page-") as folder:
        report, log_file = Path(folder, "report.json"), Path(folder, "log")
        warm_up()
        child = Child("page", settings, log_file, name, task, options, str(report))
        try:
            child.start()
            ended = asyncio.run(_wait(child, settings, name, limit_s))
            error = child.result() if ended is not None else None
        except EOFError:
            error = None
        finally:
            child.kill()
            child.close()
        if error is not None:
            raise error
        if ended is None:
            raise SpiderError(f"the process was stopped after {limit_s:.0f} s", where=where or f"spiders.{name}")
        if not report.exists():
            log = log_file.read_text("utf-8", "replace").strip() if log_file.exists() else ""
            raise SpiderError("the process ended unexpectedly: " + (log.splitlines() or ["it wrote no log"])[-1], where=where or f"spiders.{name}")
        found: dict[str, Json] = json.loads(report.read_text("utf-8"))
        return found


async def _wait(child: Child, settings: Settings, name: str, limit_s: float) -> int | None:
    async with demo_site(settings, [name]):
        return await child.wait(limit_s)


def check_url(url: str, command: str) -> None:
    """Raise UsageError if `url` is not a URL that a session can fetch. command: the name of the command, for the error."""
    try:
        parts = urlsplit(url)
        is_http = parts.scheme.lower() in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_http = False
    if not is_http:
        raise UsageError(f"{url!r} is not an http(s) URL", where=command, fix="write the whole URL, such as https://site.example/list")
