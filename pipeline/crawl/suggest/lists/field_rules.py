"""The rule of one field: where its elements are, and the type of their values."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from typing import Any

from selectolax.lexbor import LexborNode

from pipeline.crawl.suggest.lists.sibling_paths import xpath_of
from pipeline.crawl.suggest.lists.slots import BESIDE, INLINE, Record, Slot
from pipeline.crawl.suggest.lists.tree import Element
from pipeline.crawl.suggest.selectors import matches, names_of, selector_for, semantic_classes
from pipeline.crawl.suggest.value_types import (
    date_rule,
    looks_like_count,
    looks_like_date,
    looks_like_number,
    looks_like_price,
)

_DASHES = "-–—:·|,"
_MACHINE_ATTRIBUTES = {"meta": "content", "data": "value", "meter": "value"}
_DATE_ATTRIBUTES = ("datetime", "title", "content", "data-time", "data-date", "data-timestamp")
_NO_NUMBERS = ("id", "sku", "version", "title", "date")
_BARE_DATES = (r"\d\d?/\d\d?/\d{4} {1,2}\d\d?:\d\d [AP]M", r"\d\d-[A-Za-z]{3}-\d{4} \d\d:\d\d", r"\d{4}-\d\d-\d\d \d\d:\d\d(?::\d\d)?",
               r"\d{4}-[A-Za-z]{3}-\d\d \d\d:\d\d(?::\d\d)?", r"\d\d?[A-Z][a-z]{2}\d{4} +\d\d:\d\d", r"[A-Z][a-z]{2} +\d\d? +\d{4}",
               r"\d{4}-\d\d-\d\d")
SIZE_AT_END = r"(-|<?DIR>?|\d[\d.,]*\s?(?:[kKMGT]i?)?[Bb]?)\s*$"
"""The size of a file at the end of the text beside its name."""


def source_of(slot: Slot, elements: dict[int, Element], records: Sequence[Record]) -> dict[str, Any] | None:
    """Return the css or xpath key of a rule that finds the elements of a slot; None if there is no such rule.

    elements: the element to read in each record, by the number of the record.
    """
    if slot.key.startswith("+"):
        return xpath_of(slot, elements, records)
    (number, element), *_ = elements.items()
    rivals = [(record.head.node, elements[place].node if place in elements else None)
              for place, record in enumerate(records) if place != number]
    css = selector_for(element.node, records[number].head.node, rivals=rivals, share=0.85)
    return {"css": css} if css is not None else None


def attribute(source: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a rule for an attribute of the elements that a rule finds."""
    if "xpath" in source:
        return {"xpath": f"{source['xpath']}/@{name}"}
    return {"css": f"::attr({name})" if source["css"] == "*" else f"{source['css']}::attr({name})"}


def short(source: dict[str, Any]) -> Any:
    """Return a rule as a text if css or xpath is its only key and the text is read as the same rule."""
    if set(source) == {"css"} and not source["css"].lstrip("(").startswith(("/", "./")):
        return source["css"]
    return source["xpath"] if set(source) == {"xpath"} and source["xpath"].startswith(("/", "./")) else source


def typed_rule(slot: Slot, elements: dict[int, Element], records: Sequence[Record], name: str) -> tuple[str, Any] | None:
    """Return the kind of the values of a slot ("text", "date", "price", "number", "count") and its rule; None if it cannot be found.

    name: what the page calls the slot.
    """
    source = source_of(slot, elements, records)
    values = [value for value in slot.values() if value]
    if source is None:
        return None
    if slot.key in BESIDE:
        return _bare_text(source, values)
    for other in _DATE_ATTRIBUTES:
        stamps = [element.attributes.get(other) or "" for element in elements.values()]
        if all(stamps) and (dated := date_rule(stamps)) is not None:
            return "date", {**attribute(source, other), **dated}
    if machine := _MACHINE_ATTRIBUTES.get(next(iter(elements.values())).tag):
        source = attribute(source, machine)
    if (dated := date_rule(values, guess=True)) is not None and name not in ("id", "version"):
        return "date", {**source, **dated}
    if looks_like_price(values, named=name in ("price", "salary")) and not looks_like_date(values):
        return "price", {**source, "type": "price"}
    if looks_like_number(values) and name not in _NO_NUMBERS:
        return "number", {**source, "type": "number"}
    if looks_like_count(values) and not looks_like_date(values) and name not in (*_NO_NUMBERS, "size", "area"):
        return "count", {**source, "type": "number"}
    return "text", short(source)


def _bare_text(source: dict[str, Any], values: list[str]) -> tuple[str, Any] | None:
    """Return the rule for bare text beside an element, such as the date in an index of files."""
    for pattern in _BARE_DATES:
        dates = [match[0] for value in values if (match := re.search(pattern, value))]
        if len(dates) == len(values) and (dated := date_rule(dates)) is not None:
            return "date", {**source, "regex": pattern, **dated}
    dashes = sum(value[0] in _DASHES or value[-1] in _DASHES for value in values)
    if dashes >= 0.8 * len(values):
        source = {**source, "strip": _DASHES}
    return ("text", source) if statistics.median(map(len, values)) > 2 else None


def price_in_all(element: Element, records: Sequence[Record]) -> dict[str, Any] | None:
    """Return a rule for a price that is not at the same place in all records, because some also have a struck-out price; None if none."""
    for name in names_of(element.node):
        for css in (name, f":not(del) > {name}", f":not(s) > {name}"):
            found = [next(iter(matches(record.head.node, css)), None) for record in records]
            if all(node is not None and looks_like_price([node.text(deep=True)], named=False) and not _is_struck(node) for node in found):
                return {"css": css, "type": "price"}
    return None


def _is_struck(node: LexborNode) -> bool:
    above: LexborNode | None = node
    for _ in range(4):
        if above is None:
            return False
        if above.tag in ("del", "s", "strike"):
            return True
        above = above.parent
    return False


def outer(element: Element, record: Record) -> Element:
    """Return the element around a text that says more about it: a class, or a date in an attribute."""
    above = element.parent
    says = not element.length or bool(semantic_classes(element.classes)) or "datetime" in element.attributes
    if says or above is None or above is record.head or above in record.after or element is record.head or element in record.after \
            or above.length != element.length or above.tag in ("td", "th", "dd", "dt"):
        return element
    return above if semantic_classes(above.classes) or above.attributes.get("title") or above.attributes.get("datetime") else element


def readable(element: Element, record: Record) -> Element:
    """Return the element to read a text from: the link or heading around an inline element with the same text."""
    chosen = element
    while chosen.tag in INLINE and chosen.parent is not None and chosen is not record.head and chosen.parent is not record.head \
            and chosen.parent.length == chosen.length and not semantic_classes(chosen.classes):
        chosen = chosen.parent
    return chosen


def anchor_of(element: Element, record: Record) -> Element | None:
    """Return the link that an element is, is in, or contains first, within its record."""
    for one in (element, *element.ancestors()):
        if one.tag == "a" and one.attributes.get("href"):
            return one
        if one is record.head or one in record.after:
            break
    waiting = list(reversed(element.children))
    while waiting:
        inner = waiting.pop()
        if inner.tag == "a" and inner.attributes.get("href"):
            return inner
        waiting += reversed(inner.children)
    return None
