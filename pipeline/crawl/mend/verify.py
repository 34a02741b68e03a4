"""Apply rules to the new pages with the engine, and compare what they extract with the stored items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.crawl.extract import ItemRules
from pipeline.crawl.item_data import RejectedItemError, as_json, item_key
from pipeline.crawl.mend.known_values import EMPTY, agrees
from pipeline.documents.document import Document
from pipeline.model import Json
from pipeline.price import same
from pipeline.settings import ItemsTable


@dataclass(frozen=True)
class Agreement:
    """How many known values of one field the rules give again.

    of: the number of known values, of the items that the rules find again. pages: the number of pages on which known values agree.
    is_details: whether it is a field of details pages, each of which has one value.
    """

    field: str
    agree: int
    of: int
    pages: int
    is_details: bool = False


@dataclass
class Outcome:
    """What rules extract from the new pages.

    rows: the items. known_rows: the items with a stored key. keys: the stored keys that were found. pages: on how many pages.
    repeated: items whose key another, different item of the same page has. filled: how many of the items that are not known have each field.
    """

    fields: tuple[str, ...]
    rows: list[dict[str, Json]] = field(default_factory=list)
    known_rows: int = 0
    keys: set[str] = field(default_factory=set)
    pages: int = 0
    rejected: int = 0
    repeated: int = 0
    agree: dict[str, int] = field(default_factory=dict)
    of: dict[str, int] = field(default_factory=dict)
    agreeing_pages: dict[str, int] = field(default_factory=dict)
    filled_known: dict[str, int] = field(default_factory=dict)
    filled_new: dict[str, int] = field(default_factory=dict)
    samples: list[tuple[str, dict[str, Json]]] = field(default_factory=list)

    @property
    def agreement(self) -> tuple[Agreement, ...]:
        return tuple(Agreement(name, self.agree.get(name, 0), self.of.get(name, 0), self.agreeing_pages.get(name, 0)) for name in self.fields)

    @property
    def agreeing(self) -> int:
        return sum(self.agree.values())

    @property
    def share(self) -> float:
        """The share of the known values that agree, of all fields together."""
        total = sum(self.of.values())
        return self.agreeing / total if total else 0.0

    @property
    def new_rows(self) -> int:
        return len(self.rows) - self.known_rows

    def alike(self, name: str) -> bool:
        """Return whether items that are not known have a field about as often as known items."""
        if self.new_rows < 3 or not self.known_rows:
            return True
        return self.filled_new.get(name, 0) / self.new_rows >= 0.5 * self.filled_known.get(name, 0) / self.known_rows

    @property
    def alike_all(self) -> bool:
        return all(self.alike(name) for name in self.fields)


def apply_rules(table: ItemsTable, key: tuple[str, ...], documents: Sequence[Document],
                known: Mapping[str, Mapping[str, Json]]) -> Outcome:
    """Extract the items of documents with the rules of a table, and compare them with the known items, which are given by key."""
    fields = tuple(table.fields)
    outcome = Outcome(fields)
    rules = ItemRules(table.fields, table.each)
    for document in documents:
        extracted = rules.extract(document)
        outcome.rejected += len(extracted.rejected)
        here: dict[str, dict[str, Json]] = {}
        has_known = False
        agreed = dict(outcome.agree)
        for data in extracted.items:
            try:
                plain = as_json(data)
                name = item_key(plain, key)
            except RejectedItemError:
                outcome.rejected += 1
                continue
            outcome.repeated += name in here and not same(here[name], plain)
            here[name] = plain
            outcome.rows.append(plain)
            stored = known.get(name)
            if stored is not None:
                has_known = True
                outcome.known_rows += 1
                if name not in outcome.keys:
                    outcome.keys.add(name)
                    outcome.samples.append((name, plain))
            _compare(outcome, table, plain, stored)
        outcome.pages += has_known
        for name, count in outcome.agree.items():
            outcome.agreeing_pages[name] = outcome.agreeing_pages.get(name, 0) + (count > agreed.get(name, 0))
    return outcome


def _compare(outcome: Outcome, table: ItemsTable, found: Mapping[str, Json], stored: Mapping[str, Json] | None) -> None:
    filled = outcome.filled_new if stored is None else outcome.filled_known
    for name in outcome.fields:
        value, rule = found.get(name), table.fields[name]
        filled[name] = filled.get(name, 0) + (value not in EMPTY and value != rule.default)
        if stored is None or name not in stored or (stored[name] in EMPTY and value in EMPTY):
            continue
        outcome.of[name] = outcome.of.get(name, 0) + 1
        outcome.agree[name] = outcome.agree.get(name, 0) + agrees(stored[name], value, kind=rule.type)
