"""Merge the middlewares and extensions of a spider with those of this program, by their numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self

from scrapy.crawler import Crawler
from scrapy.settings import BaseSettings
from scrapy.utils.misc import load_object

from pipeline.crawl.context import CrawlContext, context_of
from pipeline.crawl.scrapy.project import legacy
from pipeline.crawl.scrapy.project.components.exception_witness import with_witnesses
from pipeline.crawl.scrapy.project.components.own_handlers import limited
from pipeline.crawl.scrapy.project.settings.findings import component_findings
from pipeline.model import DRY_RUN

ADD_ON = "pipeline.crawl.scrapy.project.components.merge.MergedComponents"
"""The add-on's name in the setting ADDONS, in which it has the highest number."""

_MIDDLEWARES = "scrapy.downloadermiddlewares"
OWN_MIDDLEWARES = {
    f"{_MIDDLEWARES}.robotstxt.RobotsTxtMiddleware": "pipeline.crawl.middlewares.robots.ObeyRobots",
    f"{_MIDDLEWARES}.redirect.MetaRefreshMiddleware": "pipeline.crawl.middlewares.refresh.FollowRefresh",
    f"{_MIDDLEWARES}.redirect.RedirectMiddleware": "pipeline.crawl.middlewares.redirects.Redirects",
    f"{_MIDDLEWARES}.cookies.CookiesMiddleware": "pipeline.crawl.middlewares.cookies_and_headers.SessionCookies",
    f"{_MIDDLEWARES}.httpcompression.HttpCompressionMiddleware": "pipeline.crawl.middlewares.content_coding.DecodeBodies",
    f"{_MIDDLEWARES}.httpproxy.HttpProxyMiddleware": "",
    "scrapy.spidermiddlewares.offsite.OffsiteMiddleware": f"{_MIDDLEWARES}.offsite.OffsiteMiddleware",
}
"""Maps middlewares of Scrapy to those that take their places here; "" is the download handler. The last one was removed from Scrapy."""

_MAY_BE_OFF = frozenset({f"{_MIDDLEWARES}.redirect.MetaRefreshMiddleware", f"{_MIDDLEWARES}.redirect.RedirectMiddleware",
                         f"{_MIDDLEWARES}.cookies.CookiesMiddleware", "scrapy.spidermiddlewares.offsite.OffsiteMiddleware"})
"""Middlewares of Scrapy that a project may switch off, and with them those of this program."""
_PORTS = ("scrapy.extensions.telnet.TelnetConsole", "scrapy.extensions.remote_control.RemoteControl")
COLLECTOR = "pipeline.crawl.collector.PageCollector"
PROTECTS = "pipeline.crawl.middlewares.cookies_and_headers.RefusePrivateAddresses"


class MergedComponents:
    """A Scrapy add-on that merges the spider's components with this program's after all other add-ons have changed the settings.

    It also says in the run's line which components of the spider are not used.
    """

    def __init__(self, context: CrawlContext) -> None:
        self._context = context

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        return cls(context_of(crawler))

    def update_settings(self, settings: BaseSettings) -> None:
        if self._context.run.reason == DRY_RUN and settings.getdict("FEEDS"):
            settings.set("FEEDS", {}, priority="cmdline")
            self._context.note("the feeds of the spider are not written in a dry run")
        self._merge_downloader_middlewares(settings)
        self._merge_spider_middlewares(settings)
        for line in component_findings(settings):
            self._context.note_once(line)
        middlewares = {**settings["SPIDER_MIDDLEWARES_BASE"], **dict(_adapted(settings.getdict("SPIDER_MIDDLEWARES")))}
        settings.set("SPIDER_MIDDLEWARES", with_witnesses({each: place for each, place in middlewares.items() if place is not None}), priority="cmdline")
        settings.set("SPIDER_MIDDLEWARES_BASE", {}, priority="cmdline")
        handlers = settings.getdict("DOWNLOAD_HANDLERS")
        settings.set("DOWNLOAD_HANDLERS", {scheme: limited(handler) if handler and scheme in ("http", "https") else handler
                                           for scheme, handler in handlers.items()}, priority="cmdline")
        extensions = _by_name(settings.get("EXTENSIONS"))
        for name in _PORTS:
            if extensions.pop(name, None) is not None:
                self._context.note_once(f"the extension {name} is not used, because it would let other programs execute code in the run")
        settings.set("EXTENSIONS", extensions, priority="cmdline")

    def _merge_downloader_middlewares(self, settings: BaseSettings) -> None:
        base = dict(settings["DOWNLOADER_MIDDLEWARES_BASE"])
        given = _by_name(settings.get("DOWNLOADER_MIDDLEWARES"))
        has_login = self._context.session.login_state is not None
        for name, ours in OWN_MIDDLEWARES.items():
            if name not in given:
                continue
            if given.pop(name) is not None or not ours:
                continue  # the middleware of this program stays at its own place
            if name in _MAY_BE_OFF and not (has_login and ours.endswith("SessionCookies")):
                base.pop(ours, None)
            elif ours.endswith("SessionCookies"):
                self._context.note_once(f"{name} cannot be switched off, because the spider has a login")
            elif ours.endswith("ObeyRobots"):
                self._context.note_once(f"{name} cannot be switched off: the key `robots` decides")
            else:
                self._context.note_once(f"{name} cannot be switched off: compressed bodies are always decoded")
        for name in sorted(set(given) & set(OWN_MIDDLEWARES.values())):
            self._context.note_once(f"the place of {name} cannot be changed")
            given.pop(name)
        if given.get(PROTECTS, 0) is None:
            given.pop(PROTECTS)
        first = min((number for number in given.values() if number is not None), default=0)
        if PROTECTS in base:
            base[PROTECTS] = min(base[PROTECTS], first - 1)
        settings.set("DOWNLOADER_MIDDLEWARES_BASE", base, priority="cmdline")
        settings.set("DOWNLOADER_MIDDLEWARES", given, priority="cmdline")

    def _merge_spider_middlewares(self, settings: BaseSettings) -> None:
        """Keep PageCollector in front of the other spider middlewares, so that it gets what they leave of a page's output."""
        base = dict(settings["SPIDER_MIDDLEWARES_BASE"])
        given = _by_name(settings.get("SPIDER_MIDDLEWARES"))
        old = "scrapy.spidermiddlewares.offsite.OffsiteMiddleware"
        given.pop(old, None)
        given.pop(COLLECTOR, None)
        first = min((number for number in given.values() if number is not None), default=base[COLLECTOR])
        base[COLLECTOR] = min(base[COLLECTOR], first - 1)
        settings.set("SPIDER_MIDDLEWARES_BASE", base, priority="cmdline")
        settings.set("SPIDER_MIDDLEWARES", given, priority="cmdline")


def _by_name(components: Mapping[Any, Any] | None) -> dict[Any, Any]:
    """Return a setting with components, such as EXTENSIONS, with names in place of the classes of Scrapy and of this program."""
    return dict(_entries(components or {}))


def _entries(components: Mapping[Any, Any]) -> Iterator[tuple[Any, Any]]:
    for key, number in components.items():
        name = _name(key)
        yield (name if name.startswith(("scrapy.", "pipeline.")) else key), number


def _adapted(middlewares: Mapping[Any, Any]) -> Iterator[tuple[Any, Any]]:
    """Yield spider middlewares, with those that were written for older versions of Scrapy in a form that it accepts."""
    for key, number in middlewares.items():
        middleware = load_object(key) if number is not None else None
        yield (legacy.with_lists(middleware) if isinstance(middleware, type) and legacy.takes_lists(middleware) else key), number


def _name(component: Any) -> str:
    return component if isinstance(component, str) else f"{component.__module__}.{component.__qualname__}"
