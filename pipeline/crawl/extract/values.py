"""Convert the match of a rule to the value of a field, by the rule's `regex`, `strip` and `type`."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, time
from email.utils import parsedate_to_datetime

import regex

from pipeline.documents.document import Document
from pipeline.documents.regexes import RuleFailedError, as_text, search, short
from pipeline.model import Json
from pipeline.numbers import NumberError, number
from pipeline.settings import SelectorTable

_MACHINE = re.compile(r"::attr\((?:content|value|data-[\w-]+)\)|@(?:content|value|data-[\w-]+)\b")
_LONGEST_DATE = 100  # characters; longer texts take dateparser too long

__all__ = ["Convert", "RuleFailedError", "as_text", "converter", "number", "search"]

Convert = Callable[[Json, Document], Json]


def converter(rule: SelectorTable) -> Convert:
    """Return a function that converts one match of a rule to a value, or to None if the match is empty.

    The returned function raises RuleFailedError if the match cannot be converted.
    """
    typed = _typed(rule)
    if rule.regex is None and rule.strip is None:
        return typed
    pattern = regex.compile(rule.regex) if rule.regex is not None else None
    strip = None if rule.strip is None else rule.strip + " \t\r\n\f\v\u00a0"

    def convert(found: Json, document: Document) -> Json:
        if pattern is not None:
            narrowed = search(pattern, as_text(found))
            if narrowed is None:
                return None
            found = narrowed
        if strip is not None:
            found = as_text(found).strip(strip)
        return typed(found, document)

    return convert


def _typed(rule: SelectorTable) -> Convert:
    if rule.type == "number" or rule.page == "status":
        return lambda found, document: _as_number(found, rule.decimal)
    if rule.type == "price":
        return _price_converter(rule)
    if rule.type == "date":
        return (lambda found, document: _as_guessed_date(found, rule.guess)) if rule.guess else (
            lambda found, document: _as_date(found, rule.format))
    if rule.type == "json":
        return lambda found, document: found
    if rule.type in ("html", "raw"):
        return lambda found, document: as_text(found)
    return _as_url if rule.is_url else _as_line


def _as_line(found: Json, document: Document) -> Json:
    return " ".join((found if isinstance(found, str) else as_text(found)).split())  # the check saves a call, since most values are str


def _as_url(found: Json, document: Document) -> Json:
    text = " ".join(as_text(found).split())
    return document.absolute(text) or text


def _as_number(found: Json, decimal: str | None) -> Json:
    if isinstance(found, (int, float)) and not isinstance(found, bool):
        return found
    text = as_text(found)
    if not text.strip():
        return None
    try:
        value = number(text, decimal)
    except NumberError as error:
        raise RuleFailedError(_inexact(text, error)) from error
    if value is None:
        raise RuleFailedError(f"{short(text)} is not a number")
    return value


def _price_converter(rule: SelectorTable) -> Convert:
    from pipeline.crawl.extract import prices  # noqa: PLC0415  compiling its patterns takes 0.1 s, and few rules need them

    is_data = rule.data in ("json-ld", "microdata", "opengraph") or _MACHINE.search(rule.css or rule.xpath or "") is not None

    def convert(found: Json, document: Document) -> Json:
        if (is_data or not isinstance(found, str)) and (
                read := prices.of_data(found, document, currency=rule.currency)) is not None:
            return read
        text = as_text(found)
        if not text.strip():
            return None
        try:
            read = prices.read_price(text, document, decimal=rule.decimal, currency=rule.currency)
        except NumberError as error:
            raise RuleFailedError(_inexact(text, error)) from error
        if read is None:
            raise RuleFailedError(f"{short(text)} is not a price")
        return read

    return convert


def _inexact(text: str, error: NumberError) -> str:
    return (f"{short(text)}: {error}, so the exact value is unknown; "
            "to use only the number before the abbreviation, select the number with `regex`")


def _as_date(found: Json, form: str | None) -> Json:
    text = as_text(found).strip()
    if not text:
        return None
    moment = _read_date(" ".join(text.split()), form)
    if moment is None:
        raise RuleFailedError(f"{short(text)} is not a date" + (f" in the format {form!r}" if form else ""))
    # A date without a time of day is returned without a time.
    day_only = (not re.search(r"%[HIMSTXcfR]", form)) if form else bool(re.fullmatch(r"\d{4}-?\d\d-?\d\d", text))
    return moment.date().isoformat() if day_only else moment.isoformat()


def _as_guessed_date(found: Json, languages: bool | tuple[str, ...]) -> Json:
    """Return the date in a text such as "5 March 2026", in ISO format. The date must have a day, a month and a year.

    "3 days ago" or "in May" raises RuleFailedError, because the date would be different in each run.
    """
    import dateparser  # noqa: PLC0415  an optional dependency; without it, settings with `guess` are refused

    text = " ".join(as_text(found).split())
    if not text:
        return None
    moment = None if len(text) > _LONGEST_DATE else dateparser.parse(
        text, languages=None if languages is True else list(languages or ()),
        settings={"REQUIRE_PARTS": ["day", "month", "year"], "PARSERS": ["absolute-time"], "RETURN_TIME_AS_PERIOD": True})
    if moment is None:
        raise RuleFailedError(f"{short(text)} is not in a recognized date format")
    return moment.date().isoformat() if moment.time() == time() else moment.isoformat()


def _read_date(text: str, form: str | None) -> datetime | None:
    readers: list[Callable[[], datetime]] = [lambda: datetime.strptime(text, form)] if form is not None else [  # noqa: DTZ007  a date without a time zone stays without one
        lambda: datetime.fromisoformat(text), lambda: parsedate_to_datetime(text)]
    for read in readers:
        try:
            return read()
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    return None
