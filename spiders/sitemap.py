"""The built-in spider `sitemap`: reads sitemaps and sitemap indexes; each URL is an item or a page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lxml import etree  # type: ignore[import-untyped]
from scrapy.http import Response

from pipeline.content_coding import CutShortError, DecodingError, OversizeError, decode
from pipeline.crawl.collector import Found
from pipeline.crawl.extract.links import UrlFilter
from pipeline.crawl.extract.xml_repair import marked_encoding, with_bare_ampersands_escaped
from pipeline.errors import SpiderError
from pipeline.model import Json, Request
from pipeline.settings import SpiderTable
from pipeline.text import size_for_people
from pipeline.urls import absolute
from spiders.crawl import CrawlSpider

MAX_URLS = 100_000
"""The maximum number of URLs that are read from one sitemap. The sitemap protocol allows 50,000."""
MAX_NESTING = 3
"""The maximum nesting depth of sitemap indexes. The sitemap protocol does not allow an index in an index."""

_SITEMAP = "pipeline_sitemap"
_MISSING = [404]
_GZIP = b"\x1f\x8b"
_XML_ENCODING = re.compile(r"^(\s*<\?xml[^>]*?)\sencoding\s*=\s*[\"'][^\"'>]*[\"']")
_END = re.compile(rb"(</(\w+:)?(urlset|sitemapindex)\s*>|<(\w+:)?(urlset|sitemapindex)[^<>]*/>)\s*(<!--.*?-->\s*)*$", re.DOTALL)


@dataclass
class Sitemap:
    """The content of one sitemap.

    pages: an item for each page, with url, lastmod, changefreq and priority; sitemaps: the URLs of further sitemaps.
    """

    pages: list[dict[str, Json]] = field(default_factory=list)
    sitemaps: list[str] = field(default_factory=list)


class SitemapSpider(CrawlSpider):
    """Reads sitemaps. Each URL is an item; with `items` in the settings, the page of each URL is fetched.

    A fetched page is processed in the same way as by the spider `crawl`. `allow` and `deny` filter the pages; `deny` also filters
    the sitemaps that a sitemap index lists. A `start` URL may be a robots.txt, whose Sitemap lines are read.
    """

    name = "sitemap"
    key = "url"
    does = "reads sitemaps, indexes of them, gzip, plain lists; also a robots.txt's `Sitemap:` lines"
    item = "a URL: `url`, `lastmod`, `changefreq`, `priority`; with `items`, the pages themselves"

    def __init__(self, table: SpiderTable, **kwargs: Any) -> None:
        super().__init__(table, **kwargs)
        self._max_bytes = table.max_page_size
        self._fetches = table.items is not None
        self._allowed = UrlFilter(table.allow, table.deny)
        self._sitemap_allowed = UrlFilter((), table.deny)
        self._filters = bool(table.allow or table.deny)

    @classmethod
    def uses_item_rules(cls, table: SpiderTable) -> bool:
        return table.items is not None

    def parse(self, response: Response, **kwargs: Any) -> Iterator[Found]:
        nesting = response.meta.get(_SITEMAP, None if response.meta.get("depth") else 0)
        if nesting is None:
            yield from super().parse(response)
            return
        if response.status in _MISSING:  # the spider gets such a response only for a sitemap that an index or a robots.txt lists
            raise SpiderError("an index or a robots.txt lists this sitemap, but the server responded with 404; no item counts as gone, because the sitemap's pages are unknown", where=response.url,
                              fix="if the sitemap is gone for good, exclude it with `deny`")
        found = read_sitemap(decompressed(response.body, self._max_bytes, response.url), response.url)
        links = []
        if found.sitemaps and nesting >= MAX_NESTING:
            raise SpiderError(f"sitemap indexes are nested more than {MAX_NESTING} levels deep", where=response.url)
        links += [Request(url, depth=1, meta={_SITEMAP: nesting + 1, "handle_httpstatus_list": _MISSING})
                  for url in found.sitemaps if self._follow.is_here(url) and self._sitemap_allowed(url)]
        here = [page for page in found.pages if self._follow.is_here(page["url"])]
        pages = [page for page in here if self._allowed(page["url"])]
        counts = {"entries": (len(found.pages) + len(found.sitemaps), 0)}
        if self._filters and here:
            counts["allow"] = (len(pages), 0)
        if self._fetches:
            links += [Request(page["url"], depth=1) for page in pages]
        yield Found(items=[] if self._fetches else pages, links=links, offsite=self._follow.left_out(), counts=counts)


def decompressed(body: bytes, max_bytes: int, url: str) -> bytes:
    """Return the body, decompressed if it is gzip data.

    Raises SpiderError if the result has more than max_bytes bytes, or if the gzip data is invalid or truncated.
    """
    if not body.startswith(_GZIP):
        return body
    try:
        return decode(body, ("gzip",), max_bytes)
    except OversizeError as error:
        raise SpiderError(f"the decompressed sitemap is larger than {size_for_people(max_bytes)}", where=url,
                          fix="increase the `max_page_size` setting") from error
    except CutShortError as error:
        raise SpiderError("the gzip data of the sitemap is truncated", where=url) from error
    except DecodingError as error:
        raise SpiderError("the gzip data of the sitemap is invalid", where=url) from error


def read_sitemap(body: bytes, url: str) -> Sitemap:
    """Return the pages and further sitemaps in a sitemap. Raises SpiderError if the body is not a sitemap."""
    encoding = marked_encoding(body)
    if encoding is not None and encoding != "utf-8":
        body = _XML_ENCODING.sub(r"\1", body.decode(encoding, "replace"), count=1).encode()
    head = body.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not head.startswith(b"<"):
        return _read_lines(head.decode("utf-8", "replace"), url)
    if not _END.search(head[-1000:]):  # if a truncated sitemap were accepted, the URLs after the cut would be reported as gone
        raise SpiderError("the response is not a sitemap, or is truncated: it does not end with </urlset> or </sitemapindex>", where=url)
    found = Sitemap()
    # A sitemap is untrusted input: resolve no entities, access no network, build no huge trees.
    parser = etree.XMLParser(resolve_entities=False, no_network=True, recover=True, huge_tree=False)
    try:
        top = etree.fromstring(with_bare_ampersands_escaped(head), parser)
    except etree.XMLSyntaxError as error:
        raise SpiderError(f"the response is not a sitemap, because the XML is not valid: {error.msg}", where=url) from error
    if top is None or _tag(top) not in ("urlset", "sitemapindex"):
        raise SpiderError("the response is not a sitemap: its root element is neither urlset nor sitemapindex", where=url)
    for entry in top:
        said = {_tag(child): " ".join((child.text or "").split()) for child in entry}
        location = absolute(said["loc"], url) if said.get("loc") else ""
        if not location:
            continue
        if _tag(entry) == "sitemap":
            found.sitemaps.append(location)
        elif len(found.pages) < MAX_URLS:
            found.pages.append({"url": location, **{
                name: said.get(name) or None for name in ("lastmod", "changefreq", "priority")}})
    return found


def _read_lines(text: str, url: str) -> Sitemap:
    """Read a list of URLs, one per line, or the Sitemap lines of a robots.txt.

    The Sitemap lines of robots.txt are defined by sitemaps.org, not by RFC 9309.
    """
    found = Sitemap()
    for line in map(str.strip, text.splitlines()[:MAX_URLS]):
        name, colon, value = line.partition(":")
        if colon and name.strip().lower() == "sitemap":
            location = absolute(value, url)
            if location:
                found.sitemaps.append(location)
        elif line.lower().startswith(("http://", "https://")) and (location := absolute(line, url)):
            found.pages.append({"url": location, "lastmod": None, "changefreq": None, "priority": None})
    if not found.pages and not found.sitemaps:
        raise SpiderError("the response is not a sitemap: it is neither XML nor a list of URLs", where=url)
    return found


def _tag(element: Any) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
