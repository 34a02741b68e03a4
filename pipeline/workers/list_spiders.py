"""Print the spiders of a Scrapy project as JSON: `python -m pipeline.workers.list_spiders FOLDER`.

The project's code is executed. The output is {"project": name, "spiders": [{"name": …, "args": […]}]}, or {"error": sentence} if the project cannot be loaded.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from pathlib import Path
from typing import Any

from scrapy import Spider
from scrapy.spiderloader import get_spider_loader

from pipeline.crawl.scrapy.project.project import open_project


def main(folder: str) -> None:
    """Load the project as `scrapy list` does. Whatever its modules print goes to stderr."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        try:
            found = _listed(folder)
        except (Exception, SystemExit) as error:  # noqa: BLE001  the code of the project may raise anything
            found = {"error": f"{type(error).__name__}: {error}"}
        json.dump(found, out)


def _listed(folder: str) -> dict[str, Any]:
    settings = open_project(folder, Path.cwd()).settings
    loader = get_spider_loader(settings)
    spiders = [{"name": name, "args": _arguments(loader.load(name))} for name in sorted(loader.list())]
    return {"project": settings.get("BOT_NAME", ""), "spiders": spiders}


def _arguments(spidercls: type[Spider]) -> list[str]:
    """Return the names of the arguments that the constructor of a spider declares."""
    if spidercls.__init__ is Spider.__init__:
        return []
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [parameter.name for parameter in inspect.signature(spidercls).parameters.values() if parameter.kind in kinds and parameter.name != "name"]


if __name__ == "__main__":
    main(str(Path(sys.argv[1]).resolve()))
