"""Find the rule of one field: the place of its known values inside the elements of the items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from pipeline.crawl.extract.items import reader
from pipeline.crawl.extract.values import Convert, converter
from pipeline.crawl.mend.date_formats import formats_of
from pipeline.crawl.mend.field_fit import FieldFit, Holder, by_quality, measure
from pipeline.crawl.mend.field_places import (
    ISO,
    OWN_TEXT,
    TEXT,
    Place,
    new_rule,
    patterns_of,
    raw_values,
    reads_link,
    reads_text,
    source_cost,
)
from pipeline.crawl.mend.known_values import EMPTY, agrees, fold
from pipeline.crawl.mend.names import selectors_within
from pipeline.crawl.mend.page_tree import Element
from pipeline.crawl.mend.time_limit import TimeLimit
from pipeline.documents.document import Document
from pipeline.documents.regexes import RuleFailedError
from pipeline.model import Json
from pipeline.price import is_price
from pipeline.settings import FieldTable

_MAX_INSIDE = 1500
_SAMPLE = 12
_TRIED = 40
_MEASURED = 40
_FINALISTS = 4
_LONGEST_NUMBER = 160
_NOT_FIRST = 4.0
_STALE = 0.75
"""The share of the known values that a text must show to be preferred to an attribute, which may keep an old value."""


class FieldSearch:
    """Searches the places of one field's known values in the elements of the items.

    old: the rule whose conversion (type, default, regex …) the new rule takes over. holders: the items on the new pages.
    """

    def __init__(self, name: str, old: FieldTable, holders: Sequence[Holder], limit: TimeLimit) -> None:
        self._name = name
        self._old = old
        self._holders = holders
        self._limit = limit
        self._convert: dict[Place, Convert | None] = {}

    def best(self) -> FieldFit | None:
        """Return the rule that reproduces most known values; None if no place on the pages has them."""
        found = self._best_of(self._places_by_votes(self._with_value(self._holders)))
        return self._widened(found) if found is not None else None

    def _best_of(self, places: Sequence[tuple[Place, float]]) -> FieldFit | None:
        shown, hidden = (self._chosen([(rule, cost) for place, cost in places if (place.source in (TEXT, OWN_TEXT)) is is_text
                                       and (rule := new_rule(self._old, place)) is not None]) for is_text in (True, False))
        if shown is None or hidden is None:
            return shown or hidden
        if not reads_text(self._old):
            return by_quality([shown, hidden], len(self._holders))[0]
        if hidden.agree <= shown.agree:
            return shown
        return shown if shown.share >= _STALE and not self._is_shortened(shown.rule) else hidden

    def _chosen(self, rules: Sequence[tuple[FieldTable, float]]) -> FieldFit | None:
        """Return the best of several rules, each given with its cost."""
        if len(self._holders) > 2 * _MEASURED:  # on a long list, only rules that are good for some of its items are measured on all
            some = self._holders[::len(self._holders) // _MEASURED]
            rules = [(fit.rule, fit.cost) for fit in by_quality(self._fits(rules, some), len(some))[:_FINALISTS]]
        return next(iter(by_quality(self._fits(rules, self._holders), len(self._holders))), None)

    def _fits(self, rules: Sequence[tuple[FieldTable, float]], holders: Sequence[Holder]) -> list[FieldFit]:
        """Return how well the rules reproduce the known values of some items."""
        found = []
        for rule, cost in rules:
            self._limit.check()
            found.append(self._measured(rule, holders, cost))
        return found

    def _measured(self, rule: FieldTable, holders: Sequence[Holder], cost: float = 0.0) -> FieldFit:
        return measure(self._name, rule, holders, cost=cost, scopes=[holder.element.node for holder in holders])

    def _is_shortened(self, rule: FieldTable) -> bool:
        """Return whether a rule for a text gives the beginning of many known values: the page shows them shortened, with "…" at the end."""
        read = reader(self._name, rule, "lexbor")
        for holder in self._with_value(self._holders):
            found = read(holder.element.node, holder.document, [])
            known = holder.known[self._name] if holder.known is not None else None
            if isinstance(found, str) and isinstance(known, str) and found != known:
                beginning = fold(found).rstrip(".… ")
                if beginning and fold(known).startswith(beginning):
                    return True
        return False

    def _widened(self, found: FieldFit) -> FieldFit:
        """Return a rule with a second selector, if the values of several items are in another place, for example a warning of another class."""
        css = found.rule.css
        if css is None or "::" in css or found.of - found.agree < 2 or self._old.many or self._old.join is not None:
            return found
        missed = [holder for holder in self._with_value(self._holders)
                  if not self._measured(found.rule, [holder]).agree]
        best = found
        for place, cost in self._places_by_votes(missed):
            self._limit.check()
            if place.source != TEXT or place.pattern != (found.rule.regex or "") or place.form:
                continue
            rule = new_rule(self._old, place._replace(css=f"{css}, {place.css}"))
            fit = self._measured(rule, self._holders, found.cost + cost) if rule is not None else None
            if fit is not None and fit.wrong <= found.wrong and (fit.agree, -fit.cost) > (best.agree, -best.cost):
                best = fit
        return best if best.agree >= found.agree + 2 else found

    def _with_value(self, holders: Sequence[Holder]) -> list[Holder]:
        return [holder for holder in holders if holder.known is not None and holder.known.get(self._name) not in (*EMPTY, self._old.default)]

    def _places_by_votes(self, known: Sequence[Holder]) -> list[tuple[Place, float]]:
        """Return the places that most of the sampled items agree on, each with its cost. known: items whose value is known."""
        votes: Counter[Place] = Counter()
        costs: dict[Place, float] = {}
        for holder in _sample(known):
            self._limit.check()
            for place, cost in dict(self._candidates(holder)).items():
                votes[place] += 1
                costs[place] = min(cost, costs.get(place, cost))
        by_votes = sorted(votes, key=lambda place: (-votes[place], costs[place]))
        by_cost = sorted((place for place in votes if votes[place] > 1 or len(known) < 3), key=lambda place: (costs[place], -votes[place]))
        return [(place, costs[place]) for place in dict.fromkeys([*by_votes[:_TRIED], *by_cost[:_TRIED // 2]])]

    def _candidates(self, holder: Holder) -> Iterator[tuple[Place, float]]:
        """Yield the places that have the known value of one item."""
        assert holder.known is not None
        value, old = holder.known[self._name], self._old
        wanted = value if isinstance(value, list) and old.many else [value]
        if old.join is not None and isinstance(value, str):
            wanted = [part for part in value.split(old.join) if part] or [value]
        for one in wanted[:4]:
            for element, found, cost in self._places(holder, one):
                for css, own_cost in self._selectors(holder, element, many=len(wanted) > 1):
                    yield found._replace(css=css), own_cost + cost

    def _elements(self, holder: Holder) -> list[Element]:
        """Return the elements in which the values of an item are searched."""
        return holder.tree.within(holder.element, _MAX_INSIDE)

    def _selectors(self, holder: Holder, element: Element, *, many: bool) -> Iterator[tuple[str, float]]:
        """Yield selectors of an element inside an item, each with its cost. many: whether the field is a list of values."""
        for selector in selectors_within(holder.tree, holder.element, element)[:30]:
            if not many or ":nth-of-type" not in selector.css:
                is_first = many or _is_first(selector.css, holder, element)
                yield selector.css, selector.cost + (0.0 if is_first else _NOT_FIRST)

    def _places(self, holder: Holder, value: Json) -> Iterator[tuple[Element, Place, float]]:
        """Yield the elements that give a value, with the place, whose selector is still missing, and a cost."""
        tree, old = holder.tree, self._old
        inside = self._elements(holder)[::-1]  # inner elements first
        texts: list[Element] = []
        is_found = False
        for element in inside:
            # The number in the text of an outer element may be another one in other items: a title may contain a number, too.
            is_outer = old.type in ("number", "price") and any(element.contains(inner.at) for inner in texts)
            for source, raw in raw_values(tree, element):
                if is_outer and source in (TEXT, OWN_TEXT):
                    continue
                for place in self._as_before(source):
                    if self._gives(place, raw, holder.document, value):
                        if source in (TEXT, OWN_TEXT):
                            texts.append(element)
                        is_found = True
                        yield element, place, source_cost(old, source)
                        break
        if is_found or not isinstance(value, (str, dict)):
            return
        for element in inside:
            for source, raw in raw_values(tree, element):
                for place in self._cut_out(source, raw, value):
                    if self._gives(place, raw, holder.document, value):
                        yield element, place, source_cost(old, source) + (2.0 if place.pattern else 0.5)

    def _as_before(self, source: str) -> list[Place]:
        """Return the ways in which a raw value may be read that need no new regular expression."""
        ways = [Place("", source, pattern) for pattern in dict.fromkeys((self._old.regex or "", ""))]
        return [*ways, Place("", source, "", ISO)] if self._old.format is not None else ways

    def _cut_out(self, source: str, raw: str, value: Json) -> Iterator[Place]:
        """Yield the ways in which a value is read from a longer text, or a date in another format."""
        if self._old.type == "date":
            if isinstance(value, str):
                yield from (Place("", source, pattern, form) for form, pattern in formats_of(raw, value))
            return
        yield from (Place("", source, pattern) for pattern in patterns_of(raw, value))

    def _gives(self, place: Place, raw: str, document: Document, value: Json) -> bool:
        """Return whether a raw value, converted as the field is, is the known value."""
        old = self._old
        if old.type in ("number", "price"):
            if len(raw) > _LONGEST_NUMBER or not (any(map(str.isdigit, raw)) or is_price(value)):
                return False
        elif old.type in ("text", "raw") and isinstance(value, str) and len(raw) < len(value) / 2 and not reads_link(old):
            return False
        if place not in self._convert:
            rule = new_rule(old, place._replace(css="*"))
            self._convert[place] = converter(rule) if rule is not None else None
        convert = self._convert[place]
        try:
            found = convert(raw, document) if convert is not None else None
        except RuleFailedError:
            return False
        return found not in EMPTY and agrees(value, found, kind=old.type)


def _is_first(css: str, holder: Holder, element: Element) -> bool:
    """Return whether a selector finds an element first, and not after others that a rule would have to skip."""
    first = holder.element.node.css_first(css)
    return first is not None and first.mem_id == element.node.mem_id


def _sample(holders: Sequence[Holder]) -> Sequence[Holder]:
    step = max(1, len(holders) // _SAMPLE)
    return holders[::step][:_SAMPLE + 2]
