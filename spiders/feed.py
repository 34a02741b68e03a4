"""The built-in spider `feed`: reads RSS 0.9 to 2.0, Atom and JSON Feed; each entry is an item."""

from __future__ import annotations

import calendar
import io
import json
import re
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Self

import feedparser  # type: ignore[import-untyped]
from scrapy.crawler import Crawler
from scrapy.http import Response, TextResponse

from pipeline.crawl.built_in import BuiltInSpider
from pipeline.crawl.collector import Found
from pipeline.crawl.context import CrawlContext, context_of
from pipeline.crawl.extract.page_text import page_text, plain_text
from pipeline.crawl.extract.xml_repair import marked_encoding, with_bare_ampersands_escaped
from pipeline.errors import SpiderError
from pipeline.model import Download, Json
from pipeline.session.responses.encodings import header_encoding, label_codec
from pipeline.settings import SpiderTable
from pipeline.text import shown_url
from pipeline.urls import absolute

_MOMENTS = ("published", "updated", "created")
_DECLARED = re.compile(rb"\s*<\?xml[^>]*?\sencoding\s*=\s*[\"']([\w.:-]+)")
_XML_ENCODING = re.compile(r"^(\s*<\?xml[^>]*?)\sencoding\s*=\s*[\"'][^\"'>]*[\"']")
_INVALID_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_ENTRY = re.compile(r"<((?:[\w.-]+:)?(?:item|entry))(?=[\s>])")
_ROOT_END = re.compile(r"</(?:[\w.-]+:)?(?:rss|feed|rdf)\s*>", re.IGNORECASE)
_SEARCHED_ENTRIES = 10_000
"""The maximum number of stored entries to search for the earlier version of an entry with a new id."""
_TAG = re.compile(r"<(?=/?([a-zA-Z][^\s/<>]*))")
_ELEMENTS = frozenset([
    "a", "abbr", "acronym", "address", "applet", "area", "article", "aside", "audio", "b", "base", "basefont", "bdi", "bdo",
    "bgsound", "big", "blink", "blockquote", "body", "br", "button", "canvas", "caption", "center", "cite", "code", "col",
    "colgroup", "data", "datalist", "dd", "del", "details", "dfn", "dialog", "dir", "div", "dl", "dt", "em", "embed",
    "fieldset", "figcaption", "figure", "font", "footer", "form", "frame", "frameset", "h1", "h2", "h3", "h4", "h5", "h6",
    "head", "header", "hgroup", "hr", "html", "i", "iframe", "image", "img", "input", "ins", "isindex", "kbd", "keygen",
    "label", "legend", "li", "link", "listing", "main", "map", "mark", "marquee", "math", "menu", "menuitem", "meta",
    "meter", "nav", "nobr", "noembed", "noframes", "noscript", "object", "ol", "optgroup", "option", "output", "p", "param",
    "picture", "plaintext", "pre", "progress", "q", "rb", "rp", "rt", "rtc", "ruby", "s", "samp", "script", "search",
    "section", "select", "slot", "small", "source", "spacer", "span", "strike", "strong", "style", "sub", "summary", "sup",
    "svg", "table", "tbody", "td", "template", "textarea", "tfoot", "th", "thead", "time", "title", "tr", "track", "tt",
    "u", "ul", "var", "video", "wbr", "xmp"])
_MAX_INVALID_SHARE = 0.5
"""A text counts as not UTF-8 if more than this share of its non-ASCII characters is invalid in UTF-8."""


@dataclass
class Entry:
    """An entry of a feed.

    item: the entry as an item; files: the URLs of the enclosures; link: the link as written in the feed.
    """

    item: dict[str, Json]
    files: list[str] = field(default_factory=list)
    link: str = ""


class FeedSpider(BuiltInSpider):
    """Reads feeds.

    An item has the fields id, url, title, author, published, summary (as text), tags and feed. `args = { files = true }`
    downloads enclosures. Some feeds change the ids of their entries at each fetch. Therefore, an entry with a new id gets the id
    of the stored entry with the same link and title, if the feed no longer contains this stored entry. With `args = { ids =
    "link" }`, ids are ignored and the links are used as ids. Entries are never reported as gone, since a feed drops old entries
    when it gets new ones.
    """

    name = "feed"
    key = "id"
    does = "reads RSS 0.9–2.0, Atom and JSON Feed"
    item = "an entry: `id`, `url`, `title`, `author`, `published`, `summary`, `tags`, `feed`"
    keep_unseen = True

    def __init__(self, *, files: bool, encoding: str | None, by_link: bool = False, context: CrawlContext | None = None,
                 **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._context = context
        self._by_link = by_link
        self._files = files
        self._encoding = encoding

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Self:
        return super().from_crawler(crawler, *args, context=context_of(crawler), **kwargs)

    @classmethod
    def arguments(cls, table: SpiderTable) -> dict[str, Any]:
        return {"files": bool(table.args.get("files")), "encoding": table.encoding, "by_link": table.args.get("ids") == "link"}

    def parse(self, response: Response, **kwargs: Any) -> Iterator[Found]:
        body, content_type = response.body, (response.headers.get("Content-Type") or b"").decode("latin-1")
        if self._encoding and isinstance(response, TextResponse):
            body, content_type = response.text.encode("utf-8", "replace"), "application/xml; charset=utf-8"
        problems: list[str] = []
        entries = read_feed(body, response.url, content_type, by_link=self._by_link, problems=problems)
        told = response.meta.get("redirect_urls", [response.url])[0]
        for entry in entries:
            entry.item["feed"] = told
        if self._context is not None:
            for problem in problems:
                self._context.note(f"{shown_url(told)} {problem}")
            self._keep_ids(entries, self._context, told)
        yield Found(items=[entry.item for entry in entries], downloads=[
            Download(url, item_key=entry.item["id"], referer=response.url)
            for entry in entries for url in dict.fromkeys(entry.files) if self._files], counts={"entries": (len(entries), 0)})

    def _keep_ids(self, entries: list[Entry], context: CrawlContext, feed: str) -> None:
        known = context.known_keys(str(entry.item["id"]) for entry in entries)
        if len(known) == len({entry.item["id"] for entry in entries}):
            return
        before = [item for item in context.latest_items(_SEARCHED_ENTRIES) if item.get("feed") == feed]
        if renamed := keep_ids(entries, known, before):
            context.note(f"{feed} has new ids for {renamed} known {'entries, which were' if renamed > 1 else 'entry, which was'} "
                         "recognized by link and title")


def keep_ids(entries: list[Entry], known: Collection[str], before: Iterable[dict[str, Json]]) -> int:
    """Replace the new ids of entries that are already stored with their stored ids. Return how many ids were replaced.

    known: those of the feed's ids that are in the store; before: the stored entries. A feed entry with a new id is taken for a
    stored entry that is no longer in the feed if both have the same link and title, and the same text or date. The date must be
    the same if some ids of the feed are known, or if several entries have the same link and title. An entry whose text is
    unchanged keeps its stored date, since feeds that change the ids at each fetch change the dates too.
    """
    here = {entry.item["id"] for entry in entries}
    gone: defaultdict[Json, list[dict[str, Json]]] = defaultdict(list)
    for item in before:
        if item["id"] not in here:
            gone[_link_and_title(item)].append(item)
    counts = Counter(_link_and_title(entry.item) for entry in entries)
    told_apart = {_link_and_title(entry.item) for entry in entries if entry.item["id"] in known}
    renamed = 0
    for item in (entry.item for entry in entries):
        alike = _link_and_title(item)
        candidates = gone.get(alike, [])
        if item["id"] in known or alike in told_apart or not candidates:
            continue
        dated = [one for one in candidates if one.get("published") == item["published"]]
        alone = counts[alike] == 1 and len(candidates) == 1
        same = next((one for one in (dated if known or counts[alike] > 1 else candidates) if one.get("summary") == item["summary"]),
                    None) or next((one for one in dated if alone), None)
        if same is None:
            continue
        candidates.remove(same)
        item["id"] = same["id"]
        if same.get("summary") == item["summary"]:
            item["published"] = same.get("published")
        renamed += 1
    return renamed


def _link_and_title(item: Mapping[str, Json]) -> tuple[Json, ...]:
    return (item.get("url"), item.get("title")) if item.get("url") else (None, item.get("title"), item.get("summary"))


def read_feed(body: bytes, url: str, content_type: str = "", *, by_link: bool = False, problems: list[str] | None = None) -> list[Entry]:
    """Return the entries of a feed, in the order of the feed. Raises SpiderError if the body is not a feed.

    Ids are returned as written in the feed, so that they do not depend on the URL of the feed. by_link: whether to use the links
    of entries instead of ids. problems: a list to which a message is appended if a part of the feed was ignored.
    """
    text = decoded(body, content_type)
    if text.lstrip().startswith("{"):
        entries = _read_json_feed(text, url)
    else:
        # feedparser gets a stream, because it could take bytes for a file name or URL. It gets no base URL, because it would resolve ids
        # like links.
        text, unfinished = _without_unfinished_entry(text)
        if unfinished and problems is not None:
            problems.append("is truncated: the last entry has no end and was ignored")
        text = with_bare_ampersands_escaped(_XML_ENCODING.sub(r"\1", text, count=1))
        found = feedparser.parse(io.BytesIO(text.encode("utf-8", "replace")),
                                 response_headers={"content-type": "application/xml; charset=utf-8"},
                                 resolve_relative_uris=False, sanitize_html=False)
        if not found.get("version") and not found.get("entries"):
            raise SpiderError("the response is not a feed in RSS, Atom or JSON Feed format", where=url, fix="set `start` to the URL of an RSS, Atom or JSON feed")
        untyped = not str(found.get("version")).startswith("atom")
        entries = [_entry(entry, url, untyped=untyped) for entry in found.entries]
    for entry in entries if by_link else ():
        entry.item["id"] = entry.link or entry.item["title"]
    return _with_unique_ids(entries)


def _without_unfinished_entry(text: str) -> tuple[str, bool]:
    """Remove the last entry of a feed if its end tag is missing. Return the feed, and whether an entry was removed.

    Such a feed is truncated, for example because the program that generated it failed.
    """
    if _ROOT_END.search(text, max(0, len(text) - 1000)):
        return text, False
    last = next(iter(deque(_ENTRY.finditer(text), maxlen=1)), None)
    if last is None or f"</{last[1]}" in text[last.end():]:
        return text, False
    return text[:last.start()], True


def decoded(body: bytes, content_type: str) -> str:
    """Return a feed as text.

    The encoding is taken from the byte order mark, the Content-Type header or the XML declaration (RFC 7303). Each invalid byte
    becomes a replacement character.
    """
    label = marked_encoding(body)
    declared = _DECLARED.match(body[:200])
    labels = [label] if label else [header_encoding(content_type),
                                    label_codec(declared[1].decode("ascii")) if declared else None, "utf-8"]
    known = list(dict.fromkeys(label for label in labels if label))
    for name in known:
        try:
            return _INVALID_IN_XML.sub("\ufffd", body.decode(name).removeprefix("\ufeff"))
        except UnicodeDecodeError:
            continue
    text = body.decode(known[0], "replace")
    wrong, foreign = text.count("\ufffd"), sum(1 for char in text if char > "\x7f")
    if wrong > foreign * _MAX_INVALID_SHARE and not label:
        text = body.decode("cp1252", "replace")
    return _INVALID_IN_XML.sub("\ufffd", text.removeprefix("\ufeff"))


def _with_unique_ids(entries: list[Entry]) -> list[Entry]:
    """Make the ids of entries unique: add a hash of title and link to an id that several entries share.

    For example, several release notes on one page may share an id.
    """
    ids = Counter(entry.item["id"] for entry in entries)
    for entry in entries:
        item = entry.item
        if ids[item["id"]] > 1:
            said = item["title"] if item["id"] in (item["url"], entry.link) else json.dumps([item["title"], entry.link])
            item["id"] += f"#{sha256(said.encode('utf-8', 'replace')).hexdigest()[:16]}"
    return entries


def _entry(entry: Any, feed: str, *, untyped: bool) -> Entry:
    contents = entry.get("content") or []
    summary = _text(entry.get("summary"), entry.get("summary_detail"), untyped=untyped)
    if not summary and contents:
        summary = _text(contents[0].get("value"), contents[0], untyped=untyped)
    title = _text(entry.get("title"), entry.get("title_detail"), untyped=untyped)
    link = str(entry.get("link") or "")
    item = _item(entry.get("id"), link, title=title, author=entry.get("author"), published=_moment(entry),
                 summary=summary, tags=[tag.get("term") for tag in entry.get("tags") or []], feed=feed)
    return Entry(item, _files([enclosure.get("href") for enclosure in entry.get("enclosures") or []], feed), link)


def _files(links: list[Any], feed: str) -> list[str]:
    return [url for link in links if link and (url := absolute(str(link), feed))]


def _text(value: Any, detail: Any, *, untyped: bool) -> str:
    """Return a value as plain text. A value of the type text keeps its angle brackets (RFC 4287, 3.1.1).

    untyped: whether the feed is RSS, in which values are not declared as text or HTML. In RSS, a tag that does not exist in HTML,
    such as the <T> in List<T>, counts as text.
    """
    said = str(value or "")
    kind = (detail or {}).get("type") or ""
    if kind == "text/plain":
        return plain_text(said)
    return _text_of_html(_TAG.sub(lambda tag: "<" if _is_html(tag[1]) else "&lt;", said) if untyped else said)


def _text_of_html(html: str) -> str:
    """Convert a title or summary from HTML to text without empty lines."""
    return "\n".join(line for line in page_text(html).split("\n") if line)


def _is_html(name: str) -> bool:
    return name.lower() in _ELEMENTS or "-" in name or ":" in name  # custom elements and other XML vocabularies


def _item(own_id: Any, link: str, *, title: str, author: Any, published: Json, summary: str, tags: list[Any],
          feed: str) -> dict[str, Json]:
    said = {"url": (absolute(link, feed) if link else "") or None, "title": " ".join(title.split()), "author": str(author or ""),
            "published": published, "summary": summary, "tags": [str(tag) for tag in tags if tag], "feed": feed}
    own = str(own_id or "").strip() or link or sha256(json.dumps([said["title"], said["summary"]]).encode()).hexdigest()
    return {"id": own, **said}


def _moment(entry: Any) -> Json:
    """Return when the entry was published, in UTC. An invalid date is returned as written in the feed."""
    for name in _MOMENTS:
        parsed = entry.get(f"{name}_parsed")
        if parsed:
            try:
                return datetime.fromtimestamp(calendar.timegm(parsed), UTC).isoformat()
            except (ValueError, OverflowError, OSError):
                break
    return next((str(entry[name]) for name in _MOMENTS if entry.get(name)), None)


def _read_json_feed(text: str, url: str) -> list[Entry]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SpiderError("the response is not a valid JSON Feed: it is not valid JSON", where=url) from error
    if not isinstance(found, dict) or "jsonfeed.org" not in str(found.get("version")):
        raise SpiderError("the response is JSON, but not a JSON Feed", where=url, fix="use spider = \"crawl\" with jmes rules")
    entries = found.get("items")
    return [_json_entry(entry, url) for entry in (entries if isinstance(entries, list) else []) if isinstance(entry, dict)]


def _json_entry(entry: dict[str, Any], feed: str) -> Entry:
    """Return an entry of a JSON Feed. Title and summary are text; only content_html is HTML.

    See JSON Feed 1.1, Items.
    """
    authors = entry.get("authors") if isinstance(entry.get("authors"), list) else [entry.get("author")]
    names = [str(author["name"]) for author in authors or [] if isinstance(author, dict) and author.get("name")]
    summary = plain_text(str(entry.get("summary") or "")) or _text_of_html(str(entry.get("content_html") or "")) or plain_text(
        str(entry.get("content_text") or ""))
    tags = entry.get("tags")
    link = str(entry.get("url") or entry.get("external_url") or "")
    item = _item(entry.get("id"), link, title=str(entry.get("title") or ""), author=", ".join(names), summary=summary,
                 feed=feed, published=entry.get("date_published") or entry.get("date_modified"),
                 tags=tags if isinstance(tags, list) else [])
    attachments = entry.get("attachments")
    files = [file.get("url") for file in (attachments if isinstance(attachments, list) else []) if isinstance(file, dict)]
    return Entry(item, _files(files, feed), link)
