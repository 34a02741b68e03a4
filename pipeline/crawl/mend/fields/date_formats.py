"""Find the format in which a page now writes a date whose value is known."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache

_DAYS = ("%d %B %Y", "%d %b %Y", "%B %d, %Y", "%b %d, %Y", "%B %d %Y", "%b %d %Y", "%d. %B %Y", "%d. %b %Y", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y",
         "%Y/%m/%d", "%d-%m-%Y", "%m-%d-%Y", "%Y.%m.%d", "%Y-%m-%d", "%d-%b-%Y", "%Y-%b-%d", "%d/%b/%Y", "%Y %b %d", "%Y %B %d", "%d.%m.%y",
         "%d/%m/%y", "%m/%d/%y", "%d %b %y", "%Y%m%d", "%d %b, %Y", "%d %B, %Y", "%Y年%m月%d日")
_TIMES = (" %H:%M:%S", " %H:%M", ", %H:%M", " at %H:%M", " %I:%M %p", ", %I:%M %p", "T%H:%M:%S", " - %H:%M", "")
_PARTS = {"%d": r"\d{1,2}", "%m": r"\d{1,2}", "%Y": r"\d{4}", "%y": r"\d\d", "%B": r"[^\W\d_]{3,}", "%b": r"[^\W\d_]{3,4}", "%H": r"\d{1,2}",
          "%M": r"\d\d", "%S": r"\d\d", "%I": r"\d{1,2}", "%p": r"[AaPp][Mm]"}
_LONGEST = 200


def formats_of(text: str, known: str) -> Iterator[tuple[str, str]]:
    """Yield all formats for strptime that read a known date in a text, each with a regular expression; "" if the text is only the date.

    known: the date in ISO 8601. A text without a time of day matches a known date with one.
    """
    line = " ".join(text.split())
    if len(line) > _LONGEST or not any(map(str.isdigit, line)):
        return
    try:
        moment = datetime.fromisoformat(known)
    except ValueError:
        return
    for form, pattern in _forms():
        match = pattern.search(line)
        if match is None:
            continue
        try:
            found = datetime.strptime(match[0], form)  # noqa: DTZ007  compared without a time zone
        except ValueError:
            continue
        has_time = "%M" in form
        if found.date() == moment.date() and (not has_time or (found.hour, found.minute) == (moment.hour, moment.minute)):
            yield form, "" if match[0] == line else pattern.pattern


@lru_cache(maxsize=1)
def _forms() -> list[tuple[str, re.Pattern[str]]]:
    return [(day + time, re.compile(_expression(day + time))) for time in _TIMES for day in _DAYS]


def _expression(form: str) -> str:
    parts = re.split(r"(%[A-Za-z])", form)
    inner = "".join(_PARTS.get(part, re.escape(part).replace(r"\ ", " ")) for part in parts)
    return rf"(?<!\d){inner}(?![\d])"


def is_same_day(known: object, found: object) -> bool:
    """Return whether two dates in ISO 8601 are the same day, and one of them has no time of day."""
    return isinstance(known, str) and isinstance(found, str) and known[:10] == found[:10] and 10 in (len(known), len(found)) \
        and len(known) >= 10 and known[:4].isdigit()
