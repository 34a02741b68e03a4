"""The composition root of what changes nothing: `run --dry-run` on a store that is thrown away, and `try`."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit

from pipeline.cli.run import demo_site, run_now
from pipeline.errors import SpiderError, UsageError
from pipeline.model import DRY_RUN, Json, Run
from pipeline.settings import Settings
from pipeline.store import Store, open_store
from pipeline.store.crawl import items as stored_items
from pipeline.workers.forkserver import warm_up
from pipeline.workers.process import Child

TRY_LIMIT_S = 300.0
_LINES = 30


def dry_run(settings: Settings, names: Sequence[str], *, out: Callable[[str], None], show: TextIO) -> list[Run]:
    """Run spiders on an empty store that is thrown away: each item as a line of JSON to `out`, all else to `show`.

    Jars are copied, so that a session that holds is used; no file is downloaded and no slot is claimed.
    """
    with _elsewhere(settings) as rehearsed:
        store = open_store(rehearsed.data_dir, None)
        try:
            return asyncio.run(_perform(store, settings, rehearsed, names, show=show))
        finally:
            for name in names:
                _tell(store, name, out=out, show=show)
            store.close()


async def _perform(store: Store, settings: Settings, rehearsed: Settings, names: Sequence[str], *,
                   show: TextIO) -> list[Run]:
    async with demo_site(settings, names):
        return await run_now(store, rehearsed, names, show=show, reason=DRY_RUN)


@contextmanager
def _elsewhere(settings: Settings) -> Iterator[Settings]:
    """The same settings with a data_dir that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="pipeline-dry-run-") as folder:
        jars = settings.data_dir / "jars"
        if jars.is_dir():
            shutil.copytree(jars, Path(folder, "jars"))
        place = settings.pipeline.model_copy(update={"data_dir": folder, "database": None})
        values = {name: getattr(settings, name) for name in Settings.model_fields}
        yield Settings.model_construct(**values | {"pipeline": place})


def _tell(store: Store, name: str, *, out: Callable[[str], None], show: TextIO) -> None:
    for item in stored_items.present(store, name):
        out(json.dumps(item.data, ensure_ascii=False))
    for reject in stored_items.rejected(store, name):
        show.write(f"{name}: rejected: {reject.reason} ({reject.url}): {json.dumps(reject.data, ensure_ascii=False)}\n")
    for url in stored_items.download_urls(store, name):
        show.write(f"{name}: would download {url}\n")


def try_rules(settings: Settings, name: str, url: str) -> dict[str, Json]:
    """Fetch one page with the spider's session, in a child, and apply each of its rules.

    Raises the child's error: of the login, the fetch, or the rules.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise UsageError(f"{url!r} is no http(s) URL", where="try")
    open_store(settings.data_dir, settings.database_url).close()  # a child never makes or changes tables
    with tempfile.TemporaryDirectory(prefix="pipeline-try-") as folder:
        report, log_file = Path(folder, "report.json"), Path(folder, "log")
        warm_up()
        child = Child("try", settings, log_file, name, url, str(report))
        try:
            child.start()
            ended = asyncio.run(_wait(child, settings, name))
            error = child.answer() if ended is not None else None
        except EOFError:
            error = None
        finally:
            child.kill()
            child.close()
        if error is not None:
            raise error
        if not report.exists():
            log = log_file.read_text("utf-8", "replace").strip() if log_file.exists() else ""
            raise SpiderError("its process ended before it was done: " + (log.splitlines() or ["no word from it"])[-1],
                              where=f"spiders.{name}")
        found: dict[str, Json] = json.loads(report.read_text("utf-8"))
        return found


async def _wait(child: Child, settings: Settings, name: str) -> int | None:
    async with demo_site(settings, [name]):
        return await child.wait(TRY_LIMIT_S)


def trial_lines(found: dict[str, Any]) -> Iterator[str]:
    """What `try` found, for people."""
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
    """An item; the text of a watched page by its lines."""
    text = value.get("text")
    if set(value) != {"url", "name", "text"} or not isinstance(text, str):
        return json.dumps(value, ensure_ascii=False)
    lines = text.splitlines()
    more = [f"… and {len(lines) - _LINES} more lines"] if len(lines) > _LINES else []
    return "\n        ".join([json.dumps(value["name"], ensure_ascii=False), *lines[:_LINES], *more])


NEW_SPIDER = '''"""Say what this spider is for."""

import scrapy

from pipeline.model import Download


class {class_name}(scrapy.Spider):
    """Gets the same session, downloads and change tracking as a declared spider."""

    key = "url"  # which field tells one item from another; a tuple for several

    def parse(self, response):
        for link in response.css("a"):
            yield {{"url": response.urljoin(link.attrib.get("href", "")), "title": link.css("::text").get()}}
        # yield response.follow(…, callback=self.parse_page)   a method, and meta that is JSON: a killed run goes on
        # yield Download(response.urljoin(…))                  streamed to disk, and mailed when a digest says so
'''

NEW_TABLE = """[spiders.{name}]
spider = "spiders.{module}:{class_name}"
schedule = "every 1h"
start = ["https://example.com/"]
"""


def new_spider(folder: Path, name: str) -> tuple[Path, str]:
    """Write spiders/NAME.py in a folder; its path and the table for settings.toml. Raises SpiderError."""
    module = name.replace("-", "_")
    if not module.isidentifier():
        raise SpiderError(f"{name!r} is no name for a module", where="new spider", fix="use letters, digits and _")
    class_name = "".join(part.capitalize() for part in module.split("_")) + "Spider"
    path = folder / "spiders" / f"{module}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(NEW_SPIDER.format(class_name=class_name))
    except FileExistsError as error:
        raise SpiderError("is already there; it stays as it is", where=str(path)) from error
    return path, NEW_TABLE.format(name=name, module=module, class_name=class_name)
