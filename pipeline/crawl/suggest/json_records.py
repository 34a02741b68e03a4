"""Records in JSON: arrays of like objects, at any depth, as JMESPath rules.

Objects with the same path (array positions left out) are one list, so the products of several categories count together. A list
scores by the number of its objects, how alike their keys are, and whether they have a title and a link.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.crawl.suggest.names import known, slug, unused
from pipeline.crawl.suggest.value_types import date_rule, looks_like_number, looks_like_price
from pipeline.model import Json

_MOST_VALUES = 200_000
_MOST_DEPTH = 40
_SAMPLE = 60
_MAX_FIELDS = 14
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_URL = re.compile(r"(?:https?://|//|/[^/\s])\S*\Z")
_URL_KEYS = ("url", "href", "link", "permalink", "html_url", "@id", "canonical_url", "web_url", "slug", "uri", "path")
_TITLE_KEYS = ("title", "name", "headline", "label", "subject", "displayname", "display_name", "full_name", "text", "question")
_ID_KEYS = ("id", "_id", "uuid", "sku", "guid", "key", "code", "objectid", "number")


@dataclass
class JsonList:
    """Objects of one path. path: a JMESPath expression that selects them; score: how much they look like the list of a page."""

    path: str
    objects: list[dict[str, Json]] = field(default_factory=list)
    score: float = 0.0


def key_path(key: str) -> str:
    """Return a key as JMESPath, quoted if it needs to be."""
    if _IDENTIFIER.match(key):
        return key
    escaped = "".join(f"\\u{ord(char):04x}" if char < " " or char == "\x7f" or "\ud800" <= char <= "\udfff" else f"\\{char}" if char in '\\"' else char for char in key)
    return f'"{escaped}"'


def lists_in(value: Json, start: str = "") -> list[JsonList]:
    """Return the lists of objects in a JSON value, best first. start: the JMESPath expression of the value itself."""
    found: dict[str, JsonList] = {}
    waiting: list[tuple[Json, str, int]] = [(value, start, 0)]
    left = _MOST_VALUES
    while waiting and left > 0:
        left -= 1
        here, path, depth = waiting.pop()
        if depth > _MOST_DEPTH:
            continue
        if isinstance(here, list):
            inner = f"{path}[]"
            objects = [entry for entry in here if isinstance(entry, dict)]
            if objects:
                found.setdefault(inner, JsonList(inner)).objects.extend(objects)
            waiting += [(entry, inner, depth + 1) for entry in reversed(here) if isinstance(entry, (dict, list))]
        elif isinstance(here, dict):
            values = list(here.values())
            if len(values) >= 3 and all(isinstance(entry, dict) for entry in values) and _likeness([entry for entry in values if isinstance(entry, dict)]) > 0.7:
                inner = f"{path}.*" if path else "*"
                found.setdefault(inner, JsonList(inner)).objects.extend(entry for entry in values if isinstance(entry, dict))
            else:
                waiting += [(entry, f"{path}.{key_path(key)}" if path else key_path(key), depth + 1)
                            for key, entry in reversed(here.items()) if isinstance(entry, (dict, list))]
    for one in found.values():
        one.score = _score(one)
    return sorted((one for one in found.values() if one.score > 0), key=lambda one: -one.score)


def _likeness(objects: Sequence[dict[str, Json]]) -> float:
    few = objects[:_SAMPLE]
    usual = {key for key in {key for one in few for key in one} if sum(key in one for one in few) >= 0.5 * len(few)}
    return statistics.mean(len(usual & one.keys()) / max(1, len(usual | one.keys())) for one in few) if few and usual else 0.0


def _score(found: JsonList) -> float:
    objects = found.objects
    if len(objects) < 2:
        return 0.0
    few = [flat(one) for one in objects[:_SAMPLE]]
    keys = {key for one in few for key in one}
    titles = _best(keys, _TITLE_KEYS, few)
    urls = _best(keys, _URL_KEYS, few)
    distinct = max((len({str(one.get(key)) for one in few}) / len(few) for key in keys), default=0)
    text = statistics.mean(sum(len(str(entry)) for entry in one.values()) for one in few)
    return (min(1.0, len(objects) / 8) * _likeness(objects) * distinct * min(1.0, text / 20) * (1.0 if titles else 0.4)
            * (1.0 if urls else 0.8) * min(1.0, len(keys) / 3))


def flat(value: dict[str, Json]) -> dict[str, Json]:
    """Return the scalars of an object by their JMESPath, those of objects in it included, two levels deep."""
    found: dict[str, Json] = {}
    for key, entry in list(value.items())[:80]:
        if isinstance(entry, dict):
            for name, inner in list(entry.items())[:40]:
                if isinstance(inner, dict):
                    found |= {f"{key_path(key)}.{key_path(name)}.{key_path(last)}": deep for last, deep in list(inner.items())[:20]
                              if _is_scalar(deep)}
                elif _is_scalar(inner):
                    found[f"{key_path(key)}.{key_path(name)}"] = inner
        elif _is_scalar(entry):
            found[key_path(key)] = entry
    return found


def _is_scalar(value: Json) -> bool:
    return isinstance(value, (str, int, float)) and value != ""


def _best(keys: set[str], wanted: Sequence[str], objects: Sequence[dict[str, Json]]) -> str:
    """Return the path whose last key is the most wanted one and that most objects have; "" if there is none."""
    best, most = "", 0.0
    for key in sorted(keys):
        last = key.rpartition(".")[2].strip('"').casefold()
        if last in wanted:
            values = [one[key] for one in objects if key in one]
            share = len(values) / len(objects)
            points = share * (len({str(value) for value in values}) / len(values)) * (1 - wanted.index(last) / 40) * (1 - key.count(".") / 20)
            if share >= 0.6 and points > most:
                best, most = key, points
    return best


def json_fields(objects: Sequence[dict[str, Json]]) -> dict[str, Any]:
    """Return the rules of the fields of like objects, by name: title, url and id first."""
    few = [flat(one) for one in objects[:_SAMPLE]]
    order = list(dict.fromkeys(key for one in few for key in one))
    keys = set(order)
    rules: dict[str, Any] = {}
    taken = {name: _best(keys, wanted, few) for name, wanted in (("title", _TITLE_KEYS), ("url", _URL_KEYS), ("id", _ID_KEYS))}
    for name, key in taken.items():
        if key:
            rules[name] = _rule(key, [one[key] for one in few if key in one], name)
    for key in order:
        values = [one[key] for one in few if key in one]
        if key in taken.values() or len(values) < 0.35 * len(few) or len(rules) >= _MAX_FIELDS:
            continue
        name = _name(key)
        if len({str(value) for value in values}) == 1 and known(name) not in ("price", "stock", "status", "date"):
            continue
        if name and not name.startswith("n_") and not name.endswith("typename"):
            rules[unused(name, rules)] = _rule(key, values, name)
    return rules


def _name(key: str) -> str:
    parts = [slug(part.strip('"').lstrip("@")) for part in re.split(r'\.(?=(?:[^"]*"[^"]*")*[^"]*$)', key)]
    last = parts[-1]
    if len(parts) > 1 and last in ("name", "title", "value", "text", "url", "id", "amount", "src", "href", "rendered", "label", "type", "count"):
        return parts[-2] if last in ("name", "value", "text", "amount", "rendered", "label", "title") else f"{parts[-2]}_{last}"
    return last


def _rule(key: str, values: Sequence[Json], name: str) -> dict[str, Any]:
    rule: dict[str, Any] = {"jmes": key}
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) == len(values):
        if all(_URL.match(text) for text in texts) or (name == "url" and all(" " not in text for text in texts)):
            return {**rule, "type": "url"}
        if (dated := date_rule(texts)) is not None:
            return {**rule, **dated}
        if looks_like_price(texts, named=known(name) == "price"):
            return {**rule, "type": "price"}
        if looks_like_number(texts) and name not in _ID_KEYS and known(name) not in ("id", "sku", "version"):
            return {**rule, "type": "number"}
    elif all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values) and name != "id":
        return {**rule, "type": "number"}
    return rule
