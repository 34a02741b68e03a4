"""The type of a field: what the values of a slot can be read as by the rules of the engine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from importlib.util import find_spec
from typing import Any

_FORMATS = ("%d.%m.%Y", "%d.%m.%Y %H:%M", "%d.%m.%y", "%d.%m.%Y, %H:%M", "%Y/%m/%d", "%Y/%m/%d %H:%M", "%Y.%m.%d", "%Y-%m-%d %H:%M:%S %z",
            "%d/%m/%Y", "%m/%d/%Y", "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M", "%m/%d/%Y %I:%M %p", "%d-%m-%Y", "%d-%b-%Y", "%d-%b-%Y %H:%M", "%Y-%b-%d", "%d%b%Y %H:%M",
            "%Y-%b-%d %H:%M:%S", "%Y-%b-%d %H:%M", "%b %d, %Y", "%B %d, %Y", "%b. %d, %Y",
            "%d %b %Y", "%d %B %Y", "%d %b %Y %H:%M", "%a, %d %b %Y", "%a %b %d, %Y", "%a %b %d, %Y %I:%M %p", "%a %b %d %H:%M:%S %Y",
            "%A, %B %d, %Y", "%A, %d %B %Y", "%a %d %b %Y", "%b %d %Y", "%B %d %Y", "%b %d, %Y, %I:%M %p", "%b %d, %Y %I:%M %p",
            "%B %d, %Y at %I:%M %p", "%B %d, %Y, %I:%M %p", "%Y年%m月%d日", "%Y年%m月%d日 %H:%M", "%Y. %m. %d.", "%d. %m. %Y", "%b %d, %Y at %I:%M %p",
            "%d %b, %Y", "%d %B, %Y", "%Y-%m-%dT%H:%MZ", "%m/%d/%y", "%d/%m/%y")
_INSIDE = tuple(re.compile(pattern) for pattern in (
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:Z|[+-]\d\d:?\d\d)?", r"\d{4}-\d\d-\d\d", r"\d\d?\.\d\d?\.\d{4}", r"\d{4}/\d\d?/\d\d?", r"\d\d?/\d\d?/\d{4}",
    r"[A-Z][a-z]{2,8} \d\d?, \d{4}", r"\d\d? [A-Z][a-z]{2,8} \d{4}", r"\d{4}年\d\d?月\d\d?日"))
"""Dates inside a longer text."""
_IN_WORDS = re.compile(r"(?:[^\W\d_]{2,12}\.?,? )?(?:le |el |am )?\d{1,2}(?:\.|º|er)? (?:de |d')?[^\W\d_]{3,12}\.?,? (?:de )?\d{4}\Z")
"""A date whose month is a word, such as "3. März 2024" or "le 14 juillet 2023"."""
_PRICE = re.compile(r"[$€£¥₹₽₺₴₩₪₫฿₱₦]|\b(?:USD|EUR|GBP|CHF|JPY|CNY|RMB|INR|SEK|NOK|DKK|PLN|CZK|HUF|AUD|CAD|BRL|RUB|TRY|kr|zł|Kč|Ft|lei|руб|Rs|R\$)\b|元")
_HAS_DIGIT = re.compile(r"\d")
_NUMBER = re.compile(r"[+-]?\d{1,3}(?:[ ,.'\u00a0]?\d{3})*(?:[.,]\d+)?\Z|[+-]?\d+\Z")
_COUNT = re.compile(r"\d[\d,]*\s+[^\W\d_]{2,20}\Z|[^\W\d_]{2,20}\s*[:(]\s*\d[\d,]*\)?\Z|\(\d+\)\Z|#\d+\Z")
_DATE_LIKE = re.compile(r"\d{4}[-/.年]\s?\d{1,2}|\d{1,2}[./-]\s?\d{1,2}[./-]\s?\d{2,4}|\b(?:19|20)\d\d\b|\d{1,2}:\d\d|\bago\b|\byesterday\b|"
                        r"\b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\.?\s+\d|\d\s+(?:min|hour|day|week|month|year)s?\b|前$|月\d+日")


def date_rule(values: Sequence[str], *, guess: bool = False) -> dict[str, Any] | None:
    """Return the keys of a rule that reads all values as dates; None if there are none that do.

    guess: whether dates in words count, which the extra `dates` reads.
    """
    texts = [" ".join(value.split()) for value in values]
    if not texts or not all(_HAS_DIGIT.search(text) and 6 <= len(text) <= 60 for text in texts):
        return None
    if all(_is_date(text) for text in texts):
        return {"type": "date"}
    for form in _FORMATS:
        if all(_parses(text, form) for text in texts):
            return {"type": "date", "format": form}
    if guess and (inside := _date_inside(texts)) is not None:
        return inside
    return {"type": "date", "guess": True} if guess and _can_guess(texts) else None


def _date_inside(texts: Sequence[str]) -> dict[str, Any] | None:
    """Return a rule for dates with something around them, such as "Posted 01.11.2026"."""
    for pattern in _INSIDE:
        dates = [match[0] for text in texts if len(match_all := list(pattern.finditer(text))) == 1 for match in match_all]
        if len(dates) == len(texts) and (dated := date_rule(dates)) is not None:
            return {"regex": pattern.pattern, **dated}
    return None


def _is_date(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
        return not text.isdigit()
    except ValueError:
        pass
    try:
        parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return False
    return True


def _parses(text: str, form: str) -> bool:
    try:
        return 1900 < datetime.strptime(text, form).year < 2200  # noqa: DTZ007  only whether it is one
    except ValueError:
        return False


def _can_guess(texts: Sequence[str]) -> bool:
    """Return whether the extra `dates` is installed and the texts are dates in words, such as "3. März 2024"."""
    if not all(_IN_WORDS.match(text) for text in texts) or find_spec("dateparser") is None:
        return False
    import dateparser  # noqa: PLC0415  an extra

    strict: Any = {"STRICT_PARSING": True, "REQUIRE_PARTS": ["day", "month", "year"]}
    try:
        return all(dateparser.parse(text, settings=strict) is not None for text in texts[:3])
    except Exception:  # noqa: BLE001  a date that the library cannot read is no date
        return False


def looks_like_price(values: Sequence[str], *, named: bool) -> bool:
    """Return whether nearly all values are prices; named: whether the page calls them so."""
    with_digits = [value for value in values if _HAS_DIGIT.search(value) and len(value) <= 60]
    signs = sum(_PRICE.search(value) is not None for value in with_digits)
    return bool(values) and len(with_digits) >= 0.8 * len(values) and (signs >= 0.8 * len(with_digits) or named)


def looks_like_number(values: Sequence[str]) -> bool:
    """Return whether all values are plain numbers."""
    return bool(values) and all(_NUMBER.match(value.strip()) for value in values)


def looks_like_count(values: Sequence[str]) -> bool:
    """Return whether all values are a number with one word, such as "12 comments"."""
    return bool(values) and all(_COUNT.match(value.strip()) or _NUMBER.match(value.strip()) for value in values)


def looks_like_date(values: Sequence[str]) -> bool:
    """Return whether most values contain a date or a time, also one that no rule can read."""
    return bool(values) and sum(len(value) <= 60 and _DATE_LIKE.search(value) is not None for value in values) >= 0.8 * len(values)
