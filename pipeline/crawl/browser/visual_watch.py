"""Compare the picture of a watched page with the last reported one, and store it if it shows a change."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from pipeline.crawl.browser.screenshot import Picture, PictureRules
from pipeline.crawl.context import CrawlContext
from pipeline.crawl.frontier.page_archive import slug
from pipeline.crawl.interfaces import RENDERED
from pipeline.errors import StoreError
from pipeline.model import PICTURE, PICTURES, Json, PagePicture
from pipeline.pixel_difference import Difference, difference, opened
from pipeline.store import Store
from pipeline.store.crawl import items
from pipeline.store.crawl.compare import Comparison
from pipeline.text import shown_url

if TYPE_CHECKING:
    from scrapy.http import Response

_MAX_NOTES = 3
"""After so many pages without a picture, the run only says that there are more."""


@dataclass(frozen=True)
class _Known:
    """What was last reported of a page. fields: {} if the page is new."""

    fields: Mapping[str, Json]
    picture: PagePicture | None


class VisualWatch:
    """Adds the field with the picture to the items of a spider.

    The field changes only if the picture shows a change, or if the text of the page changes with it. The file is written before the
    page is committed; if the process is killed between the two, the file remains without a reference, and retention deletes it.
    """

    def __init__(self, context: CrawlContext, rules: PictureRules) -> None:
        self._context = context
        self._store: Store = context.store
        self._spider = context.run.spider
        self._rules = rules
        self._is_compared = rules.is_compared
        self._comparison = Comparison.of_spider(context.table)
        self._without = 0

    async def with_picture(self, data: dict[str, Json], picture: Picture | None) -> dict[str, Json]:
        """Return the fields of an item with the field of the picture.

        data: the other fields, with the URL of the page in `url`. picture: None if the page is not shown by the browser as a page.
        The comparison runs in a thread, because it may take a second. Raises StoreError.
        """
        url = str(data["url"])
        known = self._known(url)
        if picture is None or not picture.png or picture.problem:
            self._note_missing(url, picture.problem if picture is not None and picture.problem else "the page is no HTML page that is rendered")
            return data | ({PICTURE: known.fields[PICTURE]} if known.picture is not None else {})
        if picture.cut:
            self._context.note(f"{shown_url(url)} is higher than its picture: only the first {picture.height:,} pixels are compared")
        try:
            value = await asyncio.to_thread(self._value, data, picture, known)
        except OSError as error:
            raise StoreError(f"a picture could not be stored: {error.strerror}", where=str(self._store.data_dir),
                             fix="free some disk space, or remove `visual` from `watch`") from error
        return data | {PICTURE: value}

    def _known(self, url: str) -> _Known:
        fields = items.reported(self._store, self._spider, url) or {}
        return _Known(fields, PagePicture.of(fields.get(PICTURE), self._spider))

    def _value(self, data: dict[str, Json], picture: Picture, known: _Known) -> Json:
        """Return the value of the field: the reported one if there is no change to report."""
        before = known.picture
        key = f"{PICTURES}/{self._spider}/{sha256(picture.png).hexdigest()[:32]}-{slug(str(data['url'])).removesuffix('.html')}.png"
        has_new_text = not self._comparison.same({name: value for name, value in known.fields.items() if name != PICTURE}, data)
        if before is not None and (key == before.file or not (self._is_compared or has_new_text)) and self._touched(before.file):
            return known.fields[PICTURE]
        found = self._difference(before, picture) if before is not None and self._is_compared else None
        if before is not None and found is not None and not (found.pixels and (has_new_text or found.share >= self._rules.min_change)):
            self._touched(before.file)
            return known.fields[PICTURE]
        if not self._touched(key):
            self._store.files.write(key, picture.png)
        stored = PagePicture(key, picture.width, picture.height)
        if before is not None and found is not None:
            stored = PagePicture(key, picture.width, picture.height, before.file, found.share, found.regions)
        return stored.as_json()

    def _touched(self, key: str) -> bool:
        """Make a file count as new, so that retention spares it; return whether it exists."""
        try:
            self._store.files.touch(key)
        except FileNotFoundError:
            return False
        return True

    def _difference(self, before: PagePicture, after: Picture) -> Difference | None:
        """Return the difference from the last reported picture; None if that is not stored any more, so that the new one takes its place."""
        try:
            content = self._store.files.local(before.file).read_bytes()
            return difference(opened(content), opened(after.png), threshold=self._rules.threshold)
        except (FileNotFoundError, ValueError) as error:
            self._context.note(f"the last picture {before.file} cannot be read ({error}): the picture of now takes its place, without being compared")
            return None

    def _note_missing(self, url: str, reason: str) -> None:
        self._without += 1
        if self._without <= _MAX_NOTES:
            self._context.note(f"the picture of {shown_url(url)} was not compared: {reason}")
        elif self._without == _MAX_NOTES + 1:
            self._context.note("the pictures of further pages were not compared")


def picture_of(response: Response) -> Picture | None:
    """Return the picture of a rendered page; None if the response was not rendered."""
    found = getattr(response.meta.get(RENDERED), "picture", None)
    return found if isinstance(found, Picture) else None
