"""Reads the times at which people want to see a page."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo

_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_DIGITS = re.compile(r"\d{14}")
_FRACTION = re.compile(r"\d[.,]\d")
_END_OF_SECOND = timedelta(microseconds=999_999)
"""Lists of records show whole seconds, and a record is to be found by what they show."""


def instant_of(text: str, zone: tzinfo) -> datetime:
    """Return the time that a text names, in UTC; a day means its end, and a second its end, too. Raises ValueError with a message for people.

    zone: of a time that names none. The 14 digits of replay tools, such as 20261130121021, are in UTC.
    """
    text = text.strip()
    try:
        if _DIGITS.fullmatch(text):
            return datetime.strptime(f"{text}+0000", "%Y%m%d%H%M%S%z") + _END_OF_SECOND
        found = datetime.fromisoformat(text)
        if _DAY.fullmatch(text):
            found += timedelta(days=1, microseconds=-1)
        elif _FRACTION.search(text) is None:
            found += _END_OF_SECOND
        return (found if found.tzinfo is not None else found.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is not a time; write one as 2026-12-24, 2026-12-24 08:00 or 2026-12-24T08:00:00+01:00") from error
