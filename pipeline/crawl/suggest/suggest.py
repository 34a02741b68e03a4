"""Propose tables for a spider from one page: the analysis behind `pipeline suggest`."""

from __future__ import annotations

from collections.abc import Callable

from selectolax.lexbor import SelectolaxError

from pipeline.crawl.extract import Document
from pipeline.crawl.suggest.embedded import embedded_proposals, is_data, linked_feeds
from pipeline.crawl.suggest.lists import html_proposals
from pipeline.crawl.suggest.proposal import Proposal, valid
from pipeline.documents.regexes import RuleFailedError

MAX_CHARS = 3_000_000
"""Characters of a page that are read. A longer page is analysed up to here."""
MAX_TAGS = 30_000
"""Tags of a page that are read, at most."""


def suggest(document: Document, *, limit: int = 3) -> list[Proposal]:
    """Return up to `limit` proposals for a spider's table, best first; [] if the page has no list.

    The table of each proposal is valid, and its rows are what the engine finds with it. Uses no network. Never raises an exception
    for the content of a page; a large page is analysed up to MAX_CHARS and MAX_TAGS.
    """
    cut = _bounded(document)
    found: list[Proposal] = []
    for propose in (embedded_proposals, html_proposals):
        found += _safely(propose, cut)
    found.sort(key=lambda proposal: -proposal.confidence)
    feeds = _safely(linked_feeds, cut)
    kept = found[:max(1, limit - len(feeds[:1]))] + feeds[:1] if found else feeds
    kept += [proposal for proposal in found if proposal not in kept]
    notes = ["the page is large: only its beginning was read"] if cut is not document else []
    return [_with_notes(proposal, notes) for proposal in kept[:limit] if valid(proposal.table) is not None]


def _with_notes(proposal: Proposal, notes: list[str]) -> Proposal:
    return Proposal(proposal.kind, proposal.table, proposal.rows, proposal.count, proposal.confidence, proposal.reasons,
                    [*proposal.notes, *notes])


def _safely(propose: Callable[[Document], list[Proposal]], document: Document) -> list[Proposal]:
    """Return the proposals of one kind; [] if the page cannot be analysed so."""
    try:
        return propose(document)
    except (RuleFailedError, RecursionError, SelectolaxError, ValueError):
        return []


def _bounded(document: Document) -> Document:
    """Return the document, or its beginning if it is HTML too large to be analysed in a few seconds."""
    text = document.text
    if is_data(document):
        return document
    end = min(len(text), MAX_CHARS)
    if text.count("<", 0, end) > MAX_TAGS:
        at = -1
        for _ in range(MAX_TAGS):
            at = text.index("<", at + 1)
        end = at
    if end == len(text):
        return document
    return Document(url=document.url, status=document.status, text=text[:end], headers=lambda: document.headers, encoding=document.encoding,
                    is_rendered=document.is_rendered)
