"""`pipeline new spider`: the template of a Python spider, and the table that uses it."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import SpiderError

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


def write_spider(folder: Path, name: str) -> tuple[Path, str]:
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
