"""`pipeline new spider`: write a Python spider from a template, and show the settings table for it."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import SpiderError

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
