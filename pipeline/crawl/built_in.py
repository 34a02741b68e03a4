"""The base class of built-in spiders, for runs, for `pipeline try` and for the documentation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import scrapy
from scrapy.crawler import Crawler

from pipeline.crawl.context import context_of
from pipeline.crawl.extract import Document
from pipeline.settings import SelectorTable, SpiderTable


class TriedRule(NamedTuple):
    """A rule that `try` shows. name: its key in [spiders.NAME]; values: returns its matches, and may raise RuleFailedError."""

    name: str
    rule: SelectorTable | str
    values: Callable[[], Sequence[Any]]


class BuiltInSpider(scrapy.Spider):
    """Base of the spiders in `pipeline.registry.BUILT_IN_SPIDERS`.

    `parse` yields one `Found` with all output of a page, and never scrapy.Requests or single items. key: the key fields of its
    items, unless [spiders.NAME.items] sets them.
    """

    does: ClassVar[str]
    """What the spider does, for the table in docs/spiders.md."""
    item: ClassVar[str]
    """What one item is, for the same table."""

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Self:
        return super().from_crawler(crawler, *args, **cls.arguments(context_of(crawler).table), **kwargs)

    @classmethod
    def arguments(cls, table: SpiderTable) -> dict[str, Any]:
        """The keyword arguments of the constructor, from [spiders.NAME]."""
        return {}

    @classmethod
    def uses_item_rules(cls, table: SpiderTable) -> bool:
        """Whether the spider applies `follow`, `items`, `pages` and `download` to a page, so that `try` shows those rules."""
        return False

    @classmethod
    def own_rules(cls, table: SpiderTable, document: Document) -> Iterable[TriedRule]:
        """The rules that only this spider has, for `try` to show."""
        return ()
