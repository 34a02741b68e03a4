"""What a page calls a value: its itemprop, the heading of its column, a label beside it, its class."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice

from pipeline.crawl.suggest.lists.columns import column_of
from pipeline.crawl.suggest.lists.slots import Record, Slot
from pipeline.crawl.suggest.lists.tree import Element
from pipeline.crawl.suggest.names import known
from pipeline.crawl.suggest.selectors import semantic_classes
from pipeline.crawl.suggest.value_types import looks_like_number

_LABEL = re.compile(r"[^\W\d_][^\d]*\Z")
_LONGEST_LABEL = 24


def said_of(slot: Slot, element: Element, records: Sequence[Record], headers: dict[int, str]) -> list[str]:
    """Return what the page calls a slot, the best source first.

    element: the element that is read in the first record; headers: the headings of the columns.
    """
    said = (element.attributes.get("itemprop") or "").split()
    said += [headers.get(column_of(slot), ""), _label(slot)]
    heads = {record.head.at for record in records}
    for one in (element, *islice(element.ancestors(), 2)):
        if one.at in heads:
            break
        if one.length > element.length:
            said += _of_parent(one, element)
            break
        said += [one.attributes.get("data-label") or "", one.attributes.get("data-title") or ""]
        said += [*semantic_classes(one.classes), *(one.attributes.get("itemprop") or "").split()]
    said += ["date"] if element.tag == "time" else []
    return [text for text in said if text]


def _of_parent(parent: Element, element: Element) -> list[str]:
    """Return the usual names in the classes of an element around several values, for the first of these values."""
    first = next((inner for inner in parent.children if inner.length), None)
    if first is None or not first.at <= element.at <= first.at + first.size:
        return []
    return [name for name in semantic_classes(parent.classes) if known(name) not in ("", "title", "description")]


def _label(slot: Slot) -> str:
    """Return the text beside a value that is the same in each record, such as "votes" or "Price:"; "" if there is none."""
    before, after = set(), set()
    for _, element in slot.firsts():
        siblings = element.parent.children if element.parent is not None else []
        before.add(_label_text(siblings[element.nth - 2]) if element.nth > 1 else "")
        after.add(_label_text(siblings[element.nth]) if element.nth < len(siblings) else "")
    own = slot.values()
    for texts, is_possible in ((before, True), (after, looks_like_number(own))):
        if len(texts) == 1 and is_possible and _LABEL.match(text := next(iter(texts))) and text not in own:
            return text
    return ""


def _label_text(element: Element) -> str:
    is_label = element.tag not in ("a", "td", "th", "button") and element.length <= _LONGEST_LABEL
    return element.whole_text.strip(" :.") if is_label else ""
