"""The types of parameters: times and words in the forms that the OpenAPI document promises."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BeforeValidator, Field

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")
_YEARS = (1971, 9000)
_NUMBER = re.compile(r"\d{1,9}")


def _time(value: Any) -> Any:
    """Return the time that a text says. Far years are refused, because a time zone could move them beyond what a date can be."""
    if not isinstance(value, str):
        return value
    if _RFC3339.fullmatch(value) is None:
        raise ValueError("is not a time of RFC 3339 with an offset, such as 2026-12-01T08:00:00+01:00")
    found = datetime.fromisoformat(value.upper())
    if not _YEARS[0] <= found.year <= _YEARS[1]:
        raise ValueError(f"is not in the years {_YEARS[0]} to {_YEARS[1]}")
    return found


def _number(value: Any) -> Any:
    if isinstance(value, str) and _NUMBER.fullmatch(value) is None:
        raise ValueError("is not a number")
    return value


def _truth(value: Any) -> Any:
    if isinstance(value, str):
        if value not in ("true", "false"):
            raise ValueError("is neither true nor false")
        return value == "true"
    return value


Time = Annotated[AwareDatetime, BeforeValidator(_time)]
Number = Annotated[int, BeforeValidator(_number)]
Truth = Annotated[bool, BeforeValidator(_truth)]
Text = Annotated[str, Field(max_length=200)]
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]
