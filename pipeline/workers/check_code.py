"""The part of `pipeline check` that executes users' code.

Import a spider's class, or render a digest's template.
"""

from __future__ import annotations

import inspect
import resource
from datetime import UTC, datetime

from scrapy import Spider
from scrapy.spiders import CrawlSpider, CSVFeedSpider, XMLFeedSpider

from pipeline.crawl.scrapy.project.legacy import is_legacy
from pipeline.crawl.scrapy.project.project import given_in, load_spider, project_settings
from pipeline.crawl.scrapy.project.settings.adoption import adopted
from pipeline.crawl.scrapy.project.settings.findings import check_components, component_findings, findings
from pipeline.crawl.spider_import import spider_class
from pipeline.errors import SpiderError
from pipeline.mail.render.sample import check_template
from pipeline.settings import Settings, SpiderTable

_OWN_CALLBACKS = (CrawlSpider, CSVFeedSpider, XMLFeedSpider)


def check_code(settings: Settings, kind: str, name: str) -> list[str]:
    """Raise the PipelineError that the code would cause. Return what else is to be known about the code, in sentences.

    kind: "spider" imports the class of the spider `name`; the name of a template renders this template of the digest `name`.
    """
    if kind == "spider":
        return _check_spider(settings, name)
    table = settings.digests[name]
    assert table.templates is not None
    check_template(settings.folder / table.templates, kind, table.language, settings.zone, now=datetime.now(UTC))
    return []


def _check_spider(settings: Settings, name: str) -> list[str]:
    table, project = settings.spiders[name], None
    resource.setrlimit(resource.RLIMIT_DATA, (table.memory_limit, table.memory_limit))
    if table.project is None:
        spidercls = spider_class(table.spider, settings.folder)
    else:
        project, spidercls, _ = load_spider(table.project, table.spider, settings.folder)
    scrapy_settings = project_settings(project, spidercls)
    check_components(scrapy_settings, project.folder if project is not None else settings.folder)
    if project is not None:
        table = adopted(table, given_in(scrapy_settings))
    _check_arguments(table, spidercls)
    _check_start(table, spidercls)
    return [*findings(table, spidercls, scrapy_settings), *component_findings(scrapy_settings)]


def _check_start(table: SpiderTable, spidercls: type[Spider]) -> None:
    """Raise SpiderError if a spider has no start requests, or no method for their responses.

    The spiders of _OWN_CALLBACKS pass responses to other methods than parse().
    """
    if spidercls.start is not Spider.start or is_legacy(spidercls):
        return
    if not table.start and not getattr(spidercls, "start_urls", ()):
        raise SpiderError("the spider has nothing to fetch", where=table.spider,
                          fix="set `start` in settings.toml, or define `start_urls` or `start()` in the class")
    if getattr(spidercls, "parse", None) is getattr(Spider, "parse", None) and not issubclass(spidercls, _OWN_CALLBACKS):
        raise SpiderError("the class has no method parse(), which Scrapy calls with each start page", where=table.spider,
                          fix="define parse(self, response)")


def _check_arguments(table: SpiderTable, spidercls: type[Spider]) -> None:
    """Raise SpiderError if the constructor of a class does not accept the settings' `args`."""
    if getattr(spidercls.from_crawler, "__func__", None) is not getattr(Spider.from_crawler, "__func__", None):
        return  # the class reads the arguments itself
    try:
        inspect.signature(spidercls).bind(**table.args)
    except TypeError as error:
        raise SpiderError(f"the constructor of the class does not accept `args`: {error}", where=table.spider,
                          fix="correct `args` in settings.toml, or the parameters of __init__") from error
