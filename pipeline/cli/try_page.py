"""`pipeline try`: fetch a page and apply a spider's rules in a child process, and format the results."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator
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

TRY_LIMIT_S = 300.0
_LINES = 30


def try_rules(settings: Settings, name: str, url: str) -> dict[str, Json]:
    """Fetch a page with a spider's session, apply each rule of the spider to it, and return the results.

    A child process fetches the page and applies the rules. If the child process reports an error of the login, the request or the
    rules, this function raises the same error.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise UsageError(f"{url!r} is not an http(s) URL", where="try")
    open_store(settings.data_dir, settings.database_url).close()  # creates or migrates the tables, which a child process never does
    with tempfile.TemporaryDirectory(prefix="pipeline-try-") as folder:
        report, log_file = Path(folder, "report.json"), Path(folder, "log")
        warm_up()
        child = Child("try", settings, log_file, name, url, str(report))
        try:
            child.start()
            ended = asyncio.run(_wait(child, settings, name))
            error = child.result() if ended is not None else None
        except EOFError:
            error = None
        finally:
            child.kill()
            child.close()
        if error is not None:
            raise error
        if not report.exists():
            log = log_file.read_text("utf-8", "replace").strip() if log_file.exists() else ""
            raise SpiderError("the process that tried the page ended unexpectedly: " + (log.splitlines() or ["the process wrote no log"])[-1],
                              where=f"spiders.{name}")
        found: dict[str, Json] = json.loads(report.read_text("utf-8"))
        return found


async def _wait(child: Child, settings: Settings, name: str) -> int | None:
    async with demo_site(settings, [name]):
        return await child.wait(TRY_LIMIT_S)


def lines(found: dict[str, Any]) -> Iterator[str]:
    """Yield the results of `try` as lines of text."""
    yield f"{found['url']}: HTTP {found['status']}, {found['characters']} characters"
    if found.get("session"):
        yield f"session: {found['session']}"
    for rule in found["rules"]:
        head = f"{rule['name']}  {rule['rule']}"
        if rule["error"]:
            yield f"{head}\n    failed: {rule['error']}"
            continue
        matched = f"{rule['count']} match{'' if rule['count'] == 1 else 'es'}"
        yield f"{head}\n    {matched}" + "".join(f"\n    {value}" for value in rule["first"])
    for name, values in (("links to follow", found["links"]), ("items", found["items"]), ("rejected", found["rejected"])):
        if values or name == "items":
            yield f"{name}: {len(values)}"
        for value in values[:3]:
            yield "    " + (value if isinstance(value, str) else _one_line(value))
        if len(values) > 3:
            yield f"    … and {len(values) - 3} more"
    if found.get("left_out"):
        yield found["left_out"]


def _one_line(value: dict[str, Any]) -> str:
    """Return an item as JSON; for the item of a watched page, return its name and the lines of the page."""
    text = value.get("text")
    if set(value) != {"url", "name", "text"} or not isinstance(text, str):
        return json.dumps(value, ensure_ascii=False)
    text_lines = text.splitlines()
    more = [f"… and {len(text_lines) - _LINES} more lines"] if len(text_lines) > _LINES else []
    return "\n        ".join([json.dumps(value["name"], ensure_ascii=False), *text_lines[:_LINES], *more])
