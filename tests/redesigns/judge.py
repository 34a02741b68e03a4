"""Decides whether rules give what redesigned pages show.

The engine applies them, and their items are compared with the truth.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from pipeline.crawl.extract import Document
from pipeline.price import same
from pipeline.settings import SpiderTable
from tests.redesigns import Redesign
from tests.redesigns.page import document, item_rules

MIN_ROWS = 0.95
"""The share of the rows that must have the right key and title."""
MIN_VALUES = 0.9
"""The share of the rows that must have the right value of each other field, if the new page shows it."""
MAX_EXTRA = 0.05


def documents(made: Redesign) -> list[Document]:
    return [document(page, url) for url, page in zip(made.urls, made.pages, strict=True)]


def what_is_wrong(table: Mapping[str, Any], made: Redesign, *, max_extra: float = MAX_EXTRA) -> str:
    """Return why the rules of a spider's table are not right for the redesigned pages; "" if they are.

    max_extra: the largest share of items that none of the pages lists.
    """
    spider = SpiderTable.model_validate(table)
    assert spider.items is not None
    rules, key = item_rules(spider), spider.items.key
    title = next(name for name, kind in made.kinds.items() if kind == "title")
    listed = {tuple(row.get(name) for name in key) for rows in made.rows for row in rows}
    total = right = 0
    extra: set[tuple[Any, ...]] = set()
    shown: Counter[str] = Counter()
    agree: Counter[str] = Counter()
    for page, rows in zip(documents(made), made.rows, strict=True):
        items: dict[tuple[Any, ...], dict[str, Any]] = {}
        for item in rules.extract(page).items:
            items[tuple(item.get(name) for name in key)] = item  # as in the store, the last one of a key counts
        wanted = {tuple(row.get(name) for name in key): row for row in rows}
        extra |= items.keys() - listed
        total += len(wanted)
        for identity, row in wanted.items():
            item = items.get(identity, {})
            right += bool(item) and is_same(row.get(title), item.get(title), "text")
            for name, value in row.items():
                if name != title and name not in key and value not in (None, "", []):
                    shown[name] += 1
                    agree[name] += is_same(value, item.get(name), made.kinds[name])
    if right < MIN_ROWS * total:
        return f"{right} of {total} rows have their key and title"
    if len(extra) > max(1, max_extra * total):
        return f"{len(extra)} rows more than the {total} of the pages"
    return "; ".join(f"{name} is right in {agree[name]} of {count} rows" for name, count in shown.items() if agree[name] < MIN_VALUES * count)


def is_same(wanted: Any, found: Any, kind: str) -> bool:
    """Return whether a value is the right one. Dates are compared by day, prices by amount and currency."""
    if kind == "date" and isinstance(wanted, str) and isinstance(found, str):
        return wanted[:10] == found[:10]
    if isinstance(wanted, str) and isinstance(found, str):
        return " ".join(wanted.split()) == " ".join(found.split())
    return bool(same(wanted, found))
