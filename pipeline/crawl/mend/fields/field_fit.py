"""Measure how well a rule of one field reproduces the known values of items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.crawl.extract.items import reader
from pipeline.crawl.mend.known_values import EMPTY, agrees
from pipeline.crawl.mend.page_tree import Element, PageTree
from pipeline.documents.document import Document
from pipeline.documents.selectors import Kind, Scope
from pipeline.model import Json
from pipeline.settings import FieldTable


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
    its selector. mistaken: how often it gives the value of another field of the item.
    """

    rule: FieldTable
    agree: int
    of: int
    wrong: int = 0
    failed: int = 0
    cost: float = 0.0
    mistaken: int = 0

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
    agree = of = wrong = failed = mistaken = 0
    read = reader(name, rule, kind)
    for at, holder in enumerate(holders):
        problems: list[str] = []
        found = read(scopes[at], holder.document, problems)
        if holder.known is None or name not in holder.known:
            failed += bool(problems) or found in EMPTY
            continue
        known = holder.known[name]
        mistaken += isinstance(found, str) and found != known and found not in EMPTY and any(
            found == value for other, value in holder.known.items() if other != name)
        if known in EMPTY or known == rule.default:
            wrong += found not in EMPTY and found != rule.default
            continue
        of += 1
        failed += bool(problems)
        agree += not problems and agrees(known, found, kind=rule.type)
    return FieldFit(rule, agree, of, wrong, failed, cost, mistaken)


def by_quality(fits: Sequence[FieldFit], items: int) -> list[FieldFit]:
    """Return the rules that give known values, the best first: of those that agree and fail about equally often, the simplest."""
    most = max((fit.agree - fit.wrong for fit in fits), default=0)
    near = [fit for fit in fits if fit.agree and fit.agree - fit.wrong >= most - int(most * 0.02)]
    fewest = min((fit.failed for fit in near), default=0)

    def rank(fit: FieldFit) -> tuple[bool, bool, float]:
        is_near = fit.agree - fit.wrong >= most - int(most * 0.02)
        return not is_near, fit.failed > fewest + items * 0.02, fit.cost

    return sorted((fit for fit in fits if fit.agree), key=rank)
