"""What a search for new rules found.

The proposed changes, how well they agree with stored values, and what was tried.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.crawl.mend.verify import Agreement
from pipeline.model import Json
from pipeline.settings import ItemsTable, SelectorTable
from pipeline.text import counted

MIN_SHARE_FOR_AUTO = 0.95
"""The share of the known values that must agree before new rules are applied without a person."""
MIN_PAGES_FOR_AUTO = 3
"""The number of pages on which known values must agree before new rules are applied without a person."""


@dataclass(frozen=True)
class Candidate:
    """Rules for items that may be proposed.

    table: the rules. changes: the changed keys of `items`. dropped: the fields whose known values are not on the pages any more.
    problems: why these rules cannot be proposed.
    """

    table: ItemsTable
    changes: dict[str, Any]
    dropped: list[str]
    problems: list[str]


@dataclass(frozen=True)
class Mending:
    """The result of a search for new rules.

    changes: the changed keys of the spider's table, as TOML has them; nested tables contain only their changed keys. {} means that
    there is no proposal; then `reason` says why. is_needed: whether a rule no longer works. agreement: for each field, how many of
    the known values the proposed rules (or the present ones, if they still work) give again. pages: on how many pages known values
    agree. known: the number of known items. on_pages: how many of them have values on the pages. found: how many of them the rules give
    again, by their keys. tried: one sentence for each search. before, after: the same items as they are stored
    and as the proposed rules extract them, at most five.
    """

    changes: dict[str, Any]
    reason: str
    is_needed: bool
    agreement: tuple[Agreement, ...] = ()
    pages: int = 0
    known: int = 0
    tried: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    before: tuple[dict[str, Json], ...] = ()
    after: tuple[dict[str, Json], ...] = ()
    found: int = 0
    on_pages: int = 0

    @property
    def share(self) -> float:
        """The share of the known values that agree."""
        of = sum(entry.of for entry in self.agreement)
        return sum(entry.agree for entry in self.agreement) / of if of else 0.0

    @property
    def is_sure(self) -> bool:
        """Whether enough known values agree to apply the changes without a person, and there is nothing to note about them."""
        return bool(self.changes) and not self.why_not_sure

    @property
    def why_not_sure(self) -> str:
        """Why a person must decide about the changes; "" if nothing speaks against them."""
        return "; ".join([*self._links_to_check(), *self._lost(), *(self._few_pages() or self._fields_that_differ()), *self.notes])

    def _links_to_check(self) -> list[str]:
        items = self.changes.get("items", {})
        names = [*(name for name in ("follow", "download") if name in self.changes), *(["details.link"] if "link" in items.get("details", {}) else [])]
        return [f"a person must check where the links of {' and '.join(names)} lead"] if names else []

    def _lost(self) -> list[str]:
        if self.found >= MIN_SHARE_FOR_AUTO * self.on_pages:
            return []
        return [f"only {self.found} of the {self.on_pages} known items on the pages are found, and {_percent(MIN_SHARE_FOR_AUTO)} are needed"]

    def _few_pages(self) -> list[str]:
        if self.pages >= MIN_PAGES_FOR_AUTO:
            return []
        return [f"known values agree on {counted(self.pages, 'page')} only, and {MIN_PAGES_FOR_AUTO} are needed"]

    def _fields_that_differ(self) -> list[str]:
        """Return what is wrong with each changed field. If `each` changes, all fields of the list are read from other places."""
        items = self.changes.get("items", {})
        changed, of_details = items.get("fields", {}), items.get("details", {}).get("fields", {})
        is_all = "each" in items or "watch" in self.changes
        entries = [entry for entry in self.agreement if (entry.field in of_details if entry.is_details else entry.field in changed or (is_all and entry.of))]
        found = []
        for entry in entries:
            needed = 1.0 if entry.is_details else MIN_SHARE_FOR_AUTO
            share = entry.agree / entry.of if entry.of else 0.0
            if share < needed:
                found.append(f"only {_percent(share)} of the known values of {entry.field} agree, and {_percent(needed)} are needed")
            elif entry.pages < MIN_PAGES_FOR_AUTO:
                found.append(f"known values of {entry.field} agree on {counted(entry.pages, 'page')} only, and {MIN_PAGES_FOR_AUTO} are needed")
        return found

    @property
    def agreement_line(self) -> str:
        """The agreement as a line: "title 38 of 40, price 36 of 40 known values agree on 3 pages"."""
        parts = [f"{entry.field} {entry.agree} of {entry.of}" for entry in self.agreement if entry.of]
        return f"{', '.join(parts)} known values agree on {counted(self.pages, 'page')}" if parts else "no known value agrees"


def _percent(share: float) -> str:
    return f"{int(100 * share)} %"


def written(rule: SelectorTable) -> str | dict[str, Any]:
    """Return a rule as TOML has it: a text if it is only a selector, else a table."""
    found: dict[str, Any] = {}
    for name, info in type(rule).model_fields.items():
        if name in rule.model_fields_set and (value := getattr(rule, name)) is not None and name not in ("fields", "each"):
            found[info.alias or name] = list(value) if isinstance(value, tuple) else value
    for only in ("css", "xpath"):
        if set(found) == {only}:
            return str(found[only])
    return found
