"""Filter the changes for recipients of a digest: by spider, kind of change, keywords and conditions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any
from unicodedata import category, normalize

from pipeline.display.field_text import field_text
from pipeline.model import Change, ChangeKind
from pipeline.numbers import NumberError
from pipeline.numbers import number as first_number
from pipeline.price import amount_of, same, same_currency
from pipeline.settings import Condition, RecipientsTable

_LARGEST = 1e308
_ALL_KINDS = tuple(ChangeKind)
_APPEARED = (ChangeKind.NEW, ChangeKind.BACK)


class FilteredChanges:
    """Iterates over the changes that pass all filters.

    changes: an iterable of all changes. A FilteredChanges can be iterated more than once if `changes` can.
    """

    def __init__(self, changes: Iterable[Change], filters: Sequence[RecipientsTable]) -> None:
        self._changes = changes
        self._filters = filters

    def __iter__(self) -> Iterator[Change]:
        for change in self._changes:
            told: Change | None = change
            for wanted in self._filters:
                told = told and filtered(told, wanted)
            if told is not None:
                yield told


def passes(change: Change, wanted: RecipientsTable) -> bool:
    """Return whether a change passes the filter of some recipients."""
    return filtered(change, wanted) is not None


def filtered(change: Change, wanted: RecipientsTable) -> Change | None:
    """Return a change as it is reported to some recipients; None if it does not pass their filter.

    Recipients who get no new or no returned items, or only items that a condition compares with their values before the change, have
    not been told of such an item. For them, an item that has changed since it was new or gone is a changed item.

    wanted: the settings table with the filter. Keywords and conditions are applied to the item's fields after the change or, for a
    gone item, to its fields before the change.
    """
    if wanted.spiders and change.spider not in wanted.spiders:
        return None
    kinds = wanted.changes or _ALL_KINDS
    compares = any(condition.value is None for condition in wanted.where)
    if change.kind in _APPEARED and change.before and ChangeKind.CHANGED in kinds and (change.kind not in kinds or compares) and change.fields:
        change = replace(change, kind=ChangeKind.CHANGED)
    return change if change.kind in kinds and _holds_all(change, wanted) else None


def _holds_all(change: Change, wanted: RecipientsTable) -> bool:
    data = change.before if change.kind is ChangeKind.GONE else change.after
    if wanted.keywords:
        text = "\n".join(field_text(value) for value in data.values()).casefold()
        if not any(word.casefold() in text for word in wanted.keywords):
            return False
    return all(holds(condition, data, change.before) for condition in wanted.where)


def holds(condition: Condition, data: dict[str, Any], before: dict[str, Any]) -> bool:
    """Return whether an item meets a condition on one of its fields.

    A missing field meets only conditions with != or !~.

    data: the item's fields. before: the item's fields before the change, for conditions such as "price < before".
    """
    found = data.get(condition.field)
    operand = before.get(condition.field) if condition.value is None else condition.value
    if condition.op in ("<", "<=", ">", ">="):
        if not same_currency(found, operand) or (condition.value is None and _other_signs(found, operand)):
            return False
        return _ordered(condition.op, number(found), number(operand))
    if condition.op in ("~", "!~"):
        inside = operand is not None and field_text(_plain(operand)).casefold() in field_text(found).casefold()
        return inside is (condition.op == "~")
    return _equal(found, operand) is (condition.op == "=")


def _other_signs(found: Any, operand: Any) -> bool:
    """Return whether both values are texts with currency signs, but have no sign in common."""
    signs = [{character for character in normalize("NFKC", value[:1000]) if category(character) == "Sc"} if isinstance(value, str) else set()
             for value in (found, operand)]
    return bool(signs[0] and signs[1]) and signs[0].isdisjoint(signs[1])


def _ordered(op: str, left: float | None, right: float | None) -> bool:
    if left is None or right is None:
        return False
    return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[op]


def _equal(found: Any, operand: Any) -> bool:
    if same(found, operand):
        return True
    if isinstance(operand, (int, float)):
        return number(found) == operand
    return field_text(found).strip().casefold() == field_text(operand).strip().casefold()


def _plain(value: Any) -> Any:
    """Return a float such as 5.0 as the int 5, because the settings parse numbers in conditions as floats."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def number(value: Any) -> float | None:
    """Return a field's value as a number; None if the value contains no number.

    The number of a text such as "£1,234.50" is the first number in the text.
    """
    if isinstance(value, bool) or value is None:
        return None
    if (amount := amount_of(value)) is not None:
        return float(amount)
    try:
        found = first_number(field_text(value)[:1000])
    except NumberError:  # the exact value of the number is unknown, as in "1.2M"
        return None
    return None if found is None or abs(found) > _LARGEST else float(found)
