"""`pipeline new spider`: write the proposed settings of a spider, or a Python spider from a template."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import SpiderError, UsageError
from pipeline.sample_rows import row_lines
from pipeline.settings import Settings
from pipeline.settings.cross_checks import ENTRY_NAME
from pipeline.settings.edit import write_part
from pipeline.settings.files import file_with, part_folder
from pipeline.text import counted, shown_url

NEW_SPIDER = '''"""Describe this spider here."""

import scrapy

from pipeline.model import Download


class {class_name}(scrapy.Spider):
    """Gets the same session, downloads and change tracking as a declared spider."""

    key = "url"  # the field that identifies an item; a tuple for several

    def parse(self, response):
        for link in response.css("a"):
            yield {{"url": response.urljoin(link.attrib.get("href", "")), "title": link.css("::text").get()}}
        # yield response.follow(…, callback=self.parse_page)   with a method and JSON in meta, a killed run is resumed
        # yield Download(response.urljoin(…))                  stored on disk; a digest with attach = ["downloads"] mails it
'''

NEW_TABLE = """[spiders.{name}]
spider = "spiders.{module}:{class_name}"
schedule = "every 1h"
start = ["https://example.com/"]
"""


def write_spider(folder: Path, name: str) -> tuple[Path, str]:
    """Write the template of a spider to spiders/NAME.py in `folder`.

    Returns the path of the file, and the settings table for the spider as text. Raises SpiderError.
    """
    module = name.replace("-", "_")
    if not module.isidentifier():
        raise SpiderError(f"{name!r} is not a valid name of a Python module", where="new spider",
                          fix="use letters, digits and _, and begin with a letter")
    class_name = "".join(part.capitalize() for part in module.split("_")) + "Spider"
    path = folder / "spiders" / f"{module}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(NEW_SPIDER.format(class_name=class_name))
    except FileExistsError as error:
        raise SpiderError("the file already exists and was not changed", where=str(path)) from error
    return path, NEW_TABLE.format(name=name, module=module, class_name=class_name)


def check_name(settings: Settings, name: str) -> None:
    """Raise UsageError if `name` cannot be the name of a new spider in settings.d."""
    if not ENTRY_NAME.fullmatch(name):
        raise UsageError(f"{name!r} is not a valid name of a spider", where="new spider",
                         fix="use at most 64 letters, digits, - and _, and begin with a letter or digit")
    if name in settings.spiders:
        raise UsageError(f"there is already a spider named {name!r}", where=str(file_with(settings.file, "spiders", name)),
                         fix="choose another name")
    if _path(settings, name).exists():
        raise UsageError("the file already exists and was not changed", where=str(_path(settings, name)), fix="choose another name")


def write_table(settings: Settings, name: str, toml: str, url: str) -> Path:
    """Write the table of a new spider to settings.d/NAME.toml, and return the path.

    The file has the mode of the settings file. Raises SettingsError, and writes nothing, if all settings together would not be valid.
    """
    text = f"# Proposed by `pipeline suggest` for {shown_url(url)}\n\n{toml}"
    return write_part(settings.file, name, text, fix="choose another name")


def _path(settings: Settings, name: str) -> Path:
    return part_folder(Path(settings.file)) / f"{name}.toml"


def next_steps(settings: Settings, name: str, tried: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the new spider finds on its first page, and the next commands. tried: the result of the task `try_rules`."""
    items = tried["items"]
    yield f"{counted(len(items), 'item')} on {shown_url(tried['url'])}" + (":" if items else "")
    yield from row_lines(items[:5])
    if tried["rejected"]:
        yield f"{counted(len(tried['rejected']), 'item')} rejected: {tried['rejected'][0]['reason']}"
    if not items:
        yield f"correct the rules in {_path(settings, name)}, and try them with `pipeline try {name} {shlex.quote(settings.spiders[name].start[0].url)}`"
        return
    yield ""
    yield f"next: pipeline run {name}"
    yield "a running service runs the spider on its `schedule` after `pipeline reload`"
    if settings.digests:
        first = next(iter(settings.digests))
        yield f'to mail what it finds, add "{name}" to `spiders` of [digests.{first}], or add a digest:'
    else:
        yield f"to mail what it finds, add a digest to {settings.file}:"
    digest = name if name not in settings.digests else f"{name}-news"
    yield from ("", f"[digests.{digest}]", f'spiders = ["{name}"]', 'to = ["me@example.com"]', 'schedule = "daily at 08:00"')
