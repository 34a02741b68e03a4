"""Find the elements that contain one known record each, and the selector `each` that matches them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from selectolax.lexbor import SelectolaxError

from pipeline.crawl.mend.items.anchors import Anchor
from pipeline.crawl.mend.known_values import KnownValues
from pipeline.crawl.mend.names import Name, names_of
from pipeline.crawl.mend.page_tree import Element, PageTree
from pipeline.crawl.mend.time_limit import TimeLimit
from pipeline.crawl.suggest.selectors import IDENTIFIER, is_generated

_MANY = -1
_NOBODY = -2
_MAX_LEVELS = 15
_SAMPLE = 40
_TRIED = 60
_KEPT = 12
_MAX_STEPS = 8
_MAX_INSIDE = 300


@dataclass
class AnchoredPage:
    """A page with its anchors, and the record that each element belongs to.

    owner: for each element the record whose anchors are inside the element; _MANY if several records have anchors there, _NOBODY if
    none has.
    """

    tree: PageTree
    anchors: list[Anchor]
    owner: list[int] = field(default_factory=list)
    _texts: dict[int, frozenset[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.owner = [_NOBODY] * len(self.tree.elements)
        for anchor in self.anchors:
            for element in self.tree.above(self.tree.elements[anchor.at]):
                held = self.owner[element.at]
                if held in (anchor.record, _MANY):
                    break  # its ancestors contain the same record, or several
                self.owner[element.at] = anchor.record if held == _NOBODY else _MANY

    def levels(self, anchor: Anchor) -> list[Element]:
        """Return the element of an anchor and those ancestors that contain no other record, from the inside to the outside."""
        found = []
        for element in self.tree.above(self.tree.elements[anchor.at]):
            if self.owner[element.at] != anchor.record or element.tag in ("html", "body"):
                break
            found.append(element)
        return found[-_MAX_LEVELS:]

    def record_in(self, element: Element) -> int | None:
        """Return the record whose anchors are inside an element; None if there is none, or more than one."""
        held = self.owner[element.at]
        return held if held >= 0 else None

    def texts_in(self, element: Element) -> frozenset[str]:
        """Return the folded texts of an element and its descendants, and their attributes, links as absolute URLs."""
        known = self._texts.get(element.at)
        if known is None:
            known = self._texts[element.at] = frozenset(self._read(element))
        return known

    def _read(self, element: Element) -> Iterator[str]:
        for inner in self.tree.within(element, _MAX_INSIDE):
            yield from self.tree.folded(inner)

    def around(self, elements: Sequence[Element]) -> Element | None:
        """Return the lowest element that contains all given elements; None if there are none."""
        if not elements:
            return None
        first, last = min(element.at for element in elements), max(element.last for element in elements)
        return next((above for above in self.tree.above(self.tree.elements[first]) if above.last >= last), None)

    def is_shared(self, element: Element) -> bool:
        """Return whether an element contains anchors of several records."""
        return self.owner[element.at] == _MANY


@dataclass(frozen=True)
class Each:
    """A selector whose matches each contain at most one known record.

    records: the number of records that have a match of their own. keyed: in how many of them the values of the key occur. matches: the number of matches on all pages. shared: the number of
    matches that contain several records. outside: the number of
    matches outside of the part of their page that contains all matches with a record. fields: the average number of fields whose stored value occurs in the match.
    """

    css: str
    cost: float
    records: int
    matches: int
    shared: int
    repeated: int
    fields: float
    keyed: int
    outside: int

    def score(self, *, by_key: bool) -> float:
        return (self.keyed if by_key else self.records) - 2.0 * self.shared - 1.0 * self.repeated - 0.1 * self.outside


def find_each(pages: Sequence[AnchoredPage], known: KnownValues, limit: TimeLimit) -> list[Each]:
    """Return selectors for `each`, the best first."""
    counts = _candidates(pages, known)
    ranked = sorted(counts, key=lambda name: (-counts[name], name.cost))[:_TRIED * 2]
    measured = [each for name in ranked if (each := measure(name, pages, known, limit)) is not None and each.records]
    if not measured:
        return []
    by_key = max(each.keyed for each in measured) > max(each.records for each in measured) / 2
    scores = {each.css: each.score(by_key=by_key) for each in measured}
    best = max(scores.values())
    good = [each for each in measured if scores[each.css] >= 0.8 * best and scores[each.css] > 0]
    most = max((each.fields for each in good), default=0.0)
    return sorted(good, key=lambda each: (-round(each.fields / max(most, 0.01), 1), -round(scores[each.css] / max(best, 0.01), 1),
                                          each.outside, each.cost))[:_KEPT]


def _candidates(pages: Sequence[AnchoredPage], known: KnownValues) -> dict[Name, int]:
    """Return selectors of the elements that contain one record, each with the number of records that it would match."""
    matched: dict[Name, set[int]] = defaultdict(set)
    for page in pages:
        sampled: Counter[int] = Counter()
        for anchor in page.anchors:
            if len(sampled) >= _SAMPLE and anchor.record not in sampled:
                continue
            sampled[anchor.record] += 1
            if sampled[anchor.record] > 6:
                continue
            for element in page.levels(anchor):
                for name in _selectors(page.tree, element):
                    matched[name].add(anchor.record)
    return {name: len(records) for name, records in matched.items()}


def _selectors(tree: PageTree, element: Element) -> Iterator[Name]:
    own = [name for name in names_of(element, position=False) if not name.css.startswith("#")][:6]
    yield from own
    above = list(islice(tree.above(element), 1, 4))
    for step, outer in enumerate(above):
        for name in names_of(outer, position=False)[:3]:
            for inner in own[:2] if step else own[:3]:
                if step == 0:
                    yield Name(f"{name.css} > {inner.css}", name.cost + inner.cost + 0.3)
                elif name.css != outer.tag:
                    yield Name(f"{name.css} {inner.css}", name.cost + inner.cost + 0.4 + 0.2 * step)
    yield from _paths(tree, element)


def _paths(tree: PageTree, element: Element) -> Iterator[Name]:
    """Yield selectors by the path of tags from <body> or an element with an id, also with the position of the list in its parent."""
    steps = list(islice(tree.above(element), 1, _MAX_STEPS))
    path, placed = element.tag, element.tag
    for depth, step in enumerate(steps):
        own_id = step.attributes.get("id", "")
        start = step.tag if step.tag in ("body", "main") else f"#{own_id}" if IDENTIFIER.fullmatch(own_id) else ""
        if start:
            cost = 5.0 + 0.5 * depth + (2.0 if is_generated(own_id) else 0.0)
            if start != "body":
                yield Name(f"{start} {element.tag}", cost - 1.0)
            yield Name(f"{start} > {path}", cost)
            yield Name(f"{start} > {placed}", cost + 1.5)
            return
        if not IDENTIFIER.fullmatch(step.tag):
            return
        path, placed = f"{step.tag} > {path}", f"{step.tag}:nth-of-type({step.position}) > {placed}"


def measure(name: Name, pages: Sequence[AnchoredPage], known: KnownValues, limit: TimeLimit) -> Each | None:
    """Return how well the matches of a selector contain one record each; None if the selector cannot be applied."""
    found: set[int] = set()
    keyed: set[int] = set()
    matches = shared = repeated = counted = fields = outside = 0
    for page in pages:
        limit.check()
        try:
            nodes = page.tree.document.lexbor.css(name.css)
        except SelectolaxError:
            return None
        here: set[int] = set()
        elements = [element for node in nodes if (element := page.tree.element_of(node)) is not None]
        around = page.around([element for element in elements if page.record_in(element) is not None])
        outside += sum(not around.contains(element.at) for element in elements) if around is not None else 0
        for element in elements:
            matches += 1
            if page.is_shared(element):
                shared += 1
            elif (record := page.record_in(element)) is not None:
                repeated += record in here
                here.add(record)
                counted += 1
                inside = known.fields_in(record, page.texts_in(element))
                fields += len(inside)
                if known.key <= inside:
                    keyed.add(record)
        found |= here
    return Each(name.css, name.cost, len(found), matches, shared, repeated, fields / max(1, counted), len(keyed), outside)

