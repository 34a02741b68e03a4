"""Derive new rules for the items of HTML pages.

`each` from the elements of known records, and the rules of the fields.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from selectolax.lexbor import SelectolaxError

from pipeline.crawl.extract.rules import link_finder
from pipeline.crawl.item_data import RejectedItemError, item_key
from pipeline.crawl.mend.fields.field_fit import FieldFit, Holder, measure
from pipeline.crawl.mend.fields.field_rules import FieldSearch
from pipeline.crawl.mend.items.anchors import find_anchors
from pipeline.crawl.mend.items.containers import AnchoredPage, find_each
from pipeline.crawl.mend.items.sibling_fields import SiblingSearch
from pipeline.crawl.mend.items.unlike_rows import unlike, without
from pipeline.crawl.mend.known_values import KnownValues, fold, texts_of
from pipeline.crawl.mend.mending import Candidate, written
from pipeline.crawl.mend.names import selectors_within
from pipeline.crawl.mend.page_tree import PageTree
from pipeline.crawl.mend.time_limit import TimeLimit
from pipeline.documents.document import Document
from pipeline.documents.regexes import RuleFailedError
from pipeline.documents.selectors import kind_for, parts, root
from pipeline.model import Json
from pipeline.settings import FieldTable, ItemsTable, SelectorTable

_MOST_EACH = 4
_KEEPS = 0.8
_MANY_UNLIKE = 0.05
_UNLIKE = "its other matches are not like the known items, and no selector leaves them out"
_BEHIND = 40
_NEAR = 0.3
_LINKED = 0.7
_SAMPLE = 30
_MAX_INSIDE = 400
_TRIED = 30
_FOUND = 0.5
_MISTAKEN = 0.1
"""The share of the items in which a rule may give the value of another field: its position depends on fields that some items lack."""
"""The share of the known values that a new rule must give. Some values may have changed since they were stored."""


class HtmlItems:
    """The known records on HTML pages, and tables of rules that extract them."""

    where = "elements of the pages"

    def __init__(self, table: ItemsTable, documents: Sequence[Document], known: KnownValues, limit: TimeLimit,
                 links: Collection[str] = ()) -> None:
        """Find the records on the pages. links: the URLs of pages that were fetched before, for `details.link`."""
        self._links = frozenset(links)
        self._table = table
        self._known = known
        self._limit = limit
        self.pages: list[AnchoredPage] = []
        for document in documents:
            tree = PageTree(document)
            self.pages.append(AnchoredPage(tree, find_anchors(tree, known, limit)))
        self.records = {anchor.record for page in self.pages for anchor in page.anchors}

    def tables(self) -> Iterator[Candidate]:
        """Yield rules for the items, those that agree best first."""
        if self._table.each is None:
            yield self._with_fields(self._whole_pages(), None)
            return
        for each in self._each_rules():
            holders = self._holders(each)
            if any(holder.known is not None for holder in holders):
                yield self._without_unlike_rows(holders, each)

    def _without_unlike_rows(self, holders: Sequence[Holder], each: SelectorTable) -> Candidate:
        """Return the rules for the items, with an `each` that leaves out rows which are unlike the known items, if there are such rows."""
        found = self._with_fields(holders, each)
        unlikes = unlike(holders, found.table.fields)
        if len(unlikes) < max(2, _MANY_UNLIKE * len(holders)):
            return found
        narrower = without(each.css or "", holders, unlikes)
        if narrower is None:
            return replace(found, problems=[*found.problems, _UNLIKE])
        rule = SelectorTable(css=narrower)
        return self._with_fields(self._holders(rule), rule)

    def _each_rules(self) -> Iterator[SelectorTable]:
        """Yield rules for `each`: the present rule if it still works, then new ones."""
        assert self._table.each is not None
        present = self._table.each
        if present.css is not None and "::" not in present.css and self._is_good(present):
            yield present
        for found in find_each(self.pages, self._known, self._limit)[:_MOST_EACH]:
            if found.css != present.css:
                yield SelectorTable(css=found.css)

    def _is_good(self, each: SelectorTable) -> bool:
        held = [holder for holder in self._holders(each) if holder.known is not None]
        return len(held) >= _KEEPS * len(self.records)

    def _holders(self, each: SelectorTable) -> list[Holder]:
        found = []
        for page in self.pages:
            try:
                nodes = page.tree.document.lexbor.css(each.css or "")
            except SelectolaxError:
                return []
            for node in nodes:
                element = page.tree.element_of(node)
                if element is not None:
                    record = page.record_in(element)
                    found.append(Holder(page.tree, element, self._known.records[record] if record is not None else None))
        return found

    def _whole_pages(self) -> list[Holder]:
        """Return each page as one item: the record of most of its anchors."""
        found = []
        for page in self.pages:
            votes = Counter(record for record, _ in {(anchor.record, anchor.field) for anchor in page.anchors})
            best = votes.most_common(2)
            is_clear = bool(best) and (len(best) == 1 or best[0][1] > best[1][1])
            if page.tree.elements:
                found.append(Holder(page.tree, page.tree.elements[0], self._known.records[best[0][0]] if is_clear else None))
        return found

    def _with_fields(self, holders: Sequence[Holder], each: SelectorTable | None) -> Candidate:
        fields: dict[str, FieldTable] = {}
        changed: dict[str, Any] = {}
        dropped: list[str] = []
        problems: list[str] = []
        for name, rule in self._table.fields.items():
            self._limit.check()
            new, works = self._field(name, rule, holders, each)
            fields[name] = new
            if not works and self._is_near(name, holders):
                problems.append(f"the known values of {name} are on the pages, but no rule gives them")
            elif not works:
                dropped.append(name)
            if new is not rule:
                changed[name] = written(new)
        changes: dict[str, Any] = {}
        if each is not None and each is not self._table.each:
            changes["each"] = written(each)
        if changed:
            changes["fields"] = changed
        if self._table.details is not None and each is not None:
            link, works = self._details_link(self._table.details.link, holders)
            if link is not self._table.details.link:
                changes["details"] = {"link": written(link)}
            if not works:
                problems.append("no link to the details pages was found in its matches")
        return Candidate(self._table.model_copy(update={"each": each, "fields": fields}), changes, dropped, problems)

    def _is_near(self, name: str, holders: Sequence[Holder]) -> bool:
        """Return whether known values of a field are in their items, or between an item and the next one; links anywhere on the pages."""
        known = found = 0
        for holder, following in zip(holders, [*holders[1:], None], strict=True):
            values = {fold(text) for text in texts_of(holder.known.get(name))} if holder.known is not None else set()
            if not values or holder.known is None or holder.known.get(name) == self._table.fields[name].default:
                continue
            known += 1
            last = holder.element.last
            if self._table.each is not None:
                limit = following.element.at - 1 if following is not None and following.tree is holder.tree else last + _BEHIND
                last = max(last, min(limit, last + _BEHIND, len(holder.tree.elements) - 1))
            inside = holder.tree.elements[holder.element.at:min(last + 1, holder.element.at + _MAX_INSIDE)]
            text = fold(holder.tree.text[holder.element.start:max(holder.element.end, inside[-1].end)])
            found += any(len(value) > 2 and value in text for value in values) or any(
                not values.isdisjoint(holder.tree.folded(element)) for element in inside)
        return known > 0 and (found >= _NEAR * known or self._are_linked(name, holders))

    def _are_linked(self, name: str, holders: Sequence[Holder]) -> bool:
        """Return whether most known values of a field are URLs that the pages link to: they may be outside of the items."""
        links = {fold(value) for holder in holders if holder.known is not None and isinstance(value := holder.known.get(name), str)
                 and "://" in value[:9]}
        if not links:
            return False
        there = {text for page in self.pages for element in page.tree.elements for text in page.tree.folded(element)}
        return len(links & there) >= _LINKED * len(links)

    def _details_link(self, present: SelectorTable, holders: Sequence[Holder]) -> tuple[SelectorTable, bool]:
        """Return the rule for the link to the details page of an item, and whether it works."""
        best = self._linked(present, holders)
        if best >= _KEEPS:
            return present, True
        votes: Counter[str] = Counter()
        costs: dict[str, float] = {}
        for holder in holders[:_SAMPLE]:
            wanted = self._links | {value for value in (holder.known or {}).values() if isinstance(value, str) and "://" in value[:9]}
            for element in holder.tree.within(holder.element, _MAX_INSIDE):
                if element.tag == "a" and holder.document.absolute(element.attributes.get("href", "")) in wanted:
                    for name in selectors_within(holder.tree, holder.element, element)[:20]:
                        votes[name.css] += 1
                        costs[name.css] = min(name.cost, costs.get(name.css, name.cost))
        found = present
        for css in sorted(votes, key=lambda css: (-votes[css], costs[css]))[:_TRIED]:
            self._limit.check()
            rule = SelectorTable(css=css)
            if (share := self._linked(rule, holders)) > best + 0.01:
                found, best = rule, share
        return found, best >= _FOUND

    def _linked(self, rule: SelectorTable, holders: Sequence[Holder]) -> float:
        """Return the share of the items in which a rule finds a link to a page that was fetched before, or any link if none is known."""
        if rule.xpath is not None:
            return 0.0
        found = link_finder(rule, "lexbor")
        known = [holder for holder in holders if holder.known is not None]
        hits = 0
        for holder in known:
            link = next((holder.document.absolute(link) for link in found(holder.element.node, holder.document)), "")
            hits += bool(link) and (not self._links or link in self._links)
        return hits / len(known) if known else 0.0

    def _field(self, name: str, rule: FieldTable, holders: Sequence[Holder], each: SelectorTable | None) -> tuple[FieldTable, bool]:
        """Return the rule for a field, and whether it works: the present rule if it does, else a new one if there is one."""
        if rule.fields or rule.page is not None or rule.header is not None:
            return rule, True
        present = self._present(name, rule, holders, each)
        if present is not None and (not present.of or present.share >= _KEEPS) and not (present.wrong > 0.2 * len(holders)):
            return rule, True
        found = FieldSearch(name, rule, holders, self._limit).best()
        if (found is None or found.share < _FOUND) and each is not None and (scopes := _parsel_scopes(holders, each)):
            found = SiblingSearch(name, rule, holders, self._limit, scopes).best()
        if found is None or found.share < _FOUND or found.mistaken > _MISTAKEN * len(holders) or (present is not None and found.agree <= present.agree * 1.1):
            return rule, present is not None and present.share >= _FOUND
        return found.rule, True

    def _present(self, name: str, rule: FieldTable, holders: Sequence[Holder], each: SelectorTable | None) -> FieldFit | None:
        """Return how well the present rule of a field still works; None if it cannot be applied to the new items."""
        kind = kind_for([rule, *([each] if each is not None else [])])
        if kind != "parsel":
            return measure(name, rule, holders, scopes=[holder.element.node for holder in holders])
        scopes = _parsel_scopes(holders, each)
        return measure(name, rule, holders, scopes=scopes, kind=kind) if scopes else None


def _parsel_scopes(holders: Sequence[Holder], each: SelectorTable | None) -> list[Any]:
    """Return the elements of the items as parsel selectors; [] if `each` does not match the same number of elements there."""
    scopes: list[Any] = []
    try:
        for document in dict.fromkeys(holder.document for holder in holders):
            scopes += parts(each, "parsel")[1](root(document, "parsel"), document) if each is not None else [root(document, "parsel")]
    except RuleFailedError:
        return []
    return scopes if len(scopes) == len(holders) else []


def known_by_key(known: KnownValues, key: Sequence[str]) -> Mapping[str, Mapping[str, Json]]:
    """Return the known records by their key."""
    found: dict[str, Mapping[str, Json]] = {}
    for record in known.records:
        try:
            found[item_key(dict(record), tuple(key))] = record
        except RejectedItemError:
            continue
    return found
