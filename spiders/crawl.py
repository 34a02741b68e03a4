"""The built-in spider `crawl`.

Follows links, extracts items and downloads files by the rules in the settings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, Self

from scrapy.crawler import Crawler
from scrapy.http import Response, TextResponse

from pipeline.crawl.built_in import BuiltInSpider
from pipeline.crawl.collector import Found
from pipeline.crawl.context import context_of
from pipeline.crawl.extract import Document, ExtractedItems, ItemRules, LinkRules, RejectedItem, header_map
from pipeline.crawl.extract.page_text import is_binary
from pipeline.crawl.extract.pagination import Pagination
from pipeline.crawl.interfaces import IS_RENDERED, VARIANT
from pipeline.hosts import place_of
from pipeline.model import Download, Json, Request
from pipeline.session.responses.encodings import decoded, page_encoding
from pipeline.settings import SpiderTable
from pipeline.urls import bare

_ITEM = "pipeline_item"
"""The meta key of a request for a details page; the value is the item from the listing page."""
_GONE = (404, 410)
_SNIFFED_BYTES = 8192
_BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")
_CONTROL_BYTES = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_HANDLED_STATUSES = [status for status in range(400, 500) if status not in (408, 425, 429)]
"""Permanent error statuses of details pages that the spider handles itself.

If the spider did not handle these responses, the item of a failed details page would be reported as gone.
"""


class CrawlSpider(BuiltInSpider):
    """Follows links on the hosts of the start URLs, and yields the results of each page as one `Found`."""

    name = "crawl"
    does = "follows links and extracts items as the settings say"
    item = "what `items` describes"

    def __init__(self, table: SpiderTable, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._follow = LinkRules.to_follow(table)
        self._download = LinkRules(table.download, for_files=True)
        items = table.items
        details = items.details if items is not None else None
        self._items = ItemRules(items.fields, items.each, details.link if details else None) if items is not None else None
        self._details = ItemRules(details.fields, name="items.details") if details is not None else None
        self._pages = Pagination(table.pages) if table.pages is not None else None
        self._max_depth = table.max_depth

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Self:
        spider = super().from_crawler(crawler, *args, **kwargs)
        spider._follow.hosts = context_of(crawler).hosts
        return spider

    @classmethod
    def arguments(cls, table: SpiderTable) -> dict[str, Any]:
        return {"table": table}

    @classmethod
    def uses_item_rules(cls, table: SpiderTable) -> bool:
        return True

    def parse(self, response: Response, **kwargs: Any) -> Iterator[Found]:
        document = document_of(response)
        if document is None:
            self.logger.info("%s is not text: nothing is extracted from the page", response.url)
            yield Found()
        elif _ITEM in response.meta:
            yield self._with_details(response.meta[_ITEM], document)
        else:
            yield self._listing(response, document)

    def _listing(self, response: Response, document: Document) -> Found:
        extracted = self._items.extract(document) if self._items is not None else ExtractedItems()
        found = Found(items=extracted.items, rejected=extracted.rejected,
                      counts=self._items.counts(extracted) if self._items is not None else {})
        depth = response.meta.get("depth", 0) + 1
        if depth == 1 and self._follow.hosts is not None and response.url not in self._follow.hosts:
            found.redirected_host = place_of(response.url)  # the start URL redirected to another host, often www.
            self._follow.hosts.add(found.redirected_host)
        referer = (("Referer", bare(response.url)),)
        following = None
        if self._pages is not None and self._pages.applies(response):
            following = self._pages.after(response, document, extracted.items)
            found.counts[self._pages.name] = (following is not None, 0)
        if self._details is not None:
            listed = list(zip(extracted.items, extracted.links, strict=True))
            found.items = [item for item, link in listed if not link]
            found.links = [_details_request(item, link, headers=referer, depth=depth) for item, link in listed if link]
        if not self._max_depth or depth <= self._max_depth:
            found.links += [Request(url, depth=depth, headers=referer) for url in self._follow.links(document)]
            found.counts |= self._follow.counts
        if following is not None:
            found.links.append(following)
        found.downloads = self._files(document)
        found.counts |= self._download.counts
        found.offsite = self._follow.left_out()
        return found

    def _files(self, document: Document) -> list[Download]:
        return [Download(url, referer=bare(document.url)) for url in self._download.links(document)]

    def _with_details(self, listed: dict[str, Json], document: Document) -> Found:
        """Return the item from a listing page with the fields from its details page added.

        If the details page no longer exists, return the item as it is on the listing page. If the page has another error, reject
        the item.
        """
        if self._details is None or document.status in _GONE:
            return Found(items=[listed])
        if document.status >= 400:
            return Found(rejected=[RejectedItem(listed, f"the details page responded with HTTP {document.status}")])
        extracted = self._details.extract_onto(listed, document)
        downloads = self._files(document)
        return Found(items=extracted.items, rejected=extracted.rejected, downloads=downloads,
                     counts=self._details.counts(extracted) | self._download.counts)


def _details_request(item: dict[str, Json], url: str, *, headers: tuple[tuple[str, str], ...], depth: int) -> Request:
    """Return the request for the details page of an item.

    Two items may share a details page, so requests for the same URL but different items are not duplicates. If an item is on two
    listing pages, its details page is requested only once.
    """
    said = sha256(json.dumps(item, sort_keys=True).encode()).hexdigest()[:16]
    return Request(url, depth=depth, headers=headers,
                   meta={_ITEM: item, VARIANT: f"item {said}", "handle_httpstatus_list": _HANDLED_STATUSES})


def document_of(response: Response) -> Document | None:
    """Return a response as a document for rules; None if the body is not text.

    The decision depends on the content of the body and not on its Content-Type.
    """
    def headers() -> dict[str, str]:
        return header_map(response.headers)
    if isinstance(response, TextResponse):
        return Document(url=response.url, status=response.status, text=lambda: response.text, headers=headers,
                        encoding=response.encoding, body=response.body, is_rendered=IS_RENDERED in response.flags)
    found = _sniffed(response)
    return None if found is None else Document(url=response.url, status=response.status, text=found[1], headers=headers,
                                               encoding=found[0])


def _sniffed(response: Response) -> tuple[str, str] | None:
    """Return the encoding and the text of a response whose Content-Type is not a text type.

    An example is a YAML file with the type application/octet-stream. Return None for binary data.
    """
    body = response.body
    if body[:2] not in _BYTE_ORDER_MARKS and _CONTROL_BYTES.search(body[:_SNIFFED_BYTES]):
        return None
    encoding = page_encoding(body, (response.headers.get("Content-Type") or b"").decode("latin-1"))
    text = decoded(body, encoding)
    return None if is_binary(text) else (encoding, text)
