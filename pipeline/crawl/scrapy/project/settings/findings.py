"""What `pipeline check` and the line of a run say about the settings of a spider and its project."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scrapy import Spider
from scrapy.settings import BaseSettings, Settings
from scrapy.settings.default_settings import DEFAULT_REQUEST_HEADERS
from scrapy.utils.misc import load_object

from pipeline.crawl.scrapy.project import legacy
from pipeline.crawl.scrapy.project.project import given_in
from pipeline.crawl.scrapy.project.settings.adoption import ADOPTED
from pipeline.crawl.scrapy.project.settings.setting_table import departure_lines, departures
from pipeline.crawl.spider_import import import_error
from pipeline.settings import SpiderTable

_COMPONENTS = ("ADDONS", "ITEM_PIPELINES", "DOWNLOADER_MIDDLEWARES", "SPIDER_MIDDLEWARES", "EXTENSIONS")
_CLASSES = ("DOWNLOAD_HANDLERS", "FEED_EXPORTERS", "FEED_STORAGES")
_SINGLE = ("STATS_CLASS", "LOG_FORMATTER", "DUPEFILTER_CLASS", "REQUEST_FINGERPRINTER_CLASS")


def protected_settings(table: SpiderTable) -> dict[str, Any]:
    """Return the settings of Scrapy that protect the run, the site or this machine, and that no spider can change."""
    return {
        "JOBDIR": None,
        "TELNETCONSOLE_ENABLED": False,
        "REMOTE_CONTROL_ENABLED": False,
        "DOWNLOAD_VERIFY_CERTIFICATES": True,
        "DOWNLOAD_TIMEOUT": table.timeout,
        "DOWNLOAD_MAXSIZE": table.max_page_size,
        "DOWNLOAD_WARNSIZE": 0,
        "HTTPPROXY_ENABLED": False,
        "ROBOTSTXT_OBEY": table.robots,
        "TWISTED_REACTOR": "twisted.internet.asyncioreactor.AsyncioSelectorReactor",
        "ASYNCIO_EVENT_LOOP": None,
    }


def findings(table: SpiderTable, spidercls: type[Spider], settings: Settings) -> list[str]:
    """Return what is not used as in Scrapy, in sentences.

    table: the spider's table with the values that it adopts. settings: the settings of the project and the spider.
    """
    ours = protected_settings(table) | {name: getattr(table, key) for name, key in ADOPTED.items()}
    if table.project is None:  # without a project, custom_settings of the spider take precedence
        ours |= {name: settings[name] for name in ADOPTED}
    lines = departure_lines(departures(given_in(settings), ours, table.model_fields_set))
    may_render = table.render is not None or any(start.render for start in table.start)
    return [*lines, *([legacy.START_REQUESTS] if legacy.is_legacy(spidercls) else []), *filter(None, [unsent_headers(table, settings) if may_render else ""])]


def unsent_headers(table: SpiderTable, settings: BaseSettings) -> str:
    """Return which headers of a project rendered pages are requested without, as a sentence; "" if there are none."""
    own = {name.lower() for name in table.headers}
    names = [name for name, value in settings.getdict("DEFAULT_REQUEST_HEADERS").items()
             if value is not None and DEFAULT_REQUEST_HEADERS.get(name) != value and name.lower() not in own]
    return (f"DEFAULT_REQUEST_HEADERS has no effect on rendered pages ({', '.join(sorted(names))}): the browser has its own; "
            "name them in `headers` of the spider") if names else ""


def component_findings(settings: BaseSettings) -> Iterator[str]:
    """Yield what is to be known about the components of a spider, in sentences. settings: after all add-ons, if they have been applied."""
    own = [scheme for scheme, handler in settings.getdict("DOWNLOAD_HANDLERS").items() if scheme in ("http", "https") and handler]
    if own:
        yield (f"the project's own download handler fetches {' and '.join(own)}: whether it uses the session's proxy is unknown, private addresses are "
               "checked only for the pages themselves, and `max_page_size` only after a page was received")
    for each, number in settings.getdict("SPIDER_MIDDLEWARES").items():
        middleware: Any = load_object(each) if number is not None else None
        if hasattr(middleware, "process_start_requests") and not hasattr(middleware, "process_start"):
            yield (f"{middleware.__qualname__}.process_start_requests() is not called, because Scrapy no longer has this method; "
                   "rename it to process_start() and make it an asynchronous generator")
        if legacy.takes_lists(middleware):
            yield (f"{middleware.__qualname__}.process_spider_output() is not an asynchronous generator, as Scrapy wants it now; "
                   "it gets the output of each page as a list")


def check_components(settings: BaseSettings, folder: Path) -> None:
    """Raise SpiderError if a component that the settings name cannot be imported. folder: the folder of the project."""
    for name in (*_COMPONENTS, *_CLASSES):
        values: Mapping[Any, Any] = settings.getdict(name)
        for key, value in values.items():
            component = key if name in _COMPONENTS else value
            if value is not None and component is not None:
                _check(component, name, folder)
    for name in _SINGLE:
        _check(settings[name], name, folder)


def _check(component: Any, name: str, folder: Path) -> None:
    try:
        load_object(component)
    except (Exception, SystemExit) as error:
        raise import_error(error, f"{component} in {name}", folder, is_project=True) from error
