"""Run the item pipelines of a spider, and commit the items that belong to no page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from itemadapter import ItemAdapter
from scrapy.exceptions import DropItem
from scrapy.pipelines import ItemPipelineManager

from pipeline.crawl.context import CrawlContext, context_of
from pipeline.crawl.item_data import RejectedItemError, as_json, item_key, key_fields, rejected
from pipeline.crawl.spider_import import described
from pipeline.model import Item, Page, Reject
from pipeline.store.crawl.rule_counts import PIPELINE_FAILED

DROPPED = "dropped by an item pipeline of the spider"


class ItemProcessor(ItemPipelineManager):
    """Runs the spider's item pipelines, and commits the items that belong to no page.

    Items that start() or an errback yields belong to no page.
    """

    async def run_pipelines(self, item: Any) -> Any:
        """Pass an item through the spider's item pipelines and return the result.

        If it is None, since many pipelines only write items and return nothing, return the given item. Raise DropItem if a pipeline
        drops the item.
        """
        result = await super().process_item_async(item)
        if result is not None:
            return result
        self._context.note("an item pipeline of the spider returns nothing, so the items are used as they were given to the "
                           "pipelines; add `return item` to its process_item()")
        return item

    async def process_item_async(self, item: Any) -> Any:
        """Run the pipelines, and commit the item. Scrapy's scraper, which calls this method, sends the signals about the item."""
        try:
            result = await self.run_pipelines(item)
        except DropItem as reason:
            await self._commit(self.rejected(item, f"{DROPPED}: {reason}"))
            raise
        except Exception as error:
            await self._commit(self.rejected(item, self.failure(error)))
            raise
        data = ItemAdapter(result).asdict()
        try:
            plain = as_json(data)
            await self._commit(Item(item_key(plain, self._key), plain))
        except RejectedItemError as reason:
            await self._commit(self.rejected(result, str(reason)))
        return result

    def failure(self, error: Exception) -> str:
        """Return why an item is rejected for which a pipeline has raised this exception."""
        assert self.crawler is not None
        return f"{PIPELINE_FAILED}: {described(error, self.crawler.spidercls)}"

    def rejected(self, item: Any, reason: str) -> Reject:
        return rejected(ItemAdapter(item).asdict(), self._key, reason)

    async def _commit(self, result: Item | Reject) -> None:
        items, rejects = ((result,), ()) if isinstance(result, Item) else ((), (result,))
        await self._context.committer.commit(Page(url="", status=0, fetched_at=datetime.now(UTC), items=items, rejects=rejects))

    @property
    def _context(self) -> CrawlContext:
        assert self.crawler is not None
        return context_of(self.crawler)

    @property
    def _key(self) -> tuple[str, ...]:
        assert self.crawler is not None
        return key_fields(self.crawler)
