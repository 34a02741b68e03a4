"""Write figures as a language does (Unicode CLDR, through Babel).

Numbers, shares, sizes, durations and times.
"""

from __future__ import annotations

from datetime import datetime, tzinfo
from decimal import Decimal

from pipeline.languages.phrase import locale_of

_UNITS = {"B": "byte", "kB": "kilobyte", "MB": "megabyte", "GB": "gigabyte", "TB": "terabyte"}
_SPANS = ((86400, "day", 3600, "hour"), (3600, "hour", 60, "minute"), (60, "minute", 1, "second"))


def decimal(value: float, language: str) -> str:
    from babel.numbers import format_decimal  # noqa: PLC0415  see locale_of

    return format_decimal(value, locale=locale_of(language))


def percent(share: float, language: str) -> str:
    """share: 0 to 1."""
    from babel.numbers import format_percent  # noqa: PLC0415  see locale_of

    return format_percent(share, locale=locale_of(language))


def exact_percent(share: Decimal, language: str) -> str:
    """Return a share (0 to 1) with all of its decimals, such as "3.4%" or "0.07%"."""
    from babel.numbers import format_percent  # noqa: PLC0415  see locale_of

    return format_percent(share, locale=locale_of(language), decimal_quantization=False)


def size(size_bytes: float, language: str) -> str:
    """Return a size in decimal units, such as "3.1 MB" or "3,1 MB"."""
    unit = "B"
    for unit in _UNITS:
        if abs(size_bytes) < 1000 or unit == "TB":
            break
        size_bytes /= 1000
    return f"{decimal(round(size_bytes, 1 if unit != 'B' else 0), language)} {unit}"


def size_of_text(text: str, language: str) -> str:
    """Return a size that `pipeline.text.size_for_people` has written, as the language writes it, with the same decimals."""
    from babel.numbers import format_decimal  # noqa: PLC0415  see locale_of

    number, unit = text.split(" ")
    return f"{format_decimal(float(number), '#,##0.0' if '.' in number else '#,##0', locale_of(language))} {unit}"


def duration(seconds: float, language: str) -> str:
    """Return a duration with at most two units, such as "2 hr 5 min"."""
    from babel.units import format_unit  # noqa: PLC0415  see locale_of

    def amount(number: int, unit: str) -> str:
        return format_unit(number, f"duration-{unit}", "short", locale=locale_of(language))

    whole = max(0, round(seconds))
    for unit_s, unit, small_s, small in _SPANS:
        if whole >= unit_s:
            rest = whole % unit_s // small_s
            return amount(whole // unit_s, unit) + (f" {amount(rest, small)}" if rest and unit != "minute" else "")
    return amount(whole, "second")


def moment(at: datetime, zone: tzinfo, pattern: str, language: str) -> str:
    """Return a time in `zone`. pattern: a pattern of dates (Unicode CLDR)."""
    from babel.dates import format_datetime  # noqa: PLC0415  see locale_of

    return format_datetime(at.astimezone(zone), pattern, locale=locale_of(language))
