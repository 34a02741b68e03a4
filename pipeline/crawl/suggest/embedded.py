"""Proposals from data: feeds, sitemaps, JSON-LD, microdata, JSON in scripts, JSON and CSV pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from scrapy.http import Request, XmlResponse
from selectolax.lexbor import LexborNode

from pipeline.crawl.extract import Document
from pipeline.crawl.suggest.json_records import JsonList, json_fields, lists_in
from pipeline.crawl.suggest.proposal import SHOWN_ROWS, Proposal, tested, valid
from pipeline.crawl.suggest.selectors import is_generated, matches, quoted
from pipeline.documents import embedded_data
from pipeline.errors import PipelineError
from pipeline.model import Json
from pipeline.registry import BUILT_IN_SPIDERS, load
from pipeline.text import counted

_FEED_TYPES = ("application/rss+xml", "application/atom+xml", "application/feed+json")
_FEED = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--(?:(?!-->).)*-->\s*|<\?xml-[^>]*>\s*|<!DOCTYPE[^>]*>\s*)*<(?:rss|feed|(?:rdf:)?RDF)[\s>]", re.DOTALL)
_SITEMAP = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--(?:(?!-->).)*-->\s*|<\?xml-[^>]*>\s*)*<(?:\w+:)?(?:urlset|sitemapindex)[\s>]", re.DOTALL)
_HEAD = 5_000
_MOST_SCRIPTS = 40
_MOST_SCRIPT_CHARS = 3_000_000
_NO_RECORDS = ("BreadcrumbList", "SiteNavigationElement", "WebPage", "WebSite", "Organization", "Person", "ImageObject", "SearchAction", "ListItem",
               "WPHeader", "WPFooter", "WPSideBar", "PostalAddress", "ContactPoint", "Offer", "Rating", "AggregateRating", "EntryPoint", "Blog",
               "CollectionPage", "ItemList", "ReadAction", "Article/Person", "Brand", "Place")


def linked_feeds(document: Document) -> list[Proposal]:
    """Return a proposal for each feed that the page names (the HTML Standard, rel=alternate)."""
    found: dict[str, Proposal] = {}
    for node in matches(document.lexbor, "link[rel~='alternate' i][href]")[:50]:
        url = document.absolute(node.attributes.get("href") or "")
        if url and (node.attributes.get("type") or "").lower().strip() in _FEED_TYPES and url not in found:
            title = " ".join((node.attributes.get("title") or "").split())
            found[url] = Proposal("feed", {"spider": "feed", "start": [url]}, confidence=0.5,
                                  reasons=[f"the page names a feed{f': {title}' if title else ''}"],
                                  notes=["a feed contains only the newest entries"])
    return list(found.values())


def is_data(document: Document) -> bool:
    """Return whether a page is not HTML but a feed, a sitemap, JSON or CSV."""
    head = _head_of(document)
    return head.startswith(("{", "[")) or _FEED.match(head) is not None or _SITEMAP.match(head) is not None or _may_be_csv(document, head)


def _head_of(document: Document) -> str:
    return document.text[:_HEAD].lstrip("\ufeff \t\r\n")


def embedded_proposals(document: Document) -> list[Proposal]:
    """Return proposals from the data of a page, best first."""
    head = _head_of(document)
    if _FEED.match(head):
        return _of_spider("feed", document)
    if _SITEMAP.match(head):
        return _of_spider("sitemap", document)
    if head.startswith(("{", "[")) and document.json is not None:
        if isinstance(document.json, dict) and "jsonfeed.org" in str(document.json.get("version")):
            return _of_spider("feed", document)
        return [*_json_proposals("json", {}, document.json, document, sure=0.95)]
    if _may_be_csv(document, head):
        return _csv_proposals(document)
    found = [*_data_proposals("json-ld", document), *_data_proposals("microdata", document), *_script_proposals(document)]
    return sorted(found, key=lambda proposal: -proposal.confidence)


def _of_spider(name: str, document: Document) -> list[Proposal]:
    """Return a proposal for a built-in spider that reads the whole page itself; [] if it cannot read it."""
    table: dict[str, Any] = {"spider": name, "start": [document.url]}
    settings = valid(table)
    if settings is None:
        return []
    spidercls = load(BUILT_IN_SPIDERS[name].spider_class)
    response = XmlResponse(document.url, body=document.text.encode("utf-8", "replace"), encoding="utf-8", request=Request(document.url))
    items: list[dict[str, Json]] = []
    further = 0
    try:
        for page in spidercls(**spidercls.arguments(settings)).parse(response):
            items += page.items
            further += len(page.links)
    except PipelineError:
        return []
    said = f"the page is a {name} with {counted(len(items), 'item' if name == 'feed' else 'URL')}" if items or not further else (
        f"the page is an index of {counted(further, 'sitemap')}")
    return [Proposal(name, table, items[:SHOWN_ROWS], len(items), 0.97 if items or further else 0.6, [said])]


def _json_proposals(kind: str, source: dict[str, Any], value: Json, document: Document, *, sure: float,
                    start: str = "") -> Iterator[Proposal]:
    """Yield proposals for the best lists in a JSON value. source: the keys of a rule that select the value; sure: the best confidence."""
    for found in lists_in(value, start)[:2]:
        each = {**source, "jmes": _selecting(found.path)}
        yield from _list_proposal(kind, each, found, document, sure=sure)


def _list_proposal(kind: str, each: dict[str, Any], found: JsonList, document: Document, *, sure: float) -> Iterator[Proposal]:
    result = tested(each, json_fields(found.objects), document)
    if result is None or len(result.rows) < 2:
        return
    filled = result.filled
    confidence = sure * (0.3 + 0.7 * found.score) * (1.0 if filled.get("title", 0) > 0.9 else 0.75) * (0.9 if "key" not in result.items else 1.0)
    names = [name for name, share in filled.items() if share > 0.95]
    yield Proposal(kind, {"start": [document.url], "items": result.items}, result.rows[:SHOWN_ROWS], len(result.rows), round(confidence, 2),
                   [f"{counted(len(result.rows), 'record')} in the {'page' if kind in ('json', 'csv') else kind} at {each['jmes']}",
                    f"all have {', '.join(names[:6])}"], result.notes)


def _data_proposals(kind: str, document: Document) -> Iterator[Proposal]:
    """Yield a proposal for each type of record that JSON-LD or microdata has several of, and for the entries of an ItemList."""
    data = document.data(kind)
    records = [one for one in data if isinstance(one, dict)][:5_000] if isinstance(data, list) else []
    by_type: dict[str, list[dict[str, Json]]] = {}
    for one in records:
        if isinstance(said := one.get("@type"), str):
            by_type.setdefault(said, []).append(one)
    for name, same in by_type.items():
        if "'" in name or "\\" in name or not name.isprintable():
            continue
        path = f"[?\"@type\"=='{name}']"
        short = name.rstrip("/").rpartition("/")[2]
        if len(same) >= 2 and short not in _NO_RECORDS:
            found = JsonList(path, same, 0.9)
            yield from _list_proposal(kind, {"data": kind, "jmes": path}, found, document, sure=0.85)
        elif short != "BreadcrumbList" and (inner := lists_in(same, path)):
            best = inner[0]
            if best.path.startswith(path) and best.path != f"{path}[]":
                yield from _list_proposal(kind, {"data": kind, "jmes": _selecting(best.path)}, best, document, sure=0.85)


def _selecting(path: str) -> str:
    """Return the path of the objects of a list as a rule `each`: without its last [], which only a list of lists needs."""
    shorter = path.removesuffix("[]")
    return path if "[" in shorter or "*" in shorter else shorter or "@"


def _script_proposals(document: Document) -> Iterator[Proposal]:
    """Yield proposals for the JSON in scripts, such as __NEXT_DATA__."""
    read = 0
    for node in matches(document.lexbor, "script:not([src])")[:_MOST_SCRIPTS]:
        kind = node.attributes.get("type") or ""
        text = node.text(deep=True)
        read += len(text)
        if "ld+json" in kind or len(text) < 100 or read > _MOST_SCRIPT_CHARS:
            continue
        values, _ = embedded_data.read_script(text, kind=kind)
        selector = _script_selector(node, document)
        best = [one for value in values if isinstance(value, (dict, list)) for one in _json_proposals(
            "json", {"json": selector}, value, document, sure=0.8)]
        yield from sorted(best, key=lambda proposal: -proposal.confidence)[:2]


def _script_selector(node: LexborNode, document: Document) -> str:
    """Return a selector of a script element: its id, its type, or all scripts without a file."""
    own_id, kind = node.attributes.get("id") or "", node.attributes.get("type") or ""
    if own_id and not is_generated(own_id) and re.fullmatch(r"[A-Za-z_][\w-]*", own_id):
        return f"script#{own_id}"
    for name, value in node.attributes.items():
        if name.startswith("data-") and re.fullmatch(r"data-[a-z-]+", name) and not value:
            return f"script[{name}]"
    if kind and len(matches(document.lexbor, f"script[type={quoted(kind)}]")) == 1:
        return f"script[type={quoted(kind)}]"
    return "script:not([src])"


def _may_be_csv(document: Document, head: str) -> bool:
    kind = document.headers.get("content-type", "").lower()
    path = document.url.partition("?")[0].lower()
    if head.startswith("<") or "html" in kind:
        return False
    if "csv" in kind or "tab-separated" in kind or path.endswith((".csv", ".tsv")):
        return True
    lines = head.splitlines()[:6]
    return len(lines) >= 3 and any(len({line.count(mark) for line in lines[:-1]}) == 1 and lines[0].count(mark) >= 1 for mark in ",;\t|")


def _csv_proposals(document: Document) -> list[Proposal]:
    rows = document.data("csv")
    objects: list[dict[str, Json]] = [row for row in rows if row] if isinstance(rows, list) else []
    if len(objects) < 2:
        return []
    return list(_list_proposal("csv", {"data": "csv", "jmes": "@"}, JsonList("@", objects, 0.95), document, sure=0.95))
