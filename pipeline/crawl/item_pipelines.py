"""Run the item pipelines of a spider, and commit the items that belong to no page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from itemadapter import ItemAdapter
from scrapy.pipelines import ItemPipelineManager

from pipeline.crawl.context import context_of
from pipeline.crawl.item_data import as_json, item_key, key_fields
from pipeline.model import Item, Page


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
        assert self.crawler is not None
        context_of(self.crawler).note("an item pipeline of the spider returns nothing, so the items are used as they were given to the "
                                      "pipelines; add `return item` to its process_item()")
        return item

    async def process_item_async(self, item: Any) -> Any:
        item = await self.run_pipelines(item)
        assert self.crawler is not None
        context = context_of(self.crawler)
        plain = as_json(ItemAdapter(item).asdict())
        key = item_key(plain, key_fields(self.crawler))
        await context.committer.commit(Page(url="", status=0, fetched_at=datetime.now(UTC), items=(Item(key, plain),)))
        return item
