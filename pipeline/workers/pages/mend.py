"""Perform `pipeline mend`: fetch pages on which a spider found items before, and propose new rules for those that no longer work."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import Any

from pipeline.crawl.mend import MAX_RECORDS, Mending, mend
from pipeline.crawl.mend.details_rules import details_pages, mend_details
from pipeline.documents.document import Document
from pipeline.errors import PipelineError
from pipeline.model import Json
from pipeline.settings import ItemsTable, Settings
from pipeline.settings.edit import SpiderEdit
from pipeline.settings.masking import Mask
from pipeline.store import Store
from pipeline.store.crawl.items import download_urls
from pipeline.store.crawl.known_items import fetched_pages, known_items, pages_with_items
from pipeline.text import shown_url
from pipeline.workers.pages.fetch import PageFetcher, open_pages

MAX_PAGES = 5
"""The maximum number of pages that are fetched."""
MAX_DETAILS = 4
"""The maximum number of details pages that are fetched."""
_MAX_DELAY_S = 10.0
_MAX_LINKS = 20_000
_LONGEST_TEXT = 300


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
    documents, failed = [], []
    with open_pages(settings, name) as pages:
        for at, url in enumerate(urls):
            if at:
                time.sleep(min(table.delay, _MAX_DELAY_S))
            document, problem = _get(pages, url)
            documents += [document] if document is not None else []
            failed += [problem] if problem else []
        links = {"follow": fetched_pages(store, name, limit=_MAX_LINKS), "download": download_urls(store, name)}
        found = mend(table, documents, known, links=links)
        if table.items is not None and table.items.details is not None and (found.changes or not found.is_needed):
            found = _with_details(table.items, found, documents, known, pages)
    return {**as_json(found), "urls": [document.url for document in documents], "failed": failed,
            "diff": SpiderEdit(settings.file, name, found.changes).diff(Mask.of(settings)) if found.changes else ""}


def _with_details(table: ItemsTable, found: Mending, documents: list[Document], known: list[dict[str, Json]], pages: PageFetcher) -> Mending:
    """Fetch details pages of known items, and return the proposal with new rules for their fields."""
    fetched = []
    for url, record in details_pages(table, found.changes.get("items", {}), documents, known, limit=MAX_DETAILS):
        time.sleep(min(pages.spider.delay, _MAX_DELAY_S))
        document, _ = _get(pages, url)
        fetched += [(document, record)] if document is not None else []
    fields, agreement = mend_details(table, fetched)
    if not fields:
        return found
    items = found.changes.get("items", {})
    details = {**items.get("details", {}), "fields": fields}
    return replace(found, changes={**found.changes, "items": {**items, "details": details}}, reason="", is_needed=True,
                   agreement=(*found.agreement, *agreement), pages=max(found.pages, len(fetched)))


def _get(pages: PageFetcher, url: str) -> tuple[Document | None, str]:
    try:
        document = pages.get(url).document
    except PipelineError as error:
        return None, f"{shown_url(url)}: {error}"
    return (document, "") if document.status < 400 else (None, f"{shown_url(url)}: HTTP {document.status}")


def as_json(found: Mending) -> dict[str, Json]:
    """Return a proposal as JSON data."""
    return {**asdict(found), "before": _shortened(list(found.before)), "after": _shortened(list(found.after)), "share": found.share, "is_sure": found.is_sure,
            "why_not_sure": found.why_not_sure, "agreement_line": found.agreement_line}


def _shortened(value: Json) -> Json:
    """Return JSON data with long texts cut off, since the rows of a proposal are stored and mailed only as samples."""
    if isinstance(value, str):
        return value if len(value) <= _LONGEST_TEXT else f"{value[:_LONGEST_TEXT]}…"
    if isinstance(value, dict):
        return {name: _shortened(entry) for name, entry in value.items()}
    return [_shortened(entry) for entry in value] if isinstance(value, list) else value
