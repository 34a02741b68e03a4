"""XPath for values beside the element of a record.

In the row after it, in the <dd> after a <dt>, in bare text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.crawl.suggest.lists.slots import TEXT_AFTER, TEXT_BEFORE, Record, Slot
from pipeline.crawl.suggest.lists.tree import Element
from pipeline.crawl.suggest.selectors import semantic_classes


def xpath_of(slot: Slot, elements: dict[int, Element], records: Sequence[Record]) -> dict[str, Any] | None:
    """Return the xpath key of a rule for a slot beside the records' elements; None if the slot is at no fixed place.

    elements: the elements to read, by the number of their record.
    """
    if slot.key == TEXT_AFTER:
        return {"xpath": "./following-sibling::text()[1]"}
    if slot.key == TEXT_BEFORE:
        return {"xpath": "./preceding-sibling::text()[1]"}
    number, element = next(iter(elements.items()))
    record = records[number]
    top = next((beside for beside in record.after if beside is element or beside.at < element.at <= beside.at + beside.size), None)
    if top is None:
        return None
    start = f"./following-sibling::*[{record.after.index(top) + 1}][self::{top.tag}]"
    if top is element:
        return {"xpath": start}
    return {"xpath": start + (_by_class(element) or _by_path(element, top))}


def _by_class(element: Element) -> str:
    name = next(iter(semantic_classes(element.classes)), "")
    return f"//{element.tag}[contains(concat(' ', @class, ' '), ' {name} ')]" if name else ""


def _by_path(element: Element, top: Element) -> str:
    steps = []
    one: Element | None = element
    while one is not None and one is not top:
        same = [beside for beside in (one.parent.children if one.parent else []) if beside.tag == one.tag]
        steps.append(f"{one.tag}[{same.index(one) + 1}]" if len(same) > 1 else one.tag)
        one = one.parent
    return "/" + "/".join(reversed(steps))
