"""Derive new rules for a spider whose site has changed its markup, from the values that are stored.

The stored values (titles, prices, URLs) are searched in the new pages. The elements that contain one known item each become the
matches of `each`, and the places of the values inside them become the rules of the fields. A proposal must give the stored items
again, with their keys, when the engine applies it to the pages.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipeline.crawl.mend.items.html_items import HtmlItems, known_by_key
from pipeline.crawl.mend.items.json_items import JsonItems
from pipeline.crawl.mend.known_values import EMPTY, KnownValues, fold, texts_of
from pipeline.crawl.mend.link_rules import mend_links
from pipeline.crawl.mend.mending import Candidate, Mending
from pipeline.crawl.mend.page_tree import PageTree
from pipeline.crawl.mend.time_limit import OutOfTimeError, TimeLimit
from pipeline.crawl.mend.verify import Outcome, apply_rules
from pipeline.crawl.mend.watch_part import mend_watch
from pipeline.documents.document import Document
from pipeline.model import Json
from pipeline.settings import ItemsTable, SpiderTable
from pipeline.settings.edit import merged
from pipeline.text import counted, shown_url

_WORKS = 0.8
_MIN_KEYS_SHARE = 0.6
_MIN_KEYS = 3
_MIN_KNOWN_SHARE = 0.4
_PER_PAGE = 12
_SHOWN = 5


def mend(table: SpiderTable, pages: Sequence[Document], known: Sequence[Mapping[str, Json]], *,
         links: Mapping[str, Collection[str]] | None = None) -> Mending:
    """Return a proposal for the rules of a spider that no longer work, or the reason why there is none.

    table: the spider. pages: pages of the site as they are now, on which items were found before. known: the data of stored items.
    links: the URLs of the pages and files that were fetched before, for the keys "follow" and "download".
    """
    if not pages:
        return Mending({}, "no page could be fetched", is_needed=False, known=len(known))
    limit = TimeLimit(len(pages))
    try:
        if table.spider == "watch":
            return mend_watch(table.watch, pages, known, limit)
        items = _mend_items(table, pages, known, links or {}, limit)
        if items.is_needed and not items.changes:
            return items
    except OutOfTimeError:
        return Mending({}, "the search was stopped at its time limit, because the pages are too large", is_needed=True, known=len(known))
    try:
        changes, notes = mend_links(_with_items(table, items.changes), [PageTree(document) for document in pages], links or {}, TimeLimit(len(pages)))
    except OutOfTimeError:
        changes, notes = {}, ["the rules of links were not checked, because the pages are too large"]
    if not changes:
        return replace(items, notes=(*items.notes, *notes)) if items.changes else items
    tried = tuple(f"{key}: {', '.join(map(str, rules))}: leads to pages that were fetched before" for key, rules in changes.items())
    return replace(items, changes={**items.changes, **changes}, reason="", is_needed=True, tried=(*items.tried, *tried), notes=(*items.notes, *notes))


def _with_items(table: SpiderTable, changes: Mapping[str, Any]) -> SpiderTable:
    """Return the spider's table with the proposed changes of `items`."""
    if table.items is None or "items" not in changes:
        return table
    new = ItemsTable.model_validate(merged(table.items.model_dump(by_alias=True, exclude_unset=True), changes["items"]))
    return table.model_copy(update={"items": new})


def _mend_items(table: SpiderTable, pages: Sequence[Document], known: Sequence[Mapping[str, Json]], links: Mapping[str, Collection[str]],
                limit: TimeLimit) -> Mending:
    if table.items is None or not table.items.fields:
        return Mending({}, "the spider has no rules for items", is_needed=False)
    if not known:
        return Mending({}, "no item is stored yet, so there are no known values to look for", is_needed=False)
    return _Search(table.items, pages, known, links, limit).result()


class _Search:
    def __init__(self, table: ItemsTable, pages: Sequence[Document], known: Sequence[Mapping[str, Json]],
                 links: Mapping[str, Collection[str]], limit: TimeLimit) -> None:
        self._table = table
        self._links = links.get("follow", ())
        self._pages = pages
        self._limit = limit
        self._identity = identity_of(table, known)
        self._known = KnownValues(known, self._identity)
        self._by_key = known_by_key(self._known, self._identity)
        self._tried: list[str] = []

    @property
    def _fewest(self) -> float:
        """The number of known items that rules for a list must give: a few of them may be on any page, as recommendations."""
        known = len(self._by_key)
        return max(min(_MIN_KEYS, known), _MIN_KNOWN_SHARE * min(known, _PER_PAGE * len(self._pages)))

    def result(self) -> Mending:
        present = apply_rules(self._table, self._identity, self._pages, self._by_key)
        html = HtmlItems(self._table, self._pages, self._known, self._limit, self._links)
        if self._works(present, len(html.records)):
            return self._mending({}, "the rules still work", present, len(html.records), is_needed=False)
        data = JsonItems(self._table, self._pages, self._known, self._limit)
        anchored = max(len(html.records), data.records)
        candidates = self._candidates(html, len(html.records)) or self._candidates(data, data.records)
        better = [entry for entry in candidates if entry[1].agreeing > present.agreeing]
        if not better:
            return self._mending({}, self._why(anchored), present, anchored, is_needed=True)
        best, outcome = max(better, key=lambda entry: self._quality(entry[1]))
        notes = [f"no rule was found for {name}: its known values were not found on the pages" for name in best.dropped]
        return self._mending({"items": best.changes}, "", outcome, anchored, is_needed=True, notes=notes)

    def _candidates(self, source: HtmlItems | JsonItems, anchored: int) -> list[tuple[Candidate, Outcome]]:
        """Return the rules that may be proposed, each with its outcome."""
        found: list[tuple[Candidate, Outcome]] = []
        try:
            for candidate in source.tables() if anchored else ():
                outcome = apply_rules(candidate.table, self._identity, self._pages, self._by_key)
                problem = next(self._problems(candidate, outcome, anchored), "") if candidate.changes else "nothing differs from the present rules"
                self._tried.append(f"{candidate.changes.get('each', 'the present `each`')}: {problem or 'agrees'}")
                if not problem:
                    found.append((candidate, outcome))
        except OutOfTimeError:
            if not found:
                raise
            self._tried.append("no further rules were tried, because of the time limit")
        if not anchored:
            self._tried.append(f"none of the values of {counted(len(self._known.records), 'known item')} is in the {source.where}")
        return found

    def _quality(self, outcome: Outcome) -> float:
        """Return a figure that is higher the more known values agree and the fewer items look different."""
        return outcome.agreeing - 3.0 * outcome.repeated - 0.5 * outcome.rejected

    def _works(self, outcome: Outcome, anchored: int) -> bool:
        if not outcome.keys or len(outcome.keys) < _WORKS * anchored or not outcome.alike_all:
            return False
        return all(not entry.of or entry.agree / entry.of >= _WORKS / 2 for entry in outcome.agreement)

    def _problems(self, candidate: Candidate, outcome: Outcome, anchored: int) -> Iterator[str]:
        """Yield why rules cannot be proposed."""
        rows, keys, dropped = len(outcome.rows), len(outcome.keys), candidate.dropped
        yield from candidate.problems
        if not keys:
            yield "no extracted item has a stored key"
        if self._table.each is not None and keys < self._fewest:
            yield f"only {keys} of {counted(rows, 'extracted item')} have a stored key"
        if keys < _MIN_KEYS_SHARE * anchored:
            yield f"only {keys} of the {anchored} known items that are on the pages keep their key ({', '.join(self._identity)})"
        usual = [name for name in outcome.fields if self._is_usual(name)]
        if len([name for name in dropped if name in usual]) > len(usual) / 2:
            yield f"no rule was found for most fields: {', '.join(dropped)}"
        if outcome.repeated > 0.1 * rows:
            yield f"{counted(outcome.repeated, 'item')} have the key of another item of the same page"
        if outcome.rejected > 0.3 * (rows + outcome.rejected):
            yield f"{counted(outcome.rejected, 'item')} would be rejected"
        yield from (f"items that are not stored yet have no {name}" for name in outcome.fields if name not in dropped and not outcome.alike(name))

    def _is_usual(self, name: str) -> bool:
        """Return whether most known items have a field."""
        return 2 * sum(record.get(name) not in EMPTY for record in self._known.records) > len(self._known.records)

    def _why(self, anchored: int) -> str:
        """Return why there is no proposal. anchored: the number of known items that have values on the pages."""
        known, number = counted(len(self._known.records), "known item"), len(self._pages)
        have = f"the {counted(number, 'page')} {'has' if number == 1 else 'have'}"
        if not anchored and any(document.lexbor.css_first("input[type=password]") is not None for document in self._pages):
            return f"{have} none of the values of the {known}, but a form with a password: it is a login page; `pipeline login` logs in again"
        if not anchored:
            they = "it may be another page" if number == 1 else "they may be other pages"
            return f"{have} none of the values of the {known}: {they}, a login page, or built with JavaScript"
        why = f"{have} values of {anchored} of the {known}, but no rules were found that give these items with their keys"
        lost = self._lost_key()
        return f"{why}{lost}" if lost else why

    def _lost_key(self) -> str:
        """Return the next step if no page has a stored value of the key any more: the site has other URLs, for example; "" otherwise."""
        values = {fold(text) for record in self._known.records for name in self._identity for text in texts_of(record.get(name))}
        if not values or any(not values.isdisjoint(tree.folded(element)) for tree in map(PageTree, self._pages) for element in tree.elements):
            return ""
        names, start = ", ".join(self._identity), self._pages[0].url
        what = "the site has changed its URLs" if "url" in self._identity else "the site has changed these values"
        return (f": no stored {names} is on the pages, so {what}; choose another `key`, "
                f"or accept that all items are new and write new rules with `pipeline suggest {shown_url(start)}`")

    def _mending(self, changes: dict[str, Any], reason: str, outcome: Outcome, anchored: int, *, is_needed: bool, notes: Sequence[str] = ()) -> Mending:
        shown = outcome.samples[:_SHOWN] if changes else []
        return Mending(changes, reason, is_needed, agreement=outcome.agreement, pages=outcome.pages, known=len(self._known.records),
                       found=len(outcome.keys), on_pages=anchored, tried=tuple(self._tried), notes=tuple(notes), before=tuple(
                           {name: self._by_key[key].get(name) for name in outcome.fields} for key, _ in shown),
                       after=tuple(row for _, row in shown))


def identity_of(table: ItemsTable, known: Sequence[Mapping[str, Json]]) -> tuple[str, ...]:
    """Return the fields of a listing page that identify an item: its key, or the field whose values differ most."""
    names = set(table.fields)
    key = table.key or (("url",) if any(record.get("url") for record in known) else ())
    if key and set(key) <= names:
        return tuple(key)
    texts = {name: {value for record in known if isinstance(value := record.get(name), str) and value not in EMPTY}
             for name in table.fields}
    best = max(texts, key=lambda name: len(texts[name]), default="")
    return (best,) if best else ()
