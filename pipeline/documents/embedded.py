"""Data inside pages: JSON in script elements, JSON-LD, OpenGraph, microdata; and CSV."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Callable

from selectolax.lexbor import LexborNode

from pipeline.model import Json

_ASSIGNED = re.compile(r"^\s*(?:(?:var|let|const)\s+)?[\w.$\[\]\"']+\s*=\s*")
_SAMPLE = 8192


def script_json(text: str) -> Json:
    """The JSON of a script element, also where it is assigned (`window.STATE = {…};`); None where it is none."""
    text = text.strip().removeprefix("<!--").removesuffix("-->").strip()
    for candidate in (text, _ASSIGNED.sub("", text, count=1), html.unescape(text)):
        try:
            found, end = json.JSONDecoder().raw_decode(candidate.lstrip())
        except (ValueError, RecursionError):
            continue
        rest = candidate.lstrip()[end:].strip()
        if isinstance(found, (dict, list)) or not rest.strip(";"):
            return found
    return None


def json_ld(root: LexborNode) -> Json:
    """Every JSON-LD record of a page (W3C JSON-LD 1.1, section 7), those of an @graph one by one."""
    found: list[Json] = []
    for script in root.css("script[type*='ld+json' i]"):
        value = script_json(script.text(deep=True))
        for record in value if isinstance(value, list) else [value]:
            graph = record.get("@graph") if isinstance(record, dict) else None
            found += graph if isinstance(graph, list) else [record]
    return [record for record in found if isinstance(record, dict)]


def opengraph(root: LexborNode) -> Json:
    """The og:… and other property metas of a page (ogp.me); a name that is there several times has a list."""
    found: dict[str, Json] = {}
    for meta in root.css("meta[property][content], meta[name^='twitter:'][content]"):
        name = meta.attributes.get("property") or meta.attributes.get("name") or ""
        _add(found, name, meta.attributes.get("content") or "")
    return found


def microdata(root: LexborNode) -> Json:
    """The top-level items of a page (HTML Standard, section 5), each with its @type and properties."""
    return [_microdata_item(node) for node in root.css("[itemscope]:not([itemprop])")]


def _microdata_item(scope: LexborNode) -> dict[str, Json]:
    found: dict[str, Json] = {}
    if kind := scope.attributes.get("itemtype"):
        found["@type"] = kind
    waiting = _children(scope)
    while waiting:
        node = waiting.pop(0)
        attributes = node.attributes
        nested = "itemscope" in attributes
        for name in (attributes.get("itemprop") or "").split():
            _add(found, name, _microdata_item(node) if nested else _microdata_value(node))
        if not nested:
            waiting[:0] = _children(node)
    return found


def _children(node: LexborNode) -> list[LexborNode]:
    return list(node.iter(include_text=False))


def _microdata_value(node: LexborNode) -> str:
    for name in ("content", "datetime", "href", "src", "data"):
        if (value := node.attributes.get(name)) is not None:
            return value
    return " ".join(node.text(deep=True, separator="").split())


def _add(found: dict[str, Json], name: str, value: Json) -> None:
    if name in found:
        known = found[name]
        found[name] = [*known, value] if isinstance(known, list) else [known, value]
    else:
        found[name] = value


def rows(text: str) -> list[dict[str, str]]:
    """The rows of a CSV by the names in its first line (RFC 4180; also ; tab and | between columns)."""
    text = text.removeprefix("\ufeff")
    head = text[:_SAMPLE].partition("\n")[0]
    mark = max(",;\t|", key=head.count)
    try:
        return [{name: value for name, value in row.items() if isinstance(name, str) and isinstance(value, str)}
                for row in csv.DictReader(io.StringIO(text, newline=""), delimiter=mark)]
    except csv.Error:
        return []


READERS: dict[str, Callable[[LexborNode], Json]] = {
    "json-ld": json_ld, "opengraph": opengraph, "microdata": microdata}
