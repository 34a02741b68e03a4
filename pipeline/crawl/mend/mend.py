"""Derive new rules for a spider whose site has changed its markup, from the values that are stored.

The stored values (titles, prices, URLs) are searched in the new pages. The elements that contain one known item each become the
matches of `each`, and the places of the values inside them become the rules of the fields. A proposal must give the stored items
again, with their keys, when the engine applies it to the pages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.crawl.mend.html_items import HtmlItems, known_by_key
from pipeline.crawl.mend.known_values import EMPTY, KnownValues
from pipeline.crawl.mend.mending import Mending
from pipeline.crawl.mend.time_limit import OutOfTimeError, TimeLimit
from pipeline.crawl.mend.verify import Outcome, apply_rules
from pipeline.documents.document import Document
from pipeline.model import Json
from pipeline.settings import ItemsTable, SpiderTable
from pipeline.text import counted

_WORKS = 0.8
_MIN_KEYS_SHARE = 0.6
_MIN_KEYS = 3
_MIN_KNOWN_SHARE = 0.2
_PER_PAGE = 20
_SHOWN = 5


def mend(table: SpiderTable, pages: Sequence[Document], known: Sequence[Mapping[str, Json]]) -> Mending:
    """Return a proposal for the rules of a spider that no longer work, or the reason why there is none.

    table: the spider. pages: pages of the site as they are now, on which items were found before. known: the data of stored items.
    """
    if table.items is None or not table.items.fields:
        return Mending({}, "the spider has no rules for items", is_needed=False)
    if not known:
        return Mending({}, "no item is stored yet, so there are no known values to look for", is_needed=False)
    if not pages:
        return Mending({}, "no page could be fetched", is_needed=False, known=len(known))
    try:
        return _Search(table.items, pages, known, TimeLimit(len(pages))).result()
    except OutOfTimeError:
        return Mending({}, "the search was stopped at its time limit, because the pages are too large", is_needed=True, known=len(known))


class _Search:
    def __init__(self, table: ItemsTable, pages: Sequence[Document], known: Sequence[Mapping[str, Json]], limit: TimeLimit) -> None:
        self._table = table
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
        if self._works(present):
            return self._mending({}, "the rules still work", present, is_needed=False)
        candidates = []
        html = HtmlItems(self._table, self._pages, self._known, self._limit)
        if html.records:
            for table, changes, lost in html.tables():
                outcome = apply_rules(table, self._identity, self._pages, self._by_key)
                problem = self._problem(outcome, len(html.records), lost) if changes else "nothing differs from the present rules"
                each = changes.get("each", "the present `each`")
                self._tried.append(f"{each}: {problem or 'agrees'}")
                if not problem:
                    candidates.append((table, changes, lost, outcome))
        else:
            self._tried.append(f"the {counted(len(self._pages), 'page')} have none of the values of {counted(len(self._known.records), 'known item')}")
        better = [entry for entry in candidates if entry[3].agreeing > present.agreeing]
        if not better:
            return self._mending({}, self._why(html), present, is_needed=True)
        table, changes, lost, outcome = max(better, key=lambda entry: self._quality(entry[3]))
        notes = [f"no rule was found for {name}: its known values are not on the pages" for name in lost]
        return self._mending({"items": changes}, "", outcome, is_needed=True, notes=notes)

    def _quality(self, outcome: Outcome) -> float:
        """Return a figure that is higher the more known values agree and the fewer items look different."""
        return outcome.agreeing - 3.0 * outcome.repeated - 0.5 * outcome.rejected + 0.01 * len(outcome.rows)

    def _works(self, outcome: Outcome) -> bool:
        if not outcome.keys or not outcome.alike_all:
            return False
        return all(not entry.of or entry.agree / entry.of >= _WORKS / 2 for entry in outcome.agreement)

    def _problem(self, outcome: Outcome, anchored: int, lost: Sequence[str]) -> str:
        """Return why rules cannot be proposed; "" if they can."""
        if not outcome.keys:
            return "no extracted item has a stored key"
        if self._table.each is not None and len(outcome.keys) < self._fewest:
            return f"only {counted(len(outcome.keys), 'extracted item')} of {len(outcome.rows)} have a stored key"
        if len(outcome.keys) < _MIN_KEYS_SHARE * anchored:
            return (f"only {len(outcome.keys)} of the {anchored} known items that are on the pages keep their key "
                    f"({', '.join(self._identity)})")
        if outcome.repeated > 0.1 * len(outcome.rows):
            return f"{counted(outcome.repeated, 'item')} have the key of another item of the same page"
        if outcome.rejected > 0.3 * (len(outcome.rows) + outcome.rejected):
            return f"{counted(outcome.rejected, 'item')} would be rejected"
        for name in outcome.fields:
            if name not in lost and not outcome.alike(name):
                return f"items that are not stored yet have no {name}"
        return ""

    def _why(self, html: HtmlItems) -> str:
        known, pages = counted(len(self._known.records), "known item"), counted(len(self._pages), "page")
        if not html.records:
            return (f"the {pages} have none of the values of the {known}: they may be other pages, a login page, or pages that build "
                    "their content with JavaScript")
        return f"the {pages} have values of {len(html.records)} of the {known}, but no rules were found that give these items with their keys"

    def _mending(self, changes: dict[str, Any], reason: str, outcome: Outcome, *, is_needed: bool, notes: Sequence[str] = ()) -> Mending:
        shown = outcome.samples[:_SHOWN] if changes else []
        return Mending(changes, reason, is_needed, agreement=outcome.agreement, pages=outcome.pages, known=len(self._known.records),
                       tried=tuple(self._tried), notes=tuple(notes), before=tuple(
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
