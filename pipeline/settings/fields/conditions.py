"""Conditions on an item's fields, for the filters of digests: `price < 100`, `stock = "In stock"`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

_CONDITION = re.compile(r"\s*(?P<field>[^<>=!~]+?)\s*(?P<op><=|>=|!=|!~|<|>|=|~)\s*(?P<value>.+?)\s*")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
ORDERED = ("<", "<=", ">", ">=")
BEFORE = "before"
"""The word in a condition that stands for the value of the field before the change."""


@dataclass(frozen=True)
class Condition:
    """One comparison of a field.

    op: <, <=, >, >=, =, !=, ~ (contains) or !~ (does not contain). value: the text or number with which the field is compared; None
    means the value that the field had before the change.
    """

    field: str
    op: str
    value: str | float | None


def _condition(value: object) -> object:
    if isinstance(value, Condition):
        return value
    match = _CONDITION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise PydanticCustomError("condition", "{found} is not a condition; write a condition such as \"price < 100\", \"stock = 'sold out'\", "
                                  "\"title ~ python\" or \"price < before\"", {"found": repr(value)})
    found = match["value"]
    quoted = found[0] == found[-1] and found[0] in "\"'" and len(found) > 1
    against: str | float | None = found[1:-1] if quoted else found
    if not quoted and found == BEFORE:
        against = None
    elif not quoted and _NUMBER.fullmatch(found):
        against = float(found)
    if match["op"] in ORDERED and isinstance(against, str):
        raise PydanticCustomError("condition", "{found}: {op} compares numbers, and {value} is not a number", {
            "found": repr(value), "op": match["op"], "value": repr(against)})
    return Condition(match["field"], match["op"], against)


def _as_is(value: Any) -> Condition:
    assert isinstance(value, Condition)
    return value


ConditionText = Annotated[Any, BeforeValidator(_as_is), BeforeValidator(_condition), WithJsonSchema({"type": "string"})]
"""The type of a condition in settings.toml. Validation turns the text into a Condition."""
