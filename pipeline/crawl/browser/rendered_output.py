"""What a browser adds to the output of a page.

Pictures, PDF files, and the downloads that the page has started.
"""

from __future__ import annotations

from collections.abc import Iterator

from scrapy.http import Response

from pipeline.crawl.browser.screenshot import Picture, PictureRules
from pipeline.crawl.browser.visual_watch import VisualWatch
from pipeline.crawl.context import CrawlContext
from pipeline.crawl.frontier.page_archive import slug
from pipeline.crawl.interfaces import RENDERED
from pipeline.model import Download, Json
from pipeline.store.files import page_files
from pipeline.text import shown_url
from pipeline.urls import bare, route_of


class RenderedOutput:
    """The part of the output of a run's pages that comes from the browser. Pages that were not rendered have none."""

    def __init__(self, context: CrawlContext) -> None:
        self._context = context
        table = context.table
        rules = PictureRules.of(table, table.render) if table.spider == "watch" and table.render is not None else None
        self._visual = VisualWatch(context, rules) if rules is not None else None
        if rules is not None and rules.is_compared and table.watch.part is not None and not table.watch.part_is_element:
            context.note("`watch.visual` compares pictures of the whole page, because `watch.part` selects no element")
        self._page_files = page_files.PageFiles(context.store.data_dir, context.run.spider)
        self._page_files.remove_old()

    @property
    def compares_pictures(self) -> bool:
        return self._visual is not None

    async def with_picture(self, data: dict[str, Json], picture: Picture | None) -> dict[str, Json]:
        """Return the fields of an item, with the comparison of its page's picture if the spider compares pictures."""
        return data if self._visual is None else await self._visual.with_picture(data, picture)

    def counts(self, url: str) -> dict[str, tuple[int, int]]:
        """Return which patterns of `render.only` match a page, as in `Page.counts`."""
        rules = self._context.render_rules
        return rules.counts(url) if rules.may_render else {}

    def downloads(self, response: Response) -> Iterator[Download]:
        """Yield the downloads that a rendered page has started, and the files that the browser has made of the page."""
        rendered = response.meta.get(RENDERED) if self._context.render_rules.may_render else None
        if rendered is None:
            return
        for url in rendered.downloads:
            yield Download(url, referer=bare(rendered.url))
        if self._visual is None and rendered.picture is not None:
            if rendered.picture.png:
                yield self._page_file(rendered.url, "png", rendered.picture.png)
            if rendered.picture.problem:
                self._context.note(f"the picture of {shown_url(rendered.url)} was not taken: {rendered.picture.problem}")
        if rendered.pdf is not None:
            yield self._page_file(rendered.url, "pdf", rendered.pdf)

    def _page_file(self, url: str, kind: page_files.Kind, data: bytes) -> Download:
        """Return the download of a file that the browser has made of a page."""
        target = page_files.url_of(bare(url) + route_of(url), kind)
        self._page_files.put(target, data)
        return Download(target, name=f"{slug(url).removesuffix('.html').removesuffix('.htm')}.{kind}", referer=bare(url) + route_of(url))
