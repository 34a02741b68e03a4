"""Read dates in field values, and write them as people of a language and a time zone do."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, tzinfo
from email.utils import parsedate_to_datetime
from functools import cache

from babel import Locale, UnknownLocaleError
from babel.core import get_global
from babel.dates import format_date, format_time, get_datetime_format

from pipeline.model import Json

_ISO = re.compile(r"\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?\s?(?:[Zz]|[+-]\d\d:?\d\d)?)?")
_RFC_5322 = re.compile(r"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), )?\d{1,2} (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d\d:\d\d(?::\d\d)? "
                       r"(?:[+-]\d{4}|GMT|UTC|UT|Z|E[SD]T|C[SD]T|M[SD]T|P[SD]T)")
_LONGEST = 60
_TERRITORIES = {"en": "GB", "de": "DE", "zh": "CN"}
"""Where the conventions of a language are taken from if the time zone names no country. English: day, month, year, and 24 hours."""
_LEAST = 10**8
"""Smaller numbers are no Unix times: 10**8 is in the year 1973."""
_MILLISECONDS = 10**11
"""Unix times from this number on are in milliseconds."""


def machine_moment(value: Json) -> date | datetime | None:
    """Return the date or time of a text in a format for machines (ISO 8601, RFC 5322), or None for any other value."""
    if not isinstance(value, str) or len(value) > _LONGEST:
        return None
    text = value.strip()
    if _ISO.fullmatch(text):
        try:
            return date.fromisoformat(text) if len(text) == 10 else datetime.fromisoformat(text.upper().replace(",", "."))
        except ValueError:
            return None
    if _RFC_5322.fullmatch(text):
        try:
            return parsedate_to_datetime(text)
        except (ValueError, TypeError):
            return None
    return None


def moment_of(value: Json) -> date | datetime | None:
    """Return the date or time of a value that is known to be one: also of other ISO 8601 forms, and of Unix times in s or ms.

    A number with fewer than nine digits is no Unix time, but perhaps a date such as 20240115. A year alone is no date.
    """
    found = machine_moment(value)
    if found is not None or isinstance(value, bool):
        return found
    if isinstance(value, str) and re.fullmatch(r"\d{9,13}", value.strip()):
        value = int(value)
    elif isinstance(value, int) and 0 < value < _LEAST:
        value = str(value)
    try:
        if isinstance(value, (int, float)) and abs(value) >= _LEAST:
            return datetime.fromtimestamp(value / 1000 if abs(value) >= _MILLISECONDS else value, UTC)
        if isinstance(value, str) and len(value) <= _LONGEST and re.match(r"\d{4}", value.strip()):
            text = value.strip()
            return date.fromisoformat(text) if re.fullmatch(r"\d{8}|\d{4}-?W\d\d(-?\d)?", text) else datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        return None
    return None


def written(moment: date | datetime, language: str, zone: tzinfo, *, day_only: bool = False) -> str:
    """Return a date or time as people of the language and the time zone write it.

    A time without a time zone is not converted, and a date has no time. day_only: whether to leave out the time.
    """
    place = place_of(language, getattr(zone, "key", ""))
    if not isinstance(moment, datetime):
        return format_date(moment, "medium", locale=place)
    try:
        local = moment.astimezone(zone) if moment.tzinfo is not None else moment
    except OverflowError:  # the year 1 or 9999
        local = moment
    day = format_date(local.date(), "medium", locale=place)
    if day_only:
        return day
    time_of_day = format_time(local.time(), "short", locale=place)
    return str(get_datetime_format("medium", locale=place)).replace("'", "").replace("{0}", time_of_day).replace("{1}", day)


def clock(moment: datetime, language: str, zone: tzinfo) -> str:
    """Return the time of day as people of the language and the time zone write it."""
    return format_time(moment.astimezone(zone).time(), "short", locale=place_of(language, getattr(zone, "key", "")))


@cache
def place_of(language: str, zone_name: str) -> Locale:
    """Return the conventions of a language in the country of a time zone, such as British English for Europe/London."""
    tag = language.replace("-", "_")
    territory = get_global("zone_territories").get(zone_name)
    for name in (f"{tag}_{territory}" if territory and territory not in ("ZZ", "001") else "", f"{tag}_{_TERRITORIES.get(language, '')}", tag):
        try:
            return Locale.parse(name)
        except (UnknownLocaleError, ValueError):
            continue
    return Locale("en")
