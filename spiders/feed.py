"""Reads feeds: RSS 0.9 to 2.0, Atom (RFC 4287) and JSON Feed 1.1; one item an entry."""

from __future__ import annotations

import calendar
import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Self

import feedparser  # type: ignore[import-untyped]
import scrapy
from scrapy.crawler import Crawler
from scrapy.http import Response, TextResponse

from pipeline.crawl.collect import Found
from pipeline.crawl.context import context_of
from pipeline.crawl.text import page_text
from pipeline.errors import SpiderError
from pipeline.model import Download, Json
from pipeline.settings import SpiderTable
from pipeline.urls import absolute

_MOMENTS = ("published", "updated", "created")


@dataclass
class Entry:
    """An entry as an item, and the files it encloses."""

    item: dict[str, Json]
    files: list[str] = field(default_factory=list)


class FeedSpider(scrapy.Spider):
    """Items have id, url, title, author, published, summary, tags and feed; summary is text.

    With `args = { files = true }` enclosures are downloaded. An entry leaves its feed when newer ones come, so
    entries are never gone.
    """

    name = "feed"
    key = "id"
    keep_unseen = True

    def __init__(self, *, files: bool, encoding: str | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._files = files
        self._encoding = encoding

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Self:
        return super().from_crawler(crawler, *args, **cls.arguments(context_of(crawler).table), **kwargs)

    @classmethod
    def arguments(cls, table: SpiderTable) -> dict[str, Any]:
        """Its own, from its settings."""
        return {"files": bool(table.args.get("files")), "encoding": table.encoding}

    def parse(self, response: Response, **kwargs: Any) -> Iterator[Found]:
        body, content_type = response.body, (response.headers.get("Content-Type") or b"").decode("latin-1")
        if self._encoding and isinstance(response, TextResponse):
            body, content_type = response.text.encode("utf-8", "replace"), "application/xml; charset=utf-8"
        entries = read_feed(body, response.url, content_type)
        yield Found(items=[entry.item for entry in entries], downloads=[
            Download(url, item_key=entry.item["id"], referer=response.url)
            for entry in entries for url in entry.files if self._files])


def read_feed(body: bytes, url: str, content_type: str = "") -> list[Entry]:
    """The entries of a feed, in its order. Raises SpiderError when it is none."""
    if body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return _read_json_feed(body, url)
    # A stream, never the bytes: feedparser opens files and URLs that look like names.
    found = feedparser.parse(io.BytesIO(body), response_headers={"content-type": content_type, "content-location": url})
    if not found.get("version") and not found.get("entries"):
        raise SpiderError("is no feed that can be read", where=url, fix="give the address of an RSS, Atom or JSON feed")
    return _told_apart([_entry(entry, url) for entry in found.entries])


def _told_apart(entries: list[Entry]) -> list[Entry]:
    """Entries without an id of their own that share a link, such as the notes of one page, by their titles, too."""
    links = Counter(entry.item["id"] for entry in entries)
    for entry in entries:
        item = entry.item
        if links[item["id"]] > 1 and item["id"] == item["url"]:
            item["id"] += f"#{sha256(item['title'].encode('utf-8', 'replace')).hexdigest()[:16]}"
    return entries


def _entry(entry: Any, feed: str) -> Entry:
    contents = entry.get("content") or []
    html = entry.get("summary") or (contents[0].get("value") if contents else "") or ""
    link = absolute(str(entry.get("link") or ""), feed)
    item = _item(entry.get("id"), link, title=entry.get("title"), author=entry.get("author"), published=_moment(entry),
                 html=html, tags=[tag.get("term") for tag in entry.get("tags") or []], feed=feed)
    files = [absolute(str(enclosure.get("href") or ""), feed) for enclosure in entry.get("enclosures") or []]
    return Entry(item, [file for file in files if file])


def _item(own_id: Any, link: str, *, title: Any, author: Any, published: Json, html: str, tags: list[Any],
          feed: str) -> dict[str, Json]:
    said = {"url": link or None, "title": page_text(str(title or "")).replace("\n", " "), "author": str(author or ""),
            "published": published, "summary": page_text(html), "tags": [str(tag) for tag in tags if tag], "feed": feed}
    own = str(own_id or "").strip() or link or sha256(json.dumps([said["title"], said["summary"]]).encode()).hexdigest()
    return {"id": own, **said}


def _moment(entry: Any) -> Json:
    """When it appeared, in UTC; as it is written where that is no date."""
    for name in _MOMENTS:
        parsed = entry.get(f"{name}_parsed")
        if parsed:
            try:
                return datetime.fromtimestamp(calendar.timegm(parsed), UTC).isoformat()
            except (ValueError, OverflowError, OSError):
                break
    return next((str(entry[name]) for name in _MOMENTS if entry.get(name)), None)


def _read_json_feed(body: bytes, url: str) -> list[Entry]:
    try:
        found = json.loads(body.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError) as error:
        raise SpiderError("is no feed that can be read: broken JSON", where=url) from error
    if not isinstance(found, dict) or "jsonfeed.org" not in str(found.get("version")):
        raise SpiderError("is JSON, but no JSON Feed", where=url, fix="read it with spider = \"crawl\" and jmes rules")
    entries = found.get("items")
    return [_json_entry(entry, url) for entry in (entries if isinstance(entries, list) else []) if isinstance(entry, dict)]


def _json_entry(entry: dict[str, Any], feed: str) -> Entry:
    authors = entry.get("authors") if isinstance(entry.get("authors"), list) else [entry.get("author")]
    names = [str(author["name"]) for author in authors or [] if isinstance(author, dict) and author.get("name")]
    html = str(entry.get("summary") or entry.get("content_html") or entry.get("content_text") or "")
    tags = entry.get("tags")
    item = _item(entry.get("id"), absolute(str(entry.get("url") or entry.get("external_url") or ""), feed),
                 title=entry.get("title"), author=", ".join(names), html=html, feed=feed,
                 published=entry.get("date_published") or entry.get("date_modified"),
                 tags=tags if isinstance(tags, list) else [])
    attachments = entry.get("attachments")
    files = [absolute(str(file.get("url") or ""), feed) for file in (attachments if isinstance(attachments, list) else [])
             if isinstance(file, dict)]
    return Entry(item, [file for file in files if file])
