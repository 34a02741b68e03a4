"""What a search for new rules found: the proposed changes, how well they agree with stored values, and what was tried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.crawl.mend.verify import Agreement
from pipeline.model import Json
from pipeline.settings import ItemsTable, SelectorTable
from pipeline.settings.edit import GROUPS
from pipeline.settings.edit import merged as with_changes
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
    agree. known: the number of known items. tried: one sentence for each search. before, after: the same items as they are stored
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
        pages = f"known values agree on {counted(self.pages, 'page')} only, and {MIN_PAGES_FOR_AUTO} are needed"
        share = f"only {int(100 * self.share)} % of the known values agree, and {100 * MIN_SHARE_FOR_AUTO:.0f} % are needed"
        return "; ".join([*([pages] if self.pages < MIN_PAGES_FOR_AUTO else []), *([share] if self.share < MIN_SHARE_FOR_AUTO else []), *self.notes])

    @property
    def agreement_line(self) -> str:
        """The agreement as a line: "title 38 of 40, price 36 of 40 known values agree on 3 pages"."""
        parts = [f"{entry.field} {entry.agree} of {entry.of}" for entry in self.agreement if entry.of]
        return f"{', '.join(parts)} known values agree on {counted(self.pages, 'page')}" if parts else "no known value agrees"


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


def merged(table: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a spider's table, as TOML has it, with the changes of a proposal made to it."""
    return with_changes(table, changes, GROUPS)
