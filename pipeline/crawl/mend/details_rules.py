"""Derive new rules for the fields on the details pages of items."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.crawl.extract import ItemRules
from pipeline.crawl.item_data import RejectedItemError, item_key
from pipeline.crawl.mend.fields.field_fit import Holder, measure
from pipeline.crawl.mend.fields.field_rules import FieldSearch
from pipeline.crawl.mend.items.html_items import known_by_key
from pipeline.crawl.mend.known_values import KnownValues
from pipeline.crawl.mend.mend import identity_of
from pipeline.crawl.mend.mending import written
from pipeline.crawl.mend.page_tree import PageTree
from pipeline.crawl.mend.time_limit import OutOfTimeError, TimeLimit
from pipeline.crawl.mend.verify import Agreement
from pipeline.documents.document import Document
from pipeline.model import Json
from pipeline.settings import ItemsTable
from pipeline.settings.edit import merged

_WORKS = 0.5
_AGREES = 0.66
_MIN_PAGES = 2
_MIN_DISTINCT = 2
"""How many different values must agree: a single one may be in any text of the site."""


def details_pages(table: ItemsTable, changes: Mapping[str, Any], documents: Sequence[Document], known: Sequence[Mapping[str, Json]], *,
                  limit: int) -> list[tuple[str, Mapping[str, Json]]]:
    """Return URLs of details pages of known items, each with the stored data of its item.

    changes: the changed keys of `items` that are proposed for the listing pages.
    """
    new = ItemsTable.model_validate(merged(table.model_dump(by_alias=True, exclude_unset=True), changes))
    if new.details is None:
        return []
    identity = identity_of(new, known)
    by_key = known_by_key(KnownValues(known, identity), identity)
    rules = ItemRules(new.fields, new.each, new.details.link)
    found: dict[str, Mapping[str, Json]] = {}
    for document in documents:
        extracted = rules.extract(document)
        for item, link in zip(extracted.items, extracted.links, strict=True):
            try:
                record = by_key.get(item_key(item, identity))
            except RejectedItemError:
                continue
            if link and record is not None and len(found) < limit:
                found.setdefault(link, record)
    return list(found.items())


def mend_details(table: ItemsTable, pages: Sequence[tuple[Document, Mapping[str, Json]]]) -> tuple[dict[str, Any], tuple[Agreement, ...]]:
    """Return the changed fields of `items.details.fields`, and how many known values they give.

    pages: details pages, each with the stored data of its item. A field is changed only if its rule no longer works on most pages.
    """
    if table.details is None or len(pages) < _MIN_PAGES:
        return {}, ()
    trees = [(PageTree(document), known) for document, known in pages]
    holders = [Holder(tree, tree.elements[0], known) for tree, known in trees if tree.elements]
    limit = TimeLimit(len(pages))
    changed: dict[str, Any] = {}
    agreement = []
    for name, rule in table.details.fields.items():
        if rule.fields or rule.page is not None or rule.header is not None or rule.xpath is not None:
            continue
        present = measure(name, rule, holders, scopes=[holder.element.node for holder in holders])
        if not present.of or present.share >= _WORKS:
            continue
        try:
            found = FieldSearch(name, rule, holders, limit).best()
        except OutOfTimeError:
            break
        if found is None or found.agree < _MIN_PAGES or found.share < _AGREES:
            continue
        agreeing = [holder.known.get(name) for holder in holders if holder.known is not None
                    and measure(name, found.rule, [holder], scopes=[holder.element.node]).agree]
        if len({json.dumps(value, sort_keys=True) for value in agreeing}) >= _MIN_DISTINCT:
            changed[name] = written(found.rule)
            agreement.append(Agreement(name, found.agree, found.of, len(agreeing), is_details=True))
    return changed, tuple(agreement)
