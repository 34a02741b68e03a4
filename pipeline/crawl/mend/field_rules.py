"""Find the rule of one field: the place of its known values inside the elements of the records, and how they are converted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from pydantic import ValidationError

from pipeline.crawl.extract.items import reader
from pipeline.crawl.extract.values import Convert, converter
from pipeline.crawl.mend.date_formats import formats_of
from pipeline.crawl.mend.known_values import EMPTY, agrees, fold, texts_of
from pipeline.crawl.mend.names import selectors_within
from pipeline.crawl.mend.page_tree import IGNORED_ATTRIBUTES, Element, PageTree
from pipeline.crawl.mend.time_limit import TimeLimit
from pipeline.documents.document import Document
from pipeline.documents.regexes import RuleFailedError
from pipeline.documents.selectors import Kind, Scope
from pipeline.model import Json
from pipeline.price import is_price
from pipeline.settings import FieldTable

_MAX_INSIDE = 1500
_SAMPLE = 12
_TRIED = 40
_MEASURED = 40
_FINALISTS = 4
_LONGEST_NUMBER = 160
_LONGEST = 100_000
_NOT_FIRST = 4.0
_STALE = 0.75
"""The share of the known values that a text must show to be preferred to an attribute, which may keep an old value."""
_KEPT_KEYS = ("default", "type", "format", "guess", "decimal", "currency", "join", "many", "required")
"""The keys of a rule that a new rule takes over unchanged."""
_TEXT, _OWN_TEXT = "text", "own text"
_ISO = "ISO"


class Place(NamedTuple):
    """Where a value is inside an element, and how it is cut out and read.

    source: the text of the matched element, the text directly in it, or the name of an attribute. pattern: a regular expression; "" if
    there is none. form: the format of a date; "" for the format of the present rule, and _ISO for none.
    """

    css: str
    source: str
    pattern: str
    form: str = ""


@dataclass(frozen=True)
class Holder:
    """An element that is one item on the new page. known: the stored data of the item; None if the item is not known."""

    tree: PageTree
    element: Element
    known: Mapping[str, Json] | None

    @property
    def document(self) -> Document:
        return self.tree.document


@dataclass(frozen=True)
class FieldFit:
    """A rule for one field, and how well it reproduces the known values.

    agree, of: the number of known values that the rule gives, and the number of known values that are not empty. wrong: how often it
    gives a value for a known item without one. failed: how often the rule fails or, for unknown items, is empty. cost: the cost of
    its selector.
    """

    rule: FieldTable
    agree: int
    of: int
    wrong: int = 0
    failed: int = 0
    cost: float = 0.0

    @property
    def share(self) -> float:
        return self.agree / self.of if self.of else 0.0


class KnownScope(Protocol):
    """A part of a page that is one item: an element or a JSON object. known: the stored data of the item, if it is known."""

    @property
    def document(self) -> Document: ...

    @property
    def known(self) -> Mapping[str, Json] | None: ...


def measure(name: str, rule: FieldTable, holders: Sequence[KnownScope], *, cost: float = 0.0,
            scopes: Sequence[Scope], kind: Kind = "lexbor") -> FieldFit:
    """Return how well a rule reproduces the known values of a field.

    scopes: the parts of the pages to which the rule is applied, one for each holder.
    """
    agree = of = wrong = failed = 0
    read = reader(name, rule, kind)
    for at, holder in enumerate(holders):
        problems: list[str] = []
        found = read(scopes[at], holder.document, problems)
        if holder.known is None or name not in holder.known:
            failed += bool(problems) or found in EMPTY
            continue
        known = holder.known[name]
        if known in EMPTY or known == rule.default:
            wrong += found not in EMPTY and found != rule.default
            continue
        of += 1
        failed += bool(problems)
        agree += not problems and agrees(known, found, kind=rule.type)
    return FieldFit(rule, agree, of, wrong, failed, cost)


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
        shown: list[FieldFit] = []
        hidden: list[FieldFit] = []
        for place, cost in places:
            self._limit.check()
            rule = new_rule(self._old, place)
            fit = self._measured(rule, cost) if rule is not None else None
            if fit is not None and fit.agree:
                (shown if place.source in (_TEXT, _OWN_TEXT) else hidden).append(fit)
        text, attribute = self._chosen(shown), self._chosen(hidden)
        if text is None or attribute is None:
            return text or attribute
        if not _reads_text(self._old):
            return self._chosen([*shown, *hidden])
        if attribute.agree <= text.agree:
            return text
        return text if text.share >= _STALE and not self._is_shortened(text.rule) else attribute

    def _measured(self, rule: FieldTable, cost: float) -> FieldFit:
        return measure(self._name, rule, self._holders, cost=cost, scopes=[holder.element.node for holder in self._holders])

    def _chosen(self, fits: Sequence[FieldFit]) -> FieldFit | None:
        """Return the rule that agrees best; among those that agree nearly as well, the one with the lowest cost."""
        if not fits:
            return None
        most = max(fit.agree - fit.wrong for fit in fits)
        near = [fit for fit in fits if fit.agree - fit.wrong >= most - int(most * 0.02)]
        fewest = min(fit.failed for fit in near)
        return min((fit for fit in near if fit.failed <= fewest + len(self._holders) * 0.02), key=lambda fit: fit.cost)

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
                  if not measure(self._name, found.rule, [holder], scopes=[holder.element.node]).agree]
        best = found
        for place, cost in self._places_by_votes(missed):
            self._limit.check()
            if place.source != _TEXT or place.pattern != (found.rule.regex or "") or place.form:
                continue
            rule = new_rule(self._old, place._replace(css=f"{css}, {place.css}"))
            fit = self._measured(rule, found.cost + cost) if rule is not None else None
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
                for selector in selectors_within(holder.tree, holder.element, element)[:30]:
                    if len(wanted) == 1 or ":nth-of-type" not in selector.css:
                        is_first = len(wanted) > 1 or _is_first(selector.css, holder, element)
                        yield found._replace(css=selector.css), selector.cost + cost + (0.0 if is_first else _NOT_FIRST)

    def _places(self, holder: Holder, value: Json) -> Iterator[tuple[Element, Place, float]]:
        """Yield the elements that give a value, with the place, whose selector is still missing, and a cost."""
        tree, old = holder.tree, self._old
        inside = tree.within(holder.element, _MAX_INSIDE)[::-1]  # inner elements first
        found = False
        for element in inside:
            for source, raw in _raw_values(tree, element):
                for place in self._as_before(source):
                    if self._gives(place, raw, holder.document, value):
                        found = True
                        yield element, place, _source_cost(old, source)
                        break
        if found or not isinstance(value, (str, dict)):
            return
        for element in inside:
            for source, raw in _raw_values(tree, element):
                for place in self._cut_out(source, raw, value):
                    if self._gives(place, raw, holder.document, value):
                        yield element, place, _source_cost(old, source) + (2.0 if place.pattern else 0.5)

    def _as_before(self, source: str) -> list[Place]:
        """Return the ways in which a raw value may be read that need no new regular expression."""
        ways = [Place("", source, pattern) for pattern in dict.fromkeys((self._old.regex or "", ""))]
        return [*ways, Place("", source, "", _ISO)] if self._old.format is not None else ways

    def _cut_out(self, source: str, raw: str, value: Json) -> Iterator[Place]:
        """Yield the ways in which a value is read from a longer text, or a date in another format."""
        if self._old.type == "date":
            if isinstance(value, str):
                yield from (Place("", source, pattern, form) for form, pattern in formats_of(raw, value))
            return
        yield from (Place("", source, pattern) for pattern in _patterns(raw, value))

    def _gives(self, place: Place, raw: str, document: Document, value: Json) -> bool:
        """Return whether a raw value, converted as the field is, is the known value."""
        old = self._old
        if old.type in ("number", "price"):
            if len(raw) > _LONGEST_NUMBER or not (any(map(str.isdigit, raw)) or is_price(value)):
                return False
        elif old.type in ("text", "raw") and isinstance(value, str) and len(raw) < len(value) / 2 and not _reads_link(old):
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


def _by_quality(fits: Sequence[FieldFit], items: int) -> list[FieldFit]:
    """Return the rules that give known values, the best first: of those that agree and fail about equally often, the simplest."""
    most = max((fit.agree - fit.wrong for fit in fits), default=0)
    near = [fit for fit in fits if fit.agree and fit.agree - fit.wrong >= most - int(most * 0.02)]
    fewest = min((fit.failed for fit in near), default=0)

    def rank(fit: FieldFit) -> tuple[bool, bool, float]:
        is_near = fit.agree - fit.wrong >= most - int(most * 0.02)
        return not is_near, fit.failed > fewest + items * 0.02, fit.cost

    return sorted((fit for fit in fits if fit.agree), key=rank)


def _is_first(css: str, holder: Holder, element: Element) -> bool:
    """Return whether a selector finds an element first, and not after others that a rule would have to skip."""
    first = holder.element.node.css_first(css)
    return first is not None and first.mem_id == element.node.mem_id


def _sample(holders: Sequence[Holder]) -> Sequence[Holder]:
    step = max(1, len(holders) // _SAMPLE)
    return holders[::step][:_SAMPLE + 2]


def _source_cost(old: FieldTable, source: str) -> float:
    selector = old.css or old.xpath or ""
    from_attribute = "::attr" in selector or "@" in selector
    if source == _TEXT:
        return 0.3 if from_attribute else 0.0
    if source == _OWN_TEXT:
        return 0.6
    return (0.0 if source in ("href", "src", "datetime", "content") else 0.4) + (0.0 if from_attribute else 0.8) + (
        1.0 if source in ("alt", "id", "srcset") else 0.0)


def _raw_values(tree: PageTree, element: Element) -> Iterator[tuple[str, str]]:
    """Yield the values of an element as a rule reads them: its text, the text directly in it, and its attributes."""
    if not element.is_opaque and element.end - element.start <= _LONGEST:
        text = tree.text_of(element)
        if text.strip():
            yield _TEXT, text
            if element.last != element.at:
                own = next((piece for child in element.node.iter(include_text=True)
                            if child.is_text_node and (piece := child.text_content or "").strip()), "")
                if own and own != text:
                    yield _OWN_TEXT, own
    for name, value in element.attributes.items():
        if value.strip() and name not in IGNORED_ATTRIBUTES:
            yield name, value


def new_rule(old: FieldTable, place: Place) -> FieldTable | None:
    """Return a rule for a new place that converts its matches as the old rule does; None if the settings do not allow it."""
    css, source, pattern, form = place
    table = {key: value for key in _KEPT_KEYS if key in old.model_fields_set and (value := getattr(old, key)) is not None}
    if old.type == "text" and (source in ("href", "src") or _reads_link(old)):
        table["type"] = "url" if source not in ("href", "src") else "text"
        if not _reads_link(old) and source in ("href", "src"):
            return None  # the field is a text; a link attribute would be made absolute
        if table["type"] == "text":
            del table["type"]
    end = "" if source == _TEXT else "::text" if source == _OWN_TEXT else f"::attr({source})"
    table["css"] = (css if css != "*" or not end else "") + end if end else css
    if pattern:
        table["regex"] = pattern
    if form:
        table.pop("guess", None)
        table["format"] = form
    if form == _ISO:
        del table["format"]
    if old.strip is not None:
        table["strip"] = old.strip
    try:
        return FieldTable.model_validate(table)
    except ValidationError:
        return None


def _reads_text(rule: FieldTable) -> bool:
    selector = rule.css or rule.xpath or ""
    return "::attr" not in selector and "@" not in selector


def _reads_link(rule: FieldTable) -> bool:
    return re.search(r"::attr\((?:href|src)\)|@(?:href|src)\b", rule.css or rule.xpath or "") is not None


def _patterns(raw: str, value: Json) -> Iterator[str]:
    """Yield regular expressions that cut a known text out of a longer text."""
    line = " ".join(raw.split())
    for text in (" ".join(known.split()) for known in texts_of(value)):
        if len(line) > 1000 or len(text) < 2 or text == line:
            continue
        at = line.find(text)
        if at < 0:
            continue
        before, after = line[:at], line[at + len(text):]
        start = _escaped(_tail(before))
        end = _escaped(_head(after))
        yield (rf"{start}\s*(.+?)" if start else r"^\s*(.+?)") + (rf"\s*{end}" if end else r"\s*$")


def _tail(before: str) -> str:
    match = re.search(r"[^\W\d_]*\W*$", before)
    return match[0] if match else ""


def _head(after: str) -> str:
    match = re.match(r"\W*[^\W\d_]*", after)
    return match[0] if match else ""


def _escaped(text: str) -> str:
    return r"\s*".join(re.escape(part) for part in text.split())

