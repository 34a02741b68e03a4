"""The page that a redesign works on: its tree, its records and what is true of each.

Also where the fields of the records are.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pipeline.crawl.extract import Document, ItemRules
from pipeline.crawl.extract.items import reader
from pipeline.documents.selectors import split_css
from pipeline.settings import FieldTable, SpiderTable
from tests.redesigns.tree import Element, parse

Json = Any
TITLES = ("title", "name", "subject")


@dataclass
class Page:
    """A list page while it is redesigned.

    rows: what is true of each record, by its number: the values that a spider should store. kinds: of each field, one of
    "title", "url", "price", "number", "date", "text". random: of this redesign. after_split: operations on the tree of each page.
    written: options of `write`.
    """

    root: Element
    url: str
    key: tuple[str, ...]
    rows: dict[int, dict[str, Json]]
    kinds: dict[str, str]
    random: random.Random
    lang: str = "en"
    after_split: list[Callable[[Element, list[dict[str, Json]]], None]] = field(default_factory=list)
    written: dict[str, Any] = field(default_factory=dict)

    @property
    def records(self) -> dict[int, list[Element]]:
        """The top elements of each record, in the order of the page."""
        found: dict[int, list[Element]] = {}
        for node in self.root.all():
            if node.record is not None:
                found.setdefault(node.record, []).append(node)
        return found

    @property
    def tops(self) -> list[Element]:
        """The top elements of all records."""
        return [node for nodes in self.records.values() for node in nodes]

    def places(self, record: int) -> dict[str, tuple[Element, str]]:
        """Return the element that shows each field of a record, and "text" or the attribute."""
        return {name: (node, where) for top in self.records.get(record, []) for node in top.all() for name, where in node.shows.items()}

    def all_places(self) -> Iterator[tuple[int, dict[str, tuple[Element, str]]]]:
        for record in self.records:
            yield record, self.places(record)

    def of_kind(self, *kinds: str) -> list[str]:
        return [name for name, kind in self.kinds.items() if kind in kinds]

    @property
    def title(self) -> str:
        return self.of_kind("title")[0]

    @property
    def link(self) -> str:
        return self.of_kind("url")[0]

    @property
    def around(self) -> Element:
        """The lowest element that contains all records."""
        tops = self.tops
        chains = [list(top.up()) for top in tops]
        return next(node for node in chains[0] if all(any(node is other for other in chain) for chain in chains[1:]))

    @property
    def body(self) -> Element:
        found = self.root.first("body")
        assert found is not None
        return found


def document(html: str, url: str) -> Document:
    return Document(url=url, status=200, text=html, headers=lambda: {"content-type": "text/html; charset=utf-8"})


def item_rules(table: SpiderTable) -> ItemRules:
    assert table.items is not None
    return ItemRules(table.items.fields, table.items.each)


def read_page(html: str, url: str, table: SpiderTable, rng: random.Random) -> Page:
    """Return a page with its records and fields marked. Each match of `each` must be an item, and all rules must be CSS."""
    items = table.items
    assert items is not None
    assert items.each is not None
    assert items.each.css is not None
    page_document = document(html, url)
    extracted = item_rules(table).extract(page_document).items
    each = items.each.css

    def mark(root: Any) -> dict[int, Callable[[Element], None]]:
        found: dict[int, list[Callable[[Element], None]]] = {}
        readers = [reader(name, rule, "lexbor") for name, rule in items.fields.items()]
        scopes = [scope for scope in root.css(each) if any(read(scope, page_document, []) not in (None, "") for read in readers)]
        if len(scopes) != len(extracted):
            raise ValueError(f"{url}: {len(scopes)} matches of `each`, {len(extracted)} items")
        for number, scope in enumerate(scopes):
            found.setdefault(scope.mem_id, []).append(partial(_mark_record, number))
            for name, rule in items.fields.items():
                assert rule.css is not None, name
                css, _text, attr = split_css(rule.css)
                for node in scope.css(css):
                    if (node.attributes.get(attr) if attr else node.text()) and extracted[number].get(name) is not None:
                        found.setdefault(node.mem_id, []).append(partial(_mark_field, name, attr or "text"))
                        break
        return {key: partial(_mark_all, marks) for key, marks in found.items()}

    page = Page(parse(html, mark), url, items.key, dict(enumerate(extracted)), _kinds(items.fields), rng)
    _widen(page)
    page.lang = (page.root.attrs.get("lang") or "en")[:2]
    return page


def _widen(page: Page) -> None:
    """Move the marks of the records up, as many levels as all of them can be moved without containing another record."""
    tops = [(record, top) for record, nodes in page.records.items() for top in nodes]
    while all(top.parent is not None and top.parent.tag not in ("body", "main") for _, top in tops):
        parents = [(record, top.parent) for record, top in tops if top.parent is not None]
        if len({id(parent) for _, parent in parents}) < len(tops) or any(
                node.record not in (None, record) for record, parent in parents for node in parent.all()):
            break
        for (record, top), (_, parent) in zip(tops, parents, strict=True):
            top.record, parent.record = None, record
        tops = parents


def _mark_all(marks: list[Callable[[Element], None]], node: Element) -> None:
    for mark in marks:
        mark(node)


def _mark_record(number: int, node: Element) -> None:
    node.record = number


def _mark_field(name: str, where: str, node: Element) -> None:
    node.shows[name] = where


def _kinds(fields: Mapping[str, FieldTable]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, rule in fields.items():
        css = rule.css or ""
        if rule.type in ("price", "number", "date"):
            found[name] = rule.type
        elif rule.type == "url" or "attr(href)" in css or "attr(src)" in css:
            found[name] = "image" if "attr(src)" in css else "url"
        else:
            found[name] = "title" if name in TITLES else "text"
    return found
