"""Suggest a valid schedule for a text that is not a schedule, such as "@hourly" for "hourly"."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches

_NICKNAMES = ("hourly", "daily", "weekly", "monthly", "yearly", "annually", "midnight")
_UNITS = {"s": "s", "sec": "s", "second": "s", "m": "m", "min": "m", "minute": "m", "h": "h", "hr": "h", "hour": "h", "d": "d", "day": "d",
          "w": "w", "wk": "w", "week": "w"}
_SPAN = re.compile(r"(?:(?:every|each|per|once|in) )*(half )?(?:(\d+(?:\.\d+)?|an?|one) ?)?(half )?([a-z]+?)s?")
_WHOLE = {"d": "@daily", "w": "@weekly"}
_DAYS = {"daily": "daily", "day": "daily", "everyday": "daily", "weekday": "weekdays", "weekdays": "weekdays", "workdays": "weekdays",
         "working days": "weekdays", "business days": "weekdays", "weekend": "weekends", "weekends": "weekends", "": "daily"}
_WEEKDAY = re.compile(r"(sun|mon|tue|wed|thu|fri|sat)[a-z]*?s?(?:days?)?")
_CLOCK = re.compile(r"(\d\d)(\d\d)|(\d{1,2})(?:[:.h](\d\d))?(?: ?(am|pm)| ?uhr| ?o'?clock)?|(noon|midday|midnight)")
_TIMES = re.compile(rf"(?:{_CLOCK.pattern})(?:(?: ?, ?| and )(?:{_CLOCK.pattern}))*")
_EARLY = "07:00"
"""The time of day that is suggested if the text names only days."""


def suggestions(text: str) -> Iterator[str]:
    """Yield texts that the author of `text` may have meant, the most probable first. Not every one is a valid schedule."""
    words = " ".join(text.lower().replace(".m.", "m").split()).strip(" .;!\"'")
    if not words or words.isdigit():  # neither a unit nor a time of day
        return
    if (nicknames := get_close_matches(words.lstrip("@"), _NICKNAMES, n=1, cutoff=0.8)):
        yield f"@{nicknames[0]}"
    if (interval := _interval(words)) is not None:
        yield interval
    yield from _wall_times(words)
    yield from _cron(words)


def _interval(words: str) -> str | None:
    """Return the interval for texts such as "30m", "every 2 hours", "every half hour" and "every day"."""
    match = _SPAN.fullmatch(words)
    if match is None:
        return None
    half, number, later_half, name = match.groups()
    if name in ("month", "year"):
        return f"@{name}ly" if number in (None, "a", "an", "one", "1") else None
    unit = _UNITS.get(name)
    if unit is None or (number is None and not words.startswith(("every", "each", "per", "once", "half"))):
        return None
    if half or later_half:
        return {"h": "every 30m", "d": "every 12h", "m": "every 30s"}.get(unit)
    if number in (None, "a", "an", "one") and unit in _WHOLE:
        return _WHOLE[unit]
    return f"every {number if number and number[0].isdigit() else 1}{unit}"


def _wall_times(words: str) -> Iterator[str]:
    """Yield the schedule for texts such as "daily 7:00", "at 7am", "weekdays" and "every monday at 9"."""
    for times in [*_TIMES.finditer(words)][-1:]:
        if times.end() == len(words) and (days := _days(words[:times.start()])) is not None:
            clocks = [_clock(match) for match in _CLOCK.finditer(times[0])]
            yield f"{days} at {' and '.join(clocks)}"
    if (days := _days(words)) is not None:
        yield f"{days} at {_EARLY}"


def _days(text: str) -> str | None:
    """Return the days that the first part of a schedule names, as a schedule writes them; None if it names none."""
    text = re.sub(r"^(every|each|on) |( at|@| um)?[ :,]*$", "", re.sub(r"^(every|each|on) ", "", text.strip()))
    text = "" if text == "at" else text
    if text in _DAYS:
        return _DAYS[text]
    names = re.split(r" ?, ?| and | ", text)
    if all(_WEEKDAY.fullmatch(part) for name in names for part in name.split("-")):
        return ", ".join("-".join(part[:3] for part in name.split("-")) for name in names)
    close = get_close_matches(text, [name for name in _DAYS if name], n=1, cutoff=0.8)
    return _DAYS[close[0]] if close else None


def _clock(match: re.Match[str]) -> str:
    hour_of_four, minute_of_four, hour, minute, half, word = match.groups()
    if word:
        return "00:00" if word == "midnight" else "12:00"
    if hour_of_four:
        return f"{hour_of_four}:{minute_of_four}"
    number = int(hour)
    if half:
        number = number % 12 + (12 if half == "pm" else 0)
    return f"{number:02}:{minute or '00'}"


def _cron(words: str) -> Iterator[str]:
    """Yield the cron expression for one with a field for seconds, and for one with long names of days."""
    fields = words.split()
    if len(fields) == 6 and fields[0] in ("0", "00"):
        yield " ".join(fields[1:])
    if len(fields) == 5:
        yield " ".join([*fields[:4], re.sub(r"[a-z]+", lambda name: name[0][:3], fields[4])])
