"""The base class of the built-in spiders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import scrapy
from scrapy.crawler import Crawler

from pipeline.crawl.context import context_of
from pipeline.crawl.extract import Document
from pipeline.settings import SelectorTable, SpiderTable


class TriedRule(NamedTuple):
    """A rule that `pipeline try` shows.

    name: the rule's key in [spiders.NAME]. values: a function that returns the rule's matches or raises RuleFailedError.
    """

    name: str
    rule: SelectorTable | str
    values: Callable[[], Sequence[Any]]


class BuiltInSpider(scrapy.Spider):
    """Base class of the spiders in `pipeline.registry.BUILT_IN_SPIDERS`.

    `parse` yields one `Found` with all output of a page, and never a scrapy.Request or a single item. The class attribute `key`
    names the key fields of the spider's items; [spiders.NAME.items] can override `key`.
    """

    does: ClassVar[str]
    """What the spider does, for the table in docs/spiders.md."""
    item: ClassVar[str]
    """What one item is, for the table in docs/spiders.md."""

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Self:
        return super().from_crawler(crawler, *args, **cls.arguments(context_of(crawler).table), **kwargs)

    @classmethod
    def arguments(cls, table: SpiderTable) -> dict[str, Any]:
        """Return the keyword arguments for the spider's constructor, from the settings table [spiders.NAME]."""
        return {}

    @classmethod
    def uses_item_rules(cls, table: SpiderTable) -> bool:
        """Return whether the spider applies the rules `follow`, `items`, `pages` and `download`.

        If the spider applies these rules, `pipeline try` shows what they match.
        """
        return False

    @classmethod
    def own_rules(cls, table: SpiderTable, document: Document) -> Iterable[TriedRule]:
        """Return this spider's own rules, so that `pipeline try` can show what each of these rules matches."""
        return ()
