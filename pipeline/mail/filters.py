"""What of the changes some recipients want: spiders, kinds of change, keywords, conditions on fields."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pipeline.mail.field_text import field_text
from pipeline.model import Change, ChangeKind
from pipeline.numbers import NumberError
from pipeline.numbers import number as first_number
from pipeline.price import amount_of
from pipeline.settings import Condition, RecipientsTable

_LARGEST = 1e308


class Filtered:
    """The changes that pass every filter; walked as often as the changes themselves can be."""

    def __init__(self, changes: Iterable[Change], filters: Sequence[RecipientsTable]) -> None:
        self._changes = changes
        self._filters = filters

    def __iter__(self) -> Iterator[Change]:
        return (change for change in self._changes if all(passes(change, wanted) for wanted in self._filters))


def passes(change: Change, wanted: RecipientsTable) -> bool:
    """Whether a change is one of those wanted. A gone item is judged by what it was."""
    if wanted.spiders and change.spider not in wanted.spiders:
        return False
    if wanted.changes and change.kind.value not in wanted.changes:
        return False
    data = change.before if change.kind is ChangeKind.GONE else change.after
    if wanted.keywords:
        text = "\n".join(field_text(value) for value in data.values()).casefold()
        if not any(word.casefold() in text for word in wanted.keywords):
            return False
    return all(holds(condition, data, change.before) for condition in wanted.where)


def holds(condition: Condition, data: dict[str, Any], before: dict[str, Any]) -> bool:
    """Whether a field meets a condition; a field that is not there meets none but != and !~."""
    found = data.get(condition.field)
    against = before.get(condition.field) if condition.value is None else condition.value
    if condition.op in ("<", "<=", ">", ">="):
        return _ordered(condition.op, number(found), number(against))
    if condition.op in ("~", "!~"):
        inside = against is not None and field_text(_plain(against)).casefold() in field_text(found).casefold()
        return inside is (condition.op == "~")
    return _equal(found, against) is (condition.op == "=")


def _ordered(op: str, left: float | None, right: float | None) -> bool:
    if left is None or right is None:
        return False
    return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[op]


def _equal(found: Any, against: Any) -> bool:
    if isinstance(against, (int, float)):
        return number(found) == against
    return field_text(found).strip().casefold() == field_text(against).strip().casefold()


def _plain(value: Any) -> Any:
    """7.0, as a condition's number is read, in the way it was written."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def number(value: Any) -> float | None:
    """The number that a field holds, or the first one in its text ("£1,234.50", "1.234,50 €"); None without one."""
    if isinstance(value, bool) or value is None:
        return None
    if (amount := amount_of(value)) is not None:
        return float(amount)
    try:
        found = first_number(field_text(value)[:1000])
    except NumberError:  # "1.2M" is no exact number
        return None
    return None if found is None or abs(found) > _LARGEST else float(found)
