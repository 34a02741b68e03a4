"""Find the rule of one field: the place of its known values inside the elements of the items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from pipeline.crawl.extract.items import reader
from pipeline.crawl.extract.values import Convert, converter
from pipeline.crawl.mend.fields.date_formats import formats_of
from pipeline.crawl.mend.fields.field_fit import FieldFit, Holder, by_quality, measure
from pipeline.crawl.mend.fields.field_places import (
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
from pipeline.crawl.mend.fields.mixed_text import has_other_words, other_texts, with_numbers
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
_MIXED = 1.0
_FEW_MIXED = 0.1
"""The share of the items in which the text of a rule for one field may hold other fields."""
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
        return next((fit for fit in by_quality(self._fits(rules, self._holders), len(self._holders)) if self._is_safe(fit.rule)), None)

    def _fits(self, rules: Sequence[tuple[FieldTable, float]], holders: Sequence[Holder]) -> list[FieldFit]:
        """Return how well the rules reproduce the known values of some items."""
        found = []
        for rule, cost in rules:
            self._limit.check()
            found.append(self._measured(rule, holders, cost))
        return found

    def _measured(self, rule: FieldTable, holders: Sequence[Holder], cost: float = 0.0) -> FieldFit:
        return measure(self._name, rule, holders, cost=cost, scopes=[holder.element.node for holder in holders])

    def _is_safe(self, rule: FieldTable) -> bool:
        """Return whether a rule cannot take its value from the text of another field, which the text that it reads may hold."""
        is_number = rule.type in ("number", "price")
        if rule.many or rule.join is not None or not (is_number or rule.regex):
            return True
        self._limit.check()
        holders, raws, mixed = self._with_value(self._holders), [], 0
        selector = {"css": rule.css} if rule.css is not None else {"xpath": rule.xpath}
        for holder, raw in zip(holders, self._texts(FieldTable.model_validate(selector), holders), strict=True):
            if raw:
                raws.append(raw)
                mixed += not self._is_told_apart(holder, Place("", TEXT, rule.regex or ""), raw, other_texts(self._name, holder, None, raw))
        return mixed <= _FEW_MIXED * len(raws) and not (is_number and not rule.regex and has_other_words(raws))

    def _texts(self, rule: FieldTable, holders: Sequence[Holder]) -> list[str]:
        """Return the texts that a rule reads in some items."""
        read = reader(self._name, rule, "lexbor")
        return [str(read(holder.element.node, holder.document, []) or "") for holder in holders]

    def _is_told_apart(self, holder: Holder, place: Place, raw: str, others: Sequence[str]) -> bool:
        """Return whether the value at a place is the same if the texts of other fields in the raw value contain numbers, too."""
        if not others:
            return True
        if not place.pattern:
            return self._old.type not in ("number", "price")
        value = holder.known[self._name] if holder.known is not None else None
        if not self._gives(place, raw, holder.document, value):
            return True  # the value has changed, so it cannot be compared
        return all(self._gives(place, text, holder.document, value) for text in with_numbers(raw, others))

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
            if fit is not None and fit.wrong <= found.wrong and (fit.agree, -fit.cost) > (best.agree, -best.cost) and self._is_safe(fit.rule):
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
                is_text = source in (TEXT, OWN_TEXT)
                if is_outer and is_text:
                    continue
                for place in self._as_before(source):
                    if not self._gives(place, raw, holder.document, value):
                        continue
                    others = self._others(holder, element, source, raw)
                    if self._is_told_apart(holder, place, raw, others):
                        texts += [element] if is_text else []
                        is_found = True
                        yield element, place, source_cost(old, source) + (_MIXED if others else 0.0)
                        break
        if is_found or not (isinstance(value, (str, dict)) or old.type == "number"):
            return
        for element in inside:
            yield from self._cut_places(holder, element, value)

    def _cut_places(self, holder: Holder, element: Element, value: Json) -> Iterator[tuple[Element, Place, float]]:
        """Yield the places in one element from whose longer text a new regular expression, or a new date format, cuts a value."""
        for source, raw in raw_values(holder.tree, element):
            others: list[str] | None = None
            for place in self._cut_out(source, raw, value):
                if self._gives(place, raw, holder.document, value):
                    others = self._others(holder, element, source, raw) if others is None else others
                    if self._is_told_apart(holder, place, raw, others):
                        yield element, place, source_cost(self._old, source) + (2.0 if place.pattern else 0.5) + (_MIXED if others else 0.0)

    def _others(self, holder: Holder, element: Element, source: str, raw: str) -> list[str]:
        return other_texts(self._name, holder, element if source == TEXT else None, raw) if source in (TEXT, OWN_TEXT) else []

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
        yield from (Place("", source, pattern) for pattern in patterns_of(raw, value, is_number=self._old.type == "number"))

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
