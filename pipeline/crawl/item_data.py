"""The data and the key of an item, in the form in which the store keeps them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any

from itemadapter import ItemAdapter
from scrapy.crawler import Crawler

from pipeline.crawl.context import context_of
from pipeline.model import Json, Reject


class RejectedItemError(Exception):
    """An item cannot be stored; the message says why."""


def key_fields(crawler: Crawler) -> tuple[str, ...]:
    """Return the names of the key fields of items: the setting `items.key`, or else the spider's attribute `key`."""
    items = context_of(crawler).table.items
    own = getattr(crawler.spidercls, "key", ())
    return (items.key if items else ()) or ((own,) if isinstance(own, str) else tuple(own))


def item_key(data: dict[str, Json], fields: tuple[str, ...]) -> str:
    """Return an item's key: the values of its key fields, or else its `url`, or else a hash of the item.

    fields: the names of the key fields.
    """
    if not fields and data.get("url"):
        fields = ("url",)
    if not fields:
        return sha256(json.dumps(data, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()[:32]
    values = [data.get(name) for name in fields]
    if any(value in (None, "") for value in values):
        missing = ", ".join(name for name, value in zip(fields, values, strict=True) if value in (None, ""))
        raise RejectedItemError(f"the item's key field {missing} is empty")
    if len(values) == 1 and isinstance(values[0], str):
        return values[0]
    return json.dumps(values, ensure_ascii=False)


def rejected(data: dict[str, Any], key: tuple[str, ...], reason: str) -> Reject:
    """Return a rejected item with the reason.

    If the key of the item can be read, the key is recorded too, so that the stored item with this key is not reported as gone.
    """
    try:
        plain = as_json(data)
    except RejectedItemError:
        plain = {str(name): repr(value)[:200] for name, value in data.items()}
    try:
        found = item_key(plain, key) if plain else ""
    except RejectedItemError:
        found = ""
    return Reject(as_json(reason), plain, found)


def as_json(value: Any) -> Any:
    """Convert a value to JSON data, in exactly the form in which the store will return the value later.

    Raise RejectedItemError for a value that cannot be stored.
    """
    if isinstance(value, str):
        return _storable(value)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    try:
        if isinstance(value, dict):
            return {_storable(str(name)): _storable(entry) if type(entry) is str else as_json(entry)
                    for name, entry in value.items()}
        if isinstance(value, (list, tuple, set, frozenset, Iterator)):
            return [as_json(entry) for entry in value]
        if isinstance(value, (datetime, date)):
            return value.isoformat()
        if isinstance(value, Decimal):
            return str(value)
        return as_json(ItemAdapter(value).asdict())
    except TypeError as error:
        raise RejectedItemError(f"a value of type {type(value).__name__} cannot be stored") from error
    except RecursionError as error:
        raise RejectedItemError("the item is nested too deeply") from error


def _storable(text: str) -> str:
    """Replace the NUL characters and lone surrogates in a text, because databases do not accept these characters."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
