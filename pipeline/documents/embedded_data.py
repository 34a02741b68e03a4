"""Reads data embedded in pages (JSON in scripts, JSON-LD, OpenGraph, microdata), and CSV files."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass, field

from selectolax.lexbor import LexborNode

from pipeline.documents.scripts import scan
from pipeline.model import Json
from pipeline.urls import absolute

_SAMPLE = 8192
MAX_NESTING = 50
"""The maximum nesting depth of microdata items."""
MAX_ELEMENTS = 200_000
"""The maximum number of elements that are read for the microdata of one page.

An element that several items refer to by itemref counts once for each item.
"""
_NAMED = ("og:", "twitter:", "product:", "article:", "book:", "profile:", "music:", "video:", "fb:", "al:")
_LINKED = {"a": "href", "area": "href", "link": "href", "object": "data"} | dict.fromkeys(
    ("audio", "embed", "iframe", "img", "source", "track", "video"), "src")
_VALUED = {"meta": "content", "data": "value", "meter": "value", "time": "datetime"}


@dataclass
class ParsedPage:
    """The page from which the functions of this module read data.

    base: the base URL of relative links; problems: a list to which messages about unreadable data are appended.
    """

    root: LexborNode
    base: str
    problems: list[str] = field(default_factory=list)


def json_ld(page: ParsedPage) -> Json:
    """Return every JSON-LD record of a page (W3C JSON-LD 1.1, section 7).

    If a record has an @graph, the records in the @graph are returned as separate records.
    """
    found: list[Json] = []
    for script in page.root.css("script[type*='ld+json' i]"):
        values, problem = read_script(script.text(deep=True), kind="application/ld+json")
        page.problems += [problem] if problem else []
        for value in values:
            for record in value if isinstance(value, list) else [value]:
                graph = record.get("@graph") if isinstance(record, dict) else None
                found += graph if isinstance(graph, list) else [record]
    return [record for record in found if isinstance(record, dict)]


def read_script(text: str, *, kind: str = "") -> tuple[list[Json], str]:
    """Return the values in a script element, and a message about unreadable data; "" if all data can be read.

    kind: the type attribute of the script. A script with a JSON type must contain only JSON; any other script may also contain
    code.
    """
    found, unread = scan(text)
    is_json = "json" in kind.lower()
    if unread is not None and (is_json or not found):
        return found, f"a script {f'of type {kind} ' if kind else ''}cannot be read: {unread}: {beginning(text)}"
    if not found and is_json and text.strip(" \t\r\n\f\ufeff"):
        return [], f"a script of type {kind} contains no JSON: {beginning(text)}"
    return found, ""


def beginning(text: str) -> str:
    """Return the beginning of a script on one line, for messages."""
    line = " ".join(text[:200].split())
    return repr(line if len(line) <= 60 else line[:59] + "…")


def opengraph(page: ParsedPage) -> Json:
    """Return the OpenGraph properties of a page (ogp.me). The attribute `name` is accepted in place of `property`.

    If a property occurs several times, its value is the list of all values.
    """
    found: dict[str, Json] = {}
    for meta in page.root.css("meta[property][content], meta[name][content]"):
        named = meta.attributes.get("name") or ""
        names = (meta.attributes.get("property") or "").split() or ([named] if named.lower().startswith(_NAMED) else [])
        for name in names:
            _add(found, name, meta.attributes.get("content") or "")
    return found


def microdata(page: ParsedPage) -> Json:
    """Return the top-level microdata items of a page, each with its @type, @id and properties.

    See the HTML Standard, section 5.
    """
    return _Microdata(page).items()


class _Microdata:
    def __init__(self, page: ParsedPage) -> None:
        self._page = page
        self._left = MAX_ELEMENTS
        self._by_id: dict[str, LexborNode] | None = None

    def items(self) -> list[Json]:
        found: list[Json] = [self._item(node, 0, frozenset()) for node in self._page.root.css("[itemscope]:not([itemprop])")]
        if self._left <= 0:
            self._page.problems.append(f"the microdata has more than {MAX_ELEMENTS} elements; the other elements were ignored")
        return found

    def _item(self, scope: LexborNode, depth: int, within: frozenset[int]) -> dict[str, Json]:
        found: dict[str, Json] = {}
        attributes = scope.attributes
        if kind := attributes.get("itemtype"):
            found["@type"] = kind
        if own_id := attributes.get("itemid"):
            found["@id"] = absolute(own_id, self._page.base) or own_id
        within |= {scope.mem_id}
        waiting = [*self._named((attributes.get("itemref") or "").split())[::-1], *_children(scope)[::-1]]
        seen: set[int] = set()
        while waiting and self._left > 0:
            node = waiting.pop()
            if node.mem_id in seen:
                continue
            seen.add(node.mem_id)
            self._left -= 1
            attributes = node.attributes
            nested = "itemscope" in attributes
            for name in dict.fromkeys((attributes.get("itemprop") or "").split()):
                if not nested:
                    _add(found, name, self._value(node))
                elif depth < MAX_NESTING and node.mem_id not in within:
                    _add(found, name, self._item(node, depth + 1, within))
            if not nested:
                waiting += _children(node)[::-1]
        return found

    def _named(self, ids: list[str]) -> list[LexborNode]:
        if ids and self._by_id is None:
            self._by_id = {}
            for node in self._page.root.css("[id]"):
                self._by_id.setdefault(node.attributes.get("id") or "", node)
        return [self._by_id[name] for name in ids if self._by_id and name in self._by_id]

    def _value(self, node: LexborNode) -> str:
        """Return the value of a property.

        On every element, the attribute `content` takes precedence: many shops use it on elements other than <meta>, and search
        engines accept this.
        """
        attributes, tag = node.attributes, node.tag or ""
        if (content := attributes.get("content")) is not None:
            return content
        if tag in _LINKED:
            link = attributes.get(_LINKED[tag]) or ""
            return (absolute(link, self._page.base) if link else "") or link
        if (value := attributes.get(_VALUED.get(tag, ""))) is not None:
            return value
        return " ".join(node.text(deep=True, separator="").split())


def _children(node: LexborNode) -> list[LexborNode]:
    return list(node.iter(include_text=False))


def _add(found: dict[str, Json], name: str, value: Json) -> None:
    if name in found:
        known = found[name]
        found[name] = [*known, value] if isinstance(known, list) else [known, value]
    else:
        found[name] = value


def rows(text: str) -> list[dict[str, str]]:
    """Return the rows of a CSV text (RFC 4180) as dicts. The keys are the column names in the first line.

    The separator is a comma, semicolon, tab or vertical bar, whichever is most frequent in the first line.
    """
    text = text.removeprefix("\ufeff")
    head = text[:_SAMPLE].partition("\n")[0]
    mark = max(",;\t|", key=head.count)
    try:
        return [{name: value for name, value in row.items() if isinstance(name, str) and isinstance(value, str)}
                for row in csv.DictReader(io.StringIO(text, newline=""), delimiter=mark)]
    except csv.Error:
        return []


READERS: dict[str, Callable[[ParsedPage], Json]] = {
    "json-ld": json_ld, "opengraph": opengraph, "microdata": microdata}
