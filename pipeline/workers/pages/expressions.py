"""Perform `pipeline try --css EXPR`: report what single selectors match on a page."""

from __future__ import annotations

from typing import Any

from pipeline.crawl.extract import CompiledRule, Document, RuleFailedError
from pipeline.crawl.extract.try_rules import session_note
from pipeline.model import Json
from pipeline.settings import SelectorTable, Settings
from pipeline.store import Store
from pipeline.store.session_files import files_of
from pipeline.workers.pages.fetch import open_pages


def perform(store: Store, settings: Settings, name: str, options: dict[str, Any]) -> dict[str, Json]:
    """Return all matches of the selectors options["selectors"] on the page options["url"], fetched with the session of a spider."""
    with open_pages(settings, name, files_of(store, name)) as pages:
        fetched = pages.get(options["url"])
        note = session_note(pages.session, fetched.page)
    document = fetched.document
    return {"url": document.url, "status": document.status, "characters": len(document.text), "session": note,
            "selectors": [_matches(selector, document) for selector in options["selectors"]]}


def _matches(selector: dict[str, Any], document: Document) -> dict[str, Json]:
    try:
        found, error = CompiledRule(SelectorTable.model_validate(selector)).values(document), ""
    except RuleFailedError as reason:
        found, error = [], str(reason)
    return {"selector": selector, "count": len(found), "error": error, "values": found}
