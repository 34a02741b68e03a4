"""A proposal for a spider's table, and its test with the rules of the engine on the page itself."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from pipeline.crawl.extract import Document, ItemRules
from pipeline.model import Json
from pipeline.settings import SpiderTable

SHOWN_ROWS = 5
_EMPTY: tuple[Json, ...] = (None, "", [], {})
_MIN_FILLED = 0.3
_KEYS = ("url", "id", "sku")
_VOLATILE = frozenset(["rank", "views"])
_LONGEST_AGE = 40
_AGE = re.compile(r"\b(?:ago|yesterday|today|just now)\b|\bvor \d|\bil y a\b|\bhace \d|\b\d+ (?:min|mins|minutes?|hours?|days?|weeks?|months?)\b\.?$|"
                  r"[前전]$|назад$|^منذ|^heute\b|^gestern\b|^hier\b", re.IGNORECASE)


@dataclass(frozen=True)
class Proposal:
    """A table for a spider, and what it finds on the page.

    kind: what was found ("html", "json-ld", "microdata", "json", "csv", "feed", "sitemap"); table: the keys of [spiders.NAME] as TOML
    has them, always valid settings; rows: at most five items; count: how many items the rules find on the page; confidence: 0 to 1;
    reasons: why, in short sentences; notes: what a person should look at.
    """

    kind: str
    table: dict[str, Any]
    rows: list[dict[str, Json]] = field(default_factory=list)
    count: int = 0
    confidence: float = 0.0
    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class Tested:
    """A table of items that was run on the page.

    items: the table after its repair; rows: all items of the page; filled: the share of the items that have a field, by name; notes:
    what was repaired.
    """

    items: dict[str, Any]
    rows: list[dict[str, Json]]
    filled: dict[str, float]
    notes: list[str] = field(default_factory=list)


def valid(table: dict[str, Any]) -> SpiderTable | None:
    """Return the settings of a table; None if they are not valid."""
    try:
        return SpiderTable.model_validate(table)
    except ValidationError:
        return None


def tested(each: Any, fields: dict[str, Any], document: Document) -> Tested | None:
    """Return the rules with what they find on the page; None if nothing useful is left of them.

    A field whose values do not have its type becomes a text; one that stays empty is removed.
    """
    fields, notes = dict(fields), []
    for _ in range(2 * len(fields) + 2):
        rules = valid({"start": [document.url], "items": {"each": each, "fields": fields}}) if fields else None
        if rules is None or rules.items is None:
            return None
        found = ItemRules(rules.items.fields, rules.items.each).extract(document)
        wrong = [reason.partition(":")[0] for one in found.rejected[:20] for reason in one.reason.split("; ")]
        failed = next((name for name in wrong if name in fields), None)
        if failed is not None:
            notes.append(f"{failed} is read as text, because some values are not of one type")
            fields = _weaker(fields, failed)
            continue
        if found.rejected or not found.items:
            return None
        filled = {name: sum(item.get(name) not in _EMPTY for item in found.items) / len(found.items) for name in fields}
        empty = [name for name in fields if filled[name] < _MIN_FILLED]
        if "url" in fields and len(found.items) > 1 and len({str(item.get("url")) for item in found.items}) == 1:
            empty.append("url")  # links to parts of one page, whose fragments are not kept
        if not empty:
            key = key_of(found.items, fields)
            ignored = [name for name in fields if name not in key and is_volatile(name, found.items)]
            if ignored:
                notes.append(f"changes of {', '.join(ignored)} are ignored, because they are different in each run")
            items = {"each": each, "key": key, "ignore": ignored, "fields": fields}
            return Tested({name: value for name, value in items.items() if value}, found.items, filled, notes)
        fields = {name: rule for name, rule in fields.items() if name not in empty}
    return None


def is_volatile(name: str, rows: list[dict[str, Json]]) -> bool:
    """Return whether a field changes without news: a rank, a number of views, a time such as "3 hours ago"."""
    if name in _VOLATILE:
        return True
    texts = [value for row in rows if isinstance(value := row.get(name), str) and value]
    return bool(texts) and sum(len(text) < _LONGEST_AGE and _AGE.search(text) is not None for text in texts) > 0.5 * len(texts)


def _weaker(fields: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the fields with one of them as text; without it if it is a text already."""
    rule = fields[name]
    if not isinstance(rule, dict) or "type" not in rule:
        return {other: kept for other, kept in fields.items() if other != name}
    plain = {key: value for key, value in rule.items() if key not in ("type", "format", "guess", "currency", "decimal")}
    return fields | {name: plain["css"] if set(plain) == {"css"} else plain}


def key_of(rows: Iterable[dict[str, Json]], fields: dict[str, Any]) -> list[str]:
    """Return the names of fields that tell all rows apart, the stable ones first; [] if there are none."""
    rows = list(rows)
    texts = [name for name in fields if name in _KEYS] + (["title"] if "title" in fields else [])
    plain: list[str] = [name for name in ("title", "date", "author") if name in fields]
    candidates: list[list[str]] = [*([name] for name in texts), plain[:2], plain]
    for names in candidates:
        if names and _is_unique(rows, names):
            return names
    return next(([name] for name, rule in fields.items()
                 if not (isinstance(rule, dict) and (rule.get("type") in ("price", "date", "number") or rule.get("many")))
                 and name not in ("image", "description", "rank") and _is_unique(rows, [name])), [])


def _is_unique(rows: list[dict[str, Json]], names: list[str]) -> bool:
    seen = set()
    for row in rows:
        values = tuple(row.get(name) for name in names)
        if any(not isinstance(value, (str, int, float)) or value == "" for value in values):
            return False
        seen.add(values)
    return len(seen) == len(rows)
