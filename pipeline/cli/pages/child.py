"""Perform a task on single pages of a spider in a child process, and return its result."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from pipeline.cli.foreground_run import demo_site
from pipeline.errors import UsageError
from pipeline.model import Json
from pipeline.settings import Settings
from pipeline.store import open_store_of
from pipeline.urls import is_http
from pipeline.workers import page_task
from pipeline.workers.forkserver import warm_up

TASK_LIMIT_S = 300.0


def perform(settings: Settings, task: str, name: str, options: dict[str, Any], *, limit_s: float = TASK_LIMIT_S,
            where: str = "") -> dict[str, Json]:
    """Perform the task of a module of pipeline.workers.pages in a child process, and return the result (see page_task.perform).

    The demo site is served meanwhile, if the spider crawls it.
    """
    open_store_of(settings).close()  # creates or migrates the tables, which a child process never does
    warm_up()

    async def work() -> dict[str, Json]:
        async with demo_site(settings, [name]):
            return await page_task.perform(settings, task, name, options, limit_s=limit_s, where=where)

    return asyncio.run(work())


def check_url(url: str, command: str) -> None:
    """Raise UsageError if `url` is not a URL that a session can fetch. command: the name of the command, for the error."""
    if not is_http(url):
        example = f"https://{url}" if re.fullmatch(r"[\w-]+(\.[\w-]+)+(:\d+)?(/[^\s\\]*)?", url) else "https://site.example/list"
        raise UsageError(f"{url!r} is not an http(s) URL", where=command, fix=f"write the whole URL, such as {example}")
