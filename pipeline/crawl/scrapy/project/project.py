"""Load a Scrapy project as the command scrapy does: its settings, its modules and its spiders."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scrapy import Spider
from scrapy.addons import AddonManager
from scrapy.settings import SETTINGS_PRIORITIES
from scrapy.settings import Settings as ScrapySettings
from scrapy.spiderloader import get_spider_loader
from scrapy.utils.project import get_project_settings

from pipeline.crawl.scrapy.project.reactor import install_reactor
from pipeline.crawl.spider_import import import_error, spider_class
from pipeline.errors import SpiderError
from pipeline.settings import nearest

CFG = "scrapy.cfg"
_MODULE = "SCRAPY_SETTINGS_MODULE"


@dataclass(frozen=True)
class ScrapyProject:
    """A Scrapy project that this process has loaded.

    folder: the folder of its scrapy.cfg, which is the current directory of this process; the folder of settings.toml for a project
    that is only a module with settings. settings: as the command scrapy has them before it knows the spider.
    """

    folder: Path
    settings: ScrapySettings

    @property
    def has_reactor(self) -> bool:
        """Whether runs of the project use Twisted's reactor, as in Scrapy: unless TWISTED_REACTOR_ENABLED is false."""
        return self.settings.getbool("TWISTED_REACTOR_ENABLED")

    def spider_class(self, name: str) -> type[Spider]:
        """Import and return a spider's class. name: the name of a spider as `scrapy list` shows it, "module:Class" or "file.py:Class".

        Raise SpiderError if there is no such spider, or if its module cannot be imported.
        """
        if ":" in name:
            return spider_class(name, self.folder)
        with _import_errors(name, self.folder):
            loader = get_spider_loader(self.settings)
        try:
            return loader.load(name)
        except KeyError as error:
            known = sorted(each for each in loader.list() if isinstance(each, str))
            raise SpiderError(f"the Scrapy project has no spider {name!r}{nearest(name, known)}", where=str(self.folder),
                              fix=f"set `spider` to one of: {', '.join(known)}" if known else
                              "check SPIDER_MODULES in the settings of the project") from error


def open_project(name: str, folder: Path) -> ScrapyProject:
    """Load the settings of a Scrapy project. This process can load no other project afterwards.

    Like the command scrapy, this changes sys.path and the environment, and the current directory becomes the folder of the project,
    to which the paths in its settings and its code are relative. name: the folder of scrapy.cfg, or the name of a module with
    settings. folder: the folder of settings.toml. Raise SpiderError if the project does not exist or its settings cannot be imported.
    """
    place = (folder / Path(name).expanduser()).resolve()
    os.environ.pop(_MODULE, None)  # the project of the shell that has started the service
    if not place.is_dir():
        if not all(part.isidentifier() for part in name.split(".")):
            raise SpiderError("the folder of the Scrapy project does not exist", where=str(place), fix="correct `project`")
        place = folder
        os.environ[_MODULE] = name
    elif not (place / CFG).is_file():
        inside = sorted(each.parent.relative_to(folder) if each.is_relative_to(folder) else each.parent for each in place.glob(f"*/{CFG}"))
        raise SpiderError("the folder has no scrapy.cfg", where=str(place),
                          fix=f'set project = "{inside[0]}"' if inside else "set `project` to the folder that contains scrapy.cfg")
    for each in (str(folder), str(place)):
        if each in sys.path:
            sys.path.remove(each)
        sys.path.insert(0, each)
    os.chdir(place)
    with _import_errors(name, place):
        settings = get_project_settings()
        AddonManager.load_pre_crawler_settings(settings)
    if not os.environ.get(_MODULE):
        raise SpiderError(f"scrapy.cfg names no module with settings for the project {os.environ.get('SCRAPY_PROJECT', 'default')}", where=str(place),
                          fix="add default = PACKAGE.settings to its section [settings]")
    return ScrapyProject(place, settings)


def load_spider(project: str, name: str, folder: Path) -> tuple[ScrapyProject, type[Spider], asyncio.AbstractEventLoop | None]:
    """Open a project, install the reactor if its runs use one, and import a spider.

    Return the project, the class of the spider, and the event loop of the reactor. For the arguments and errors see open_project and
    ScrapyProject.spider_class.
    """
    opened = open_project(project, folder)
    loop = install_reactor() if opened.has_reactor else None
    return opened, opened.spider_class(name), loop


def project_settings(project: ScrapyProject | None, spidercls: type[Spider]) -> ScrapySettings:
    """Return the settings of the project with those of the spider (custom_settings)."""
    settings = project.settings.copy() if project is not None else ScrapySettings()
    spidercls.update_settings(settings)
    return settings


def given_in(settings: ScrapySettings) -> dict[str, Any]:
    """Return the settings that are not Scrapy's defaults: those that an add-on, the project or the spider has set."""
    return {name: value for name, value in settings.items() if (settings.getpriority(name) or 0) >= SETTINGS_PRIORITIES["addon"]
            and name.isupper()}


@contextmanager
def _import_errors(name: str, folder: Path) -> Iterator[None]:
    try:
        yield
    except SpiderError:
        raise
    except (Exception, SystemExit) as error:
        raise import_error(error, name, folder, is_project=True) from error
