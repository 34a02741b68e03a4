"""What of the changes some recipients want: spiders, kinds of change, keywords, conditions on fields."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pipeline.mail.text import shown
from pipeline.model import Change, ChangeKind
from pipeline.settings import Condition, RecipientsTable

_NUMBER = re.compile(r"(?:(?<!\w)[-+\u2212]\s*)?\d[\d,.'\u00a0\u202f ]*")
_GROUPED = re.compile(r"\d{1,3}(?:([,.' \u00a0\u202f])\d{3})+")


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
        text = "\n".join(shown(value) for value in data.values()).casefold()
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
        inside = against is not None and shown(_plain(against)).casefold() in shown(found).casefold()
        return inside is (condition.op == "~")
    return _equal(found, against) is (condition.op == "=")


def _ordered(op: str, left: float | None, right: float | None) -> bool:
    if left is None or right is None:
        return False
    return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[op]


def _equal(found: Any, against: Any) -> bool:
    if isinstance(against, (int, float)):
        return number(found) == against
    return shown(found).strip().casefold() == shown(against).strip().casefold()


def _plain(value: Any) -> Any:
    """7.0, as a condition's number is read, in the way it was written."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def number(value: Any) -> float | None:
    """The number that a field holds, or the first one in its text ("£1,234.50", "1.234,50 €"); None without one."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (int, float)):
        return float(value)
    match = _NUMBER.search(shown(value)[:1000])
    if match is None:
        return None
    text = re.sub(r"[\s\u00a0\u202f']", "", match[0]).replace("\u2212", "-").rstrip(".,")
    comma, point = text.rfind(","), text.rfind(".")
    if comma >= 0 and point >= 0:  # the one further right is the decimal sign
        text = text.replace(",", "") if point > comma else text.replace(".", "").replace(",", ".")
    elif comma >= 0:
        text = text.replace(",", "") if _GROUPED.fullmatch(text.lstrip("+-")) else text.replace(",", ".")
    elif text.count(".") > 1:
        text = text.replace(".", "")
    try:
        return float(text)
    except ValueError:  # such as 1,2,3
        return None
