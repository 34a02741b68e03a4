"""Redesigns of real list pages.

`redesign` changes a page's markup as its site might, and says what the new page shows.

A redesign is a few operations, chosen at random by a seed. Each operation is a small function with a name; its docstring says what it
does. What is true of the new page is kept while it is changed, so that no selector is needed to know it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.settings import SpiderTable
from tests.redesigns import around, delivery, items, links, naming, records, structure, texts  # noqa: F401  they register operations
from tests.redesigns.page import Page, read_page
from tests.redesigns.registry import OPERATIONS, STAGES, Operation
from tests.redesigns.tree import Element, write

PAGES = 3
SMALLEST = 6
"""Fewest records of a page when the list is split."""


@dataclass(frozen=True)
class Redesign:
    """urls and pages: the URL and the HTML of each page. rows: what each page shows, a list of items as the spider would store them.

    kinds: of each field, as in `Page`. operations: the names of what was done.
    """

    urls: list[str]
    pages: list[str]
    rows: list[list[dict[str, Any]]]
    kinds: dict[str, str]
    operations: list[str]
    oracles: list[str]
    """The pages with the places of the fields as attributes, for tests of this module."""


def redesign(html: str, url: str, table: SpiderTable, seed: int | str, *, only: Sequence[str] = ()) -> Redesign:
    """Return the redesigned pages of a list page, which `table` reads.

    The list is split into at most three pages of one design. only: the names of the operations; by default 2 to 5 are chosen.
    """
    rng = random.Random(f"{seed}:{url}")
    page = read_page(html, url, table, rng)
    count = rng.randint(2, 5)
    done: list[str] = []
    for chosen in [OPERATIONS[name] for name in only] or _order(rng):
        if len(done) == count and not only:
            break
        done += [chosen.name]
    done = [entry.name for entry in sorted((OPERATIONS[name] for name in done), key=lambda entry: STAGES.index(entry.stage)) if entry.apply(page)]
    return _pages(page, done)


def _order(rng: random.Random) -> list[Operation]:
    """Return all operations in a random order, those of a large weight first, one of each group."""
    found: dict[str, Operation] = {}
    for entry in sorted(OPERATIONS.values(), key=lambda entry: rng.random() ** (1 / entry.weight), reverse=True):
        found.setdefault(entry.group, entry)
    return list(found.values())


def _pages(page: Page, done: list[str]) -> Redesign:
    order = list(page.records)
    number = max(1, min(PAGES, len(order) // SMALLEST))
    size = -(-len(order) // number)
    found = Redesign([], [], [], page.kinds, done, [])
    for at in range(number):
        part = order[at * size:(at + 1) * size]
        rows = [page.rows[record] for record in part]
        root = page.root.clone(marked=True)
        for node in [node for node in root.all() if any(mark is not None and mark not in part for mark in (node.record, node.belongs_to))]:
            node.remove()
        for change in page.after_split:
            change(root, rows)
        found.urls.append(page.url if not at else f"{page.url}{'&' if '?' in page.url else '?'}page={at + 1}")
        found.rows.append(rows)
        found.pages.append(write(root, **page.written))
        found.oracles.append(write(root, oracle=True, **page.written))
    return found


__all__ = ["OPERATIONS", "Element", "Redesign", "redesign"]
