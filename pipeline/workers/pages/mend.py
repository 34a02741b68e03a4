"""Perform `pipeline mend`: propose new rules for those that no longer work.

The pages are those on which the spider found items before.
"""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import Any

from pipeline.crawl.mend import MAX_RECORDS, Mending, mend
from pipeline.crawl.mend.details_rules import details_pages, mend_details
from pipeline.documents.document import Document
from pipeline.errors import PipelineError
from pipeline.model import Json
from pipeline.session.politeness.robots import Robots
from pipeline.settings import ItemsTable, Settings
from pipeline.settings.edit import SpiderEdit
from pipeline.settings.masking import Mask
from pipeline.store import Store
from pipeline.store.crawl.items import download_urls
from pipeline.store.crawl.known_items import fetched_pages, known_items, pages_with_items
from pipeline.store.session_files import files_of
from pipeline.text import shown_url
from pipeline.workers.pages.fetch import PageFetcher, open_pages
from pipeline.workers.pages.samples import shortened

MAX_PAGES = 5
"""The maximum number of pages that are fetched."""
MAX_DETAILS = 4
"""The maximum number of details pages that are fetched."""
_MAX_DELAY_S = 10.0
_MAX_LINKS = 20_000


def perform(store: Store, settings: Settings, name: str, options: dict[str, Any]) -> dict[str, Json]:
    """Return a proposal for the rules of the spider `name`, or the reason why there is none, as JSON.

    options["urls"]: the pages to fetch; [] means pages on which the spider found items before. Keys of the result: those of Mending,
    "share", "is_sure", "why_not_sure", "agreement_line", "urls" (the pages that were fetched), "failed" (messages about pages that could not be
    fetched), and "diff" (the change of the settings file as a unified diff without context; "" if there is no proposal).
    """
    table = settings.spiders[name]
    known = known_items(store, name, limit=MAX_RECORDS)
    starts = [start.url for start in table.start if start.method in (None, "GET") and start.form is None and start.json_ is None and start.body is None]
    urls = list(dict.fromkeys(options["urls"] or [*starts[:2], *pages_with_items(store, name, limit=2 * MAX_PAGES), *starts]))[:MAX_PAGES]
    with open_pages(settings, name, files_of(store, name)) as opened:
        pages = _Pages(opened)
        documents = [document for url in urls if (document := pages.get(url)) is not None]
        links = {"follow": fetched_pages(store, name, limit=_MAX_LINKS), "download": download_urls(store, name)}
        found = mend(table, documents, known, links=links)
        if table.items is not None and table.items.details is not None and (found.changes or not found.is_needed):
            found = _with_details(table.items, found, documents, known, pages)
    return {**as_json(found), "urls": [shown_url(document.url) for document in documents], "failed": pages.failed,
            "diff": SpiderEdit(settings.file, name, found.changes).diff(Mask.of(settings)) if found.changes else ""}


class _Pages:
    """Fetches pages one after the other, those that the site's robots.txt allows. failed: messages about pages that were not fetched."""

    def __init__(self, pages: PageFetcher) -> None:
        self.failed: list[str] = []
        self._pages = pages
        self._robots = Robots(pages.session.look, on_delay=lambda place, delay_s: None) if pages.spider.robots else None
        self._is_first = True

    def get(self, url: str) -> Document | None:
        """Return a page; None if there is none."""
        try:
            if self._robots is not None:
                self._robots.check(url)
            if not self._is_first:
                time.sleep(min(self._pages.spider.delay, _MAX_DELAY_S))
            self._is_first = False
            document = self._pages.get(url).document
        except PipelineError as error:
            self.failed.append(f"{shown_url(url)}: {error.what}{f'; {error.fix}' if error.fix else ''}")
            return None
        if document.status >= 400:
            self.failed.append(f"{shown_url(url)}: HTTP {document.status}")
            return None
        return document


def _with_details(table: ItemsTable, found: Mending, documents: list[Document], known: list[dict[str, Json]], pages: _Pages) -> Mending:
    """Fetch details pages of known items, and return the proposal with new rules for their fields."""
    fetched = []
    for url, record in details_pages(table, found.changes.get("items", {}), documents, known, limit=MAX_DETAILS):
        if (document := pages.get(url)) is not None:
            fetched.append((document, record))
    fields, agreement = mend_details(table, fetched)
    if not fields:
        return found
    items = found.changes.get("items", {})
    details = {**items.get("details", {}), "fields": fields}
    return replace(found, changes={**found.changes, "items": {**items, "details": details}}, reason="", is_needed=True,
                   agreement=(*found.agreement, *agreement), pages=max(found.pages, len(fetched)))


def as_json(found: Mending) -> dict[str, Json]:
    """Return a proposal as JSON data."""
    return {**asdict(found), "before": shortened(list(found.before)), "after": shortened(list(found.after)), "share": found.share, "is_sure": found.is_sure,
            "why_not_sure": found.why_not_sure, "agreement_line": found.agreement_line}
