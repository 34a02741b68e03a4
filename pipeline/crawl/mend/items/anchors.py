"""Find where identifying values of known records occur on a page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.crawl.mend.known_values import KnownValues, fold
from pipeline.crawl.mend.page_tree import IGNORED_ATTRIBUTES, Element, PageTree
from pipeline.crawl.mend.time_limit import TimeLimit

_LONGEST_SENTENCE = 600
_STEP = 500
_LONGEST_WEAK = 20


@dataclass(frozen=True)
class Anchor:
    """A place on a page that has a value which only one known record has.

    at: the index of the element. record: the index of the record. field: the name of the field that has the value.
    """

    at: int
    record: int
    field: str


def find_anchors(tree: PageTree, known: KnownValues, limit: TimeLimit) -> list[Anchor]:
    """Return the anchors of a page: elements with a known text, or an attribute with a known value.

    If no element has exactly a known text, elements are searched whose text contains one.
    """
    found = [*_exact(tree, known, limit), *(_weak(tree, known, limit) if known.weak_owners else ())]
    linked = {anchor.record for anchor in found}
    inside = [anchor for anchor in _inside(tree, known, limit) if anchor.record not in linked] if len(linked) < 3 else []
    return found + inside


def _exact(tree: PageTree, known: KnownValues, limit: TimeLimit) -> Iterator[Anchor]:
    owners = known.owners
    for element in tree.elements:
        if element.at % _STEP == 0:
            limit.check()
        for text in tree.folded(element):
            owner = owners.get(text)
            if owner is not None:
                yield Anchor(element.at, *owner)


def _weak(tree: PageTree, known: KnownValues, limit: TimeLimit) -> list[Anchor]:
    """Return the anchors of short keys, in the texts or the attribute of those elements that have most of the keys."""
    groups: dict[tuple[str, str], list[Anchor]] = defaultdict(list)
    for element in tree.elements:
        if element.at % _STEP == 0:
            limit.check()
        text = tree.text_of(element).strip() if element.end - element.start <= _LONGEST_SENTENCE and not element.is_opaque else ""
        for name, value in (("", text), *element.attributes.items()):
            if value and name not in IGNORED_ATTRIBUTES and len(value) < _LONGEST_WEAK and (owner := known.weak_owners.get(fold(value))):
                groups[element.tag, name].append(Anchor(element.at, *owner))
    records = {place: len({anchor.record for anchor in anchors}) for place, anchors in groups.items()}
    most = max(records.values(), default=0)
    return [anchor for place, anchors in groups.items() if 2 * records[place] >= most for anchor in anchors]


def _inside(tree: PageTree, known: KnownValues, limit: TimeLimit) -> Iterator[Anchor]:
    for element in tree.elements:
        if element.at % _STEP == 0:
            limit.check()
        if element.is_opaque or element.end - element.start > _LONGEST_SENTENCE or _has_same_text_inside(tree, element):
            continue
        for words in known.in_words(fold(tree.text_of(element))):
            yield Anchor(element.at, words.record, words.field)


def _has_same_text_inside(tree: PageTree, element: Element) -> bool:
    """Return whether the element has no text outside of its first child element."""
    if element.last == element.at:
        return False
    child = tree.elements[element.at + 1]
    return tree.text_of(child).strip() == tree.text_of(element).strip()
