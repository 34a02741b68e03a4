"""Find the rule of a field whose values are in the elements after an item's, such as a <dd>."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

from pipeline.crawl.extract.items import reader
from pipeline.crawl.mend.fields.field_fit import FieldFit, Holder, measure
from pipeline.crawl.mend.fields.field_rules import FieldSearch
from pipeline.crawl.mend.page_tree import Element
from pipeline.crawl.mend.time_limit import TimeLimit
from pipeline.crawl.suggest.selectors import IDENTIFIER, is_generated
from pipeline.documents.selectors import Scope
from pipeline.settings import FieldTable

_MOST_SIBLINGS = 4
_MAX_INSIDE = 200
_COST = 2.0


class SiblingSearch(FieldSearch):
    """Searches the known values of a field in the siblings that follow the element of an item, up to the next item.

    CSS cannot select such an element from the item, so the rules are XPath. scopes: the elements of the items as parsel selectors.
    """

    def __init__(self, name: str, old: FieldTable, holders: Sequence[Holder], limit: TimeLimit, scopes: Sequence[Scope]) -> None:
        super().__init__(name, old, holders, limit)
        self._scope_of = {id(holder): scope for holder, scope in zip(holders, scopes, strict=True)}
        self._starts = {(id(holder.tree), holder.element.at) for holder in holders}

    def _measured(self, rule: FieldTable, holders: Sequence[Holder], cost: float = 0.0) -> FieldFit:
        return measure(self._name, rule, holders, cost=cost, scopes=[self._scope_of[id(holder)] for holder in holders], kind="parsel")

    def _texts(self, rule: FieldTable, holders: Sequence[Holder]) -> list[str]:
        read = reader(self._name, rule, "parsel")
        return [str(read(self._scope_of[id(holder)], holder.document, []) or "") for holder in holders]

    def _elements(self, holder: Holder) -> list[Element]:
        return [inner for sibling, _ in self._siblings(holder) for inner in holder.tree.within(sibling, _MAX_INSIDE)]

    def _siblings(self, holder: Holder) -> Iterator[tuple[Element, int]]:
        """Yield the elements that follow an item, each with its number among those of its tag."""
        numbers: Counter[str] = Counter()
        tree, at = holder.tree, holder.element.last + 1
        while at < len(tree.elements) and sum(numbers.values()) < _MOST_SIBLINGS:
            sibling = tree.elements[at]
            if sibling.parent != holder.element.parent or (id(tree), at) in self._starts or not IDENTIFIER.fullmatch(sibling.tag):
                return
            numbers[sibling.tag] += 1
            yield sibling, numbers[sibling.tag]
            at = sibling.last + 1

    def _selectors(self, holder: Holder, element: Element, *, many: bool) -> Iterator[tuple[str, float]]:
        for sibling, number in self._siblings(holder):
            if not sibling.contains(element.at):
                continue
            start = f"./following-sibling::{sibling.tag}[{number}]"
            if sibling.at == element.at:
                yield start, _COST
                return
            yield from ((f"{start}//{step}", cost + _COST) for step, cost in _steps(element))
            path = list(islice(holder.tree.above(element, below=sibling.at), 6))
            if all(IDENTIFIER.fullmatch(part.tag) for part in path):
                yield f"{start}/" + "/".join(f"{part.tag}[{part.position}]" for part in reversed(path)), _COST + 4.0 + len(path)
            return


def _steps(element: Element) -> Iterator[tuple[str, float]]:
    """Yield XPath steps that match an element, each with its cost."""
    if not IDENTIFIER.fullmatch(element.tag):
        return
    for name in element.attributes.get("class", "").split()[:6]:
        if IDENTIFIER.fullmatch(name):
            yield f"{element.tag}[contains(concat(' ', normalize-space(@class), ' '), ' {name} ')]", 6.0 if is_generated(name) else 1.0
    for name in element.attributes:
        if name in ("itemprop", "datetime") or (name.startswith("data-") and IDENTIFIER.fullmatch(name)):
            yield f"{element.tag}[@{name}]", 1.5
    yield element.tag, 2.0
