"""The base class of built-in spiders: what a run, `pipeline try` and the documentation ask of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import scrapy
from scrapy.crawler import Crawler

from pipeline.crawl.context import context_of
from pipeline.crawl.extract import Document
from pipeline.settings import SelectorTable, SpiderTable


class TriedRule(NamedTuple):
    """A rule for `try` to show. name: its key in [spiders.NAME]. values: what it matches; may raise RuleFailedError."""

    name: str
    rule: SelectorTable | str
    values: Callable[[], Sequence[Any]]


class BuiltInSpider(scrapy.Spider):
    """Its `parse` yields `Found`, with everything that one page gave, and never scrapy.Requests or single items.

    It is registered in `pipeline.registry.BUILT_IN_SPIDERS` under its name. key: the field, or fields, by which items are told
    apart, where [spiders.NAME.items] does not say it.
    """

    does: ClassVar[str]
    """What it does, as docs/spiders.md says it."""
    item: ClassVar[str]
    """What one of its items is, likewise."""

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Self:
        return super().from_crawler(crawler, *args, **cls.arguments(context_of(crawler).table), **kwargs)

    @classmethod
    def arguments(cls, table: SpiderTable) -> dict[str, Any]:
        """Keyword arguments of the constructor, from [spiders.NAME]."""
        return {}

    @classmethod
    def uses_item_rules(cls, table: SpiderTable) -> bool:
        """Whether it applies `follow`, `items`, `pages` and `download` to a page; `try` then shows each of those rules."""
        return False

    @classmethod
    def own_rules(cls, table: SpiderTable, document: Document) -> Iterable[TriedRule]:
        """The rules that no other spider has, for `try` to show."""
        return ()
