"""When a pause or a mute ends, as people write it: "2d", "2026-12-06", "2026-12-06 09:00" or "09:00"."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, tzinfo

from pydantic_core import PydanticCustomError

from pipeline.settings.fields.scalars import TOO_LONG, duration_s

LONGEST = timedelta(days=3660)
_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


def parse_end(text: str, *, now: datetime, zone: tzinfo) -> datetime:
    """Return when something ends that begins now. A day ends it at its beginning; a time of day is the next one with this time.

    now: an aware datetime. zone: of days and times without an offset. Raises ValueError with a message that says what is wrong.
    """
    text = text.strip()
    if match := _TIME.fullmatch(text):
        here = now.astimezone(zone)
        found = here.replace(hour=int(match[1]), minute=int(match[2]), second=0, microsecond=0)
        return found if found > now else found + timedelta(days=1)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = now + timedelta(seconds=_seconds(text))
    if found.tzinfo is None:
        found = found.replace(tzinfo=zone)
    if found <= now:
        raise ValueError(f"{text!r} is in the past")
    if found - now > LONGEST:
        raise ValueError(f"{text!r} is more than ten years from now")
    return found


def _seconds(text: str) -> float:
    try:
        seconds = duration_s(text)
    except PydanticCustomError as error:
        if error.type == TOO_LONG:
            return LONGEST.total_seconds() + 1
        raise ValueError(f"{text!r} is neither a duration (\"2h\", \"7d\") nor a time (\"09:00\", \"2026-12-06\", \"2026-12-06 09:00\")") from error
    assert isinstance(seconds, float)
    return min(seconds, LONGEST.total_seconds() + 1)
