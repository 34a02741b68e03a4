"""The part of `pipeline check` that executes users' code: import a spider's class, or render a digest's template."""

from __future__ import annotations

import resource
from datetime import UTC, datetime

from scrapy import Spider

from pipeline.crawl.spider_import import spider_class
from pipeline.errors import SpiderError
from pipeline.mail.render.sample import check_template
from pipeline.settings import Settings


def check_code(settings: Settings, kind: str, name: str) -> None:
    """Raise the PipelineError that the code would cause.

    kind: "spider" imports the class of the spider `name`; the name of a template renders this template of the digest `name`.
    """
    if kind == "spider":
        _check_spider(settings, name)
        return
    table = settings.digests[name]
    assert table.templates is not None
    check_template(settings.folder / table.templates, kind, table.language, settings.zone, now=datetime.now(UTC))


def _check_spider(settings: Settings, name: str) -> None:
    table = settings.spiders[name]
    resource.setrlimit(resource.RLIMIT_DATA, (table.memory_limit, table.memory_limit))
    spidercls = spider_class(table.spider, settings.folder)
    if spidercls.start is not Spider.start:
        return
    if not table.start and not getattr(spidercls, "start_urls", ()):
        raise SpiderError("the spider has nothing to fetch", where=table.spider,
                          fix="set `start` in settings.toml, or define `start_urls` or `start()` in the class")
    if getattr(spidercls, "parse", None) is getattr(Spider, "parse", None):
        raise SpiderError("the class has no method parse(), which Scrapy calls with each start page", where=table.spider,
                          fix="define parse(self, response)")
