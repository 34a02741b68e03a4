"""Run one crawl: prepare the settings, the spider class and its start requests, and run the engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import scrapy
from scrapy import signals
from scrapy.crawler import Crawler
from scrapy.settings import Settings as ScrapySettings
from scrapy.settings.default_settings import RETRY_EXCEPTIONS
from scrapy.spiders import Spider
from twisted.python.failure import Failure

from pipeline.crawl.context import CrawlContext
from pipeline.crawl.frontier.scheduler import FrontierScheduler
from pipeline.crawl.interfaces import FROM_START, START
from pipeline.crawl.processes.leader import FollowerGroup, FollowerSockets
from pipeline.crawl.processes.scaling import Scaling
from pipeline.crawl.scrapy import engine_control
from pipeline.crawl.scrapy.engine import crawler_class, is_tested
from pipeline.crawl.scrapy.frontier_signals import FrontierSignals
from pipeline.crawl.scrapy.project import legacy
from pipeline.crawl.scrapy.project.components.merge import ADD_ON
from pipeline.crawl.scrapy.project.project import project_settings
from pipeline.crawl.scrapy.project.settings.adoption import ADOPTED
from pipeline.crawl.scrapy.project.settings.findings import findings, protected_settings
from pipeline.crawl.scrapy.project.signals.watch_crawl import CrawlWatch
from pipeline.crawl.spider_import import described
from pipeline.crawl.verdict import verdict
from pipeline.model import Json, Request
from pipeline.session import PreparedStart
from pipeline.store.runs.runs import Ending

_DOWNLOADER_MIDDLEWARES = {
    "pipeline.crawl.middlewares.cookies_and_headers.RefusePrivateAddresses": 20,
    "pipeline.crawl.middlewares.cookies_and_headers.FillStartRequest": 30,
    "pipeline.crawl.extract.pagination.FillPageNumber": 40,
    "scrapy.downloadermiddlewares.offsite.OffsiteMiddleware": 50,
    "pipeline.crawl.middlewares.robots.ObeyRobots": 100,
    "scrapy.downloadermiddlewares.httpauth.HttpAuthMiddleware": 300,
    "scrapy.downloadermiddlewares.downloadtimeout.DownloadTimeoutMiddleware": 350,
    "pipeline.crawl.middlewares.cookies_and_headers.SpiderHeaders": 390,
    "pipeline.crawl.middlewares.cookies_and_headers.RefererPolicy": 395,
    "pipeline.crawl.middlewares.http_auth.AddAuthorization": 392,
    "scrapy.downloadermiddlewares.defaultheaders.DefaultHeadersMiddleware": 400,
    "scrapy.downloadermiddlewares.useragent.UserAgentMiddleware": 500,
    "pipeline.crawl.middlewares.pdf.PdfToHtml": 530,
    "pipeline.crawl.middlewares.login_expiry.LoginExpiryByContent": 545,
    "scrapy.downloadermiddlewares.retry.RetryMiddleware": 550,
    "pipeline.crawl.middlewares.throttling.HostPauses": 555,
    "pipeline.crawl.middlewares.refresh.FollowRefresh": 575,
    "pipeline.crawl.middlewares.throttling.ProxyBans": 580,
    "pipeline.crawl.middlewares.cookies_and_headers.PageEncoding": 585,
    "pipeline.crawl.middlewares.content_coding.DecodeBodies": 590,
    "pipeline.crawl.middlewares.redirects.Redirects": 600,
    "pipeline.crawl.middlewares.http_cache.Revalidate": 660,
    "pipeline.crawl.middlewares.login_expiry.LoginExpiryByStatus": 690,
    "pipeline.crawl.middlewares.http_auth.AnswerAuthChallenge": 695,
    "pipeline.crawl.middlewares.cookies_and_headers.SessionCookies": 700,
}
_SPIDER_MIDDLEWARES = {
    "pipeline.crawl.collector.PageCollector": 10,
    "scrapy.spidermiddlewares.start.StartSpiderMiddleware": 25,
    "scrapy.spidermiddlewares.httperror.HttpErrorMiddleware": 50,
    "scrapy.spidermiddlewares.referer.RefererMiddleware": 700,
    "scrapy.spidermiddlewares.urllength.UrlLengthMiddleware": 800,
    "scrapy.spidermiddlewares.depth.DepthMiddleware": 900,
}

_HTTP_CACHE = {"scrapy.downloadermiddlewares.httpcache.HttpCacheMiddleware": 900}
"""A further middleware of Scrapy for spiders written in Python. It does nothing unless the settings of the spider ask for it."""
_PROJECT_MIDDLEWARES = {"scrapy.downloadermiddlewares.stats.DownloaderStats": 850}
"""A further middleware of Scrapy for the spiders of projects."""
_EXTENSIONS = {f"scrapy.extensions.{name}": 0 for name in ("memdebug.MemoryDebugger", "closespider.CloseSpider", "feedexport.FeedExporter")}
"""The extensions of Scrapy for spiders written in Python. They do nothing unless the settings of the spider ask for it."""
_PROJECT_EXTENSIONS = {f"scrapy.extensions.{name}": 0 for name in (
    "corestats.CoreStats", "logcount.LogCount", "logstats.LogStats", "memusage.MemoryUsage")}
"""Further extensions of Scrapy for the spiders of projects."""
_PROJECT_HANDLERS = {"data": "scrapy.core.downloader.handlers.datauri.DataURIDownloadHandler",
                     "s3": "scrapy.core.downloader.handlers.s3.S3DownloadHandler",
                     "ftp": "scrapy.core.downloader.handlers.ftp.FTPDownloadHandler"}
"""Further download handlers of Scrapy for projects. A project must name the handler for "file" itself, since a page may have links to files."""
_LAST = 10**9

_RETRIED = [each for each in RETRY_EXCEPTIONS if "handlers.http11" not in str(each)]
"""Scrapy's RETRY_EXCEPTIONS without the exceptions of Scrapy's HTTP handler, which is slow to import and not used."""

_FOR_PYTHON_SPIDERS = frozenset({
    "scrapy.spidermiddlewares.start.StartSpiderMiddleware",
    "scrapy.spidermiddlewares.urllength.UrlLengthMiddleware", "scrapy.spidermiddlewares.depth.DepthMiddleware",
    "scrapy.downloadermiddlewares.offsite.OffsiteMiddleware",
    "scrapy.downloadermiddlewares.httpauth.HttpAuthMiddleware"})
"""Scrapy middlewares that are used only for spiders written in Python by the user.

These middlewares process the scrapy.Requests that a spider yields, or attributes of the spider. Built-in spiders yield no
scrapy.Requests and have no such attributes.
"""

_FOR_BUILT_IN = {"scrapy.spidermiddlewares.referer.RefererMiddleware": "pipeline.crawl.middlewares.cookies_and_headers.RefererOnRedirects"}
"""For built-in spiders: maps the name of a Scrapy middleware to the name of the class that replaces it.

The links of built-in spiders already have a Referer header.
"""

PRELOAD = (*_DOWNLOADER_MIDDLEWARES, *_SPIDER_MIDDLEWARES, "pipeline.crawl.scrapy.handler.SessionHandler",
           "scrapy.core.engine", "scrapy.core.scraper", "scrapy.core.downloader", "scrapy.statscollectors",
           "scrapy.logformatter", "scrapy.pipelines", "pipeline.crawl.extract",
           *(("pipeline.crawl.scrapy.fast_engine",) if is_tested(scrapy.__version__) else ()))
"""Modules and classes that a crawl loads by name. The forkserver imports them before forking, so that a run starts faster."""


def scrapy_settings(context: CrawlContext) -> ScrapySettings:
    """Return Scrapy's settings for a run.

    The settings that protect the run override those in a spider's custom_settings.
    """
    table, project = context.table, context.project
    built_in = table.is_built_in
    left_out = _FOR_PYTHON_SPIDERS if built_in else frozenset()
    replaced = _FOR_BUILT_IN if built_in else {}
    settings = ScrapySettings() if project is None else project.settings.copy()
    # A project's own values replace these, except for values that `adopted` has compared with the table in settings.toml.
    settings.setdict(_defaults_of(context), priority="project" if project is None else "command")
    if project is not None:
        settings.setdict({name: getattr(table, key) for name, key in ADOPTED.items() if key != "user_agent"}
                         | {"USER_AGENT": context.session.user_agent}, priority="cmdline")
    settings.setdict({
        "DOWNLOADER_MIDDLEWARES_BASE": {name: place for name, place in _DOWNLOADER_MIDDLEWARES.items() if name not in left_out} | (
            {} if built_in else _HTTP_CACHE) | ({} if project is None else _PROJECT_MIDDLEWARES),
        "SPIDER_MIDDLEWARES_BASE": {
            replaced.get(name, name): place for name, place in _SPIDER_MIDDLEWARES.items() if name not in left_out},
        "EXTENSIONS_BASE": ({} if built_in else _EXTENSIONS) | ({} if project is None else _PROJECT_EXTENSIONS) | ({"scrapy.extensions.throttle.AutoThrottle": 0} if table.throttle else {}),
        "AUTOTHROTTLE_ENABLED": table.throttle,
        "DOWNLOAD_HANDLERS_BASE": dict.fromkeys(("http", "https"), _handler_of(context)) | ({} if project is None else _PROJECT_HANDLERS),
        "SCHEDULER": _scheduler_of(context),
        "ITEM_PROCESSOR": "pipeline.crawl.item_pipelines.ItemProcessor",
        "TWISTED_REACTOR_ENABLED": project is not None and project.has_reactor,
        **protected_settings(table),
    }, priority="cmdline")
    return settings


def _defaults_of(context: CrawlContext) -> dict[str, Any]:
    """Return the values that the settings of a spider may replace."""
    table = context.table
    return {
        "CONCURRENT_ITEMS": 1,  # Scrapy starts this many tasks for each response; the tasks have no work, because PageCollector passes no items on
        # Members on several nodes have 16 requests in flight each, since only the requests to one host are limited together.
        "CONCURRENT_REQUESTS": max(16 // (1 if context.membership is not None else table.first_processes), table.concurrency),
        "CONCURRENT_REQUESTS_PER_DOMAIN": table.concurrency,
        "DOWNLOAD_DELAY": table.delay,
        "DOWNLOAD_DELAY_JITTER": 0,
        "DEPTH_LIMIT": table.max_depth,
        "RETRY_TIMES": table.retries,
        "RETRY_EXCEPTIONS": _RETRIED,
        "RETRY_GIVE_UP_LOG_LEVEL": "INFO",
        "WARN_ON_GENERATOR_RETURN_VALUE": False,
        "USER_AGENT": context.session.user_agent,
        "STATS_DUMP": context.project is not None,
        "AUTOTHROTTLE_START_DELAY": max(table.delay, 1.0),
        "AUTOTHROTTLE_TARGET_CONCURRENCY": float(table.concurrency),
    }


def _scheduler_of(context: CrawlContext) -> str:
    if context.membership is not None:
        return "pipeline.crawl.processes.member_scheduler.MemberScheduler"
    return ("pipeline.crawl.processes.follower.FollowerScheduler" if context.is_follower
            else "pipeline.crawl.frontier.scheduler.FrontierScheduler")


def _handler_of(context: CrawlContext) -> str:
    return ("pipeline.crawl.scrapy.render_handler.RenderHandler" if context.render_rules.may_render
            else "pipeline.crawl.scrapy.handler.SessionHandler")


def make_crawler(context: CrawlContext, spidercls: type[Spider]) -> Crawler:
    """Return a Scrapy crawler for a run. Scrapy components get the run's context by calling context_of(crawler)."""
    crawler = crawler_class(fast=context.fast_engine)(_named(spidercls, context.run.spider, context), scrapy_settings(context))
    crawler.pipeline = context  # type: ignore[attr-defined]
    if not isinstance(crawler.signals, FrontierSignals):
        crawler.signals = FrontierSignals(crawler)
    if not context.table.is_built_in:
        crawler.settings.set("ADDONS", {**crawler.settings["ADDONS"], ADD_ON: _LAST}, priority="cmdline")
        context.observers.append(CrawlWatch(crawler, context))
        for line in findings(context.table, spidercls, project_settings(context.project, spidercls)):
            context.note_once(line)
    return crawler


async def crawl(context: CrawlContext, spidercls: type[Spider], *, stop: asyncio.Event,
                followers: FollowerSockets | None = None) -> Ending:
    """Crawl until the frontier is empty, a limit is reached or `stop` is set. Return how the crawl ended.

    followers: the sockets to the run's other processes, which fetch some of the pages; None if this process fetches all pages.
    """
    context.stopping = stop.is_set
    context.keep_unseen = bool(getattr(spidercls, "keep_unseen", False))
    scaling = await _open_followers(context, followers) if followers is not None and followers.sockets else None
    if context.table.is_built_in and spidercls.start is Spider.start:
        context.first = tuple(_first(context, index) for index in range(len(context.starts)))
    crawler = make_crawler(context, spidercls)

    def start_failed(failure: Failure, response: Any) -> None:
        if response is None:  # PageCollector handles the failures of callbacks
            context.failures.add(f"start() of the spider failed: {described(failure.value or RuntimeError(), spidercls)}", "SpiderError", transient=False)

    crawler.signals.connect(start_failed, signal=signals.spider_error)
    stopper = asyncio.create_task(_stop_when(stop, crawler, context))
    try:
        await crawler.crawl_async(**_arguments(context))
    finally:
        stopper.cancel()
        if scaling is not None:
            scaling.cancel()
        if context.followers is not None:
            await context.followers.close()
        await _finish(crawler, context)
        context.session.save()
    return verdict(context, stopped=stop.is_set())


def _arguments(context: CrawlContext) -> dict[str, Any]:
    """Return the arguments of the spider. A project's spider gets numbers and truth values as text, as from `scrapy crawl -a`."""
    table = context.table
    if table.is_built_in or context.project is None:
        return {} if table.is_built_in else table.args
    return {name: str(value).lower() if isinstance(value, bool) else str(value) if isinstance(value, (int, float)) else value
            for name, value in table.args.items()}


async def crawl_as_member(context: CrawlContext, spidercls: type[Spider]) -> None:
    """Fetch and commit pages of a run that another process leads, until the run ends or `context.membership` is closing."""
    crawler = make_crawler(context, spidercls)
    try:
        await crawler.crawl_async()
    finally:
        await _finish(crawler, context)


async def _finish(crawler: Crawler, context: CrawlContext) -> None:
    """Commit all waiting pages, and end the membership of this process, if it has one."""
    engine = engine_control.opened_engine(crawler)
    if engine is not None and isinstance(engine.scheduler, FrontierScheduler):
        await engine.scheduler.finish()
    else:
        await context.close_committer()
    if context.membership is not None:
        await context.membership.close()


async def _open_followers(context: CrawlContext, followers: FollowerSockets) -> asyncio.Task[None] | None:
    """Connect to the run's followers. If they are started later, return the task that adds them, otherwise None."""
    if followers.request is None:
        context.followers = group = FollowerGroup(context, followers.concurrency)
        for each in followers.sockets:
            await group.add(each)
        return None
    scaling = Scaling(context, followers.sockets, followers.request)
    context.followers = scaling.group
    return asyncio.create_task(scaling.run())


async def _stop_when(stop: asyncio.Event, crawler: Crawler, context: CrawlContext) -> None:
    """Stop the crawl when `stop` is set."""
    await stop.wait()
    if context.membership is not None:
        context.membership.end_soon()
    await engine_control.stop(crawler)


def _named(spidercls: type[Spider], name: str, context: CrawlContext) -> type[Spider]:
    """Return a subclass with the spider's name and start requests from the settings.

    A start() that the spider defines itself is kept. The spider of a project also keeps its name, which its settings and code may use.
    """
    attributes: dict[str, Any] = {"name": name if context.project is None else spidercls.name, "custom_settings": spidercls.custom_settings}
    bases: tuple[type, ...] = (spidercls,)
    if context.is_follower or context.first:
        attributes["start"] = _no_start
    elif legacy.is_legacy(spidercls):
        attributes["start"], bases = legacy.start, (spidercls, legacy.StartRequests)
    elif context.starts and spidercls.start is Spider.start:
        async def start(self: Spider) -> AsyncIterator[scrapy.Request]:
            for index, declared in enumerate(context.starts):
                yield _start_request(context, index, declared)
        attributes["start"] = start
    return type(spidercls.__name__, bases, attributes | {"__module__": spidercls.__module__})


async def _no_start(spider: Spider) -> AsyncIterator[scrapy.Request]:
    """Yield nothing. This replaces start() of a spider whose start requests are put into the frontier directly."""
    return
    yield


def _start_request(context: CrawlContext, index: int, start: PreparedStart) -> scrapy.Request:
    """Return a start request as it is stored in the frontier: without body, headers and secrets.

    The middleware FillStartRequest adds the body, headers and secrets before the request is sent.
    """
    return scrapy.Request(_start_url(context, index), meta={"is_start_request": True} | _start_meta(context, index), dont_filter=True)


def _first(context: CrawlContext, index: int) -> Request:
    """Return the start request with this index as a request of the frontier."""
    return Request(_start_url(context, index), meta={FROM_START: True} | _start_meta(context, index))


def _start_url(context: CrawlContext, index: int) -> str:
    return context.render_rules.address(context.starts[index].url, start=index)


def _start_meta(context: CrawlContext, index: int) -> dict[str, Json]:
    """Return a `meta` dict with the index of the start request in the settings; {} if the request is only a URL."""
    start = context.starts[index]
    table = context.table.start[index]
    plain = start == PreparedStart("GET", start.url) and not table.encoding and table.render is None
    return {} if plain else {START: index}
