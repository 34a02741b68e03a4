"""The places where an element may have the value of a field, and the rules that read them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from pydantic import ValidationError

from pipeline.crawl.mend.known_values import texts_of
from pipeline.crawl.mend.page_tree import IGNORED_ATTRIBUTES, Element, PageTree
from pipeline.crawl.suggest.selectors import IDENTIFIER
from pipeline.model import Json
from pipeline.settings import FieldTable

TEXT, OWN_TEXT = "text", "own text"
ISO = "ISO"
_LONGEST = 100_000
_MOST_NUMBERS = 6
_NUMBER = re.compile(r"\d[\d.,]*(?<=\d)")
_SIGNS_BEFORE = re.compile(r"^[^\W\d_]+")
_SIGNS_AFTER = re.compile(r"[^\W\d_]+$")
_KEPT_KEYS = ("default", "type", "format", "guess", "decimal", "currency", "join", "many", "required")
"""The keys of a rule that a new rule takes over unchanged."""


class Place(NamedTuple):
    """Where a value is inside an element, and how it is cut out and read.

    source: the text of the matched element, the text directly in it, or the name of an attribute. pattern: a regular expression; "" if
    there is none. form: the format of a date; "" for the format of the present rule, and ISO for none.
    """

    css: str
    source: str
    pattern: str
    form: str = ""


def source_cost(old: FieldTable, source: str) -> float:
    selector = old.css or old.xpath or ""
    from_attribute = "::attr" in selector or "@" in selector
    if source == TEXT:
        return 0.3 if from_attribute else 0.0
    if source == OWN_TEXT:
        return 0.6
    return (0.0 if source in ("href", "src", "datetime", "content") else 0.4) + (0.0 if from_attribute else 0.8) + (
        1.0 if source in ("alt", "id", "srcset") else 0.0)


def raw_values(tree: PageTree, element: Element) -> Iterator[tuple[str, str]]:
    """Yield the values of an element as a rule reads them: its text, the text directly in it, and its attributes."""
    if not element.is_opaque and element.end - element.start <= _LONGEST:
        text = tree.text_of(element)
        if text.strip():
            yield TEXT, text
            if element.last != element.at:
                own = next((piece for child in element.node.iter(include_text=True)
                            if child.is_text_node and (piece := child.text_content or "").strip()), "")
                if own and own != text:
                    yield OWN_TEXT, own
    for name, value in element.attributes.items():
        if value.strip() and name not in IGNORED_ATTRIBUTES and IDENTIFIER.fullmatch(name):
            yield name, value


def new_rule(old: FieldTable, place: Place) -> FieldTable | None:
    """Return a rule for a new place that converts its matches as the old rule does; None if the settings do not allow it."""
    selector, source, pattern, form = place
    table = {key: value for key in _KEPT_KEYS if key in old.model_fields_set and (value := getattr(old, key)) is not None}
    if old.type == "text" and (source in ("href", "src") or reads_link(old)):
        table["type"] = "url" if source not in ("href", "src") else "text"
        if not reads_link(old) and source in ("href", "src"):
            return None  # the field is a text; a link attribute would be made absolute
        if table["type"] == "text":
            del table["type"]
    if selector.startswith("./"):
        table["xpath"] = selector + ("" if source == TEXT else "/text()" if source == OWN_TEXT else f"/@{source}")
    else:
        end = "" if source == TEXT else "::text" if source == OWN_TEXT else f"::attr({source})"
        table["css"] = end if end and selector == "*" else f"{selector}{end}"
    if pattern:
        table["regex"] = pattern
    if form:
        table.pop("guess", None)
        table["format"] = form
    if form == ISO:
        del table["format"]
    if old.strip is not None:
        table["strip"] = old.strip
    try:
        return FieldTable.model_validate(table)
    except ValidationError:
        return None


def reads_text(rule: FieldTable) -> bool:
    selector = rule.css or rule.xpath or ""
    return "::attr" not in selector and "@" not in selector


def reads_link(rule: FieldTable) -> bool:
    return re.search(r"::attr\((?:href|src)\)|@(?:href|src)\b", rule.css or rule.xpath or "") is not None


def patterns_of(raw: str, value: Json, *, is_number: bool = False) -> Iterator[str]:
    """Yield regular expressions that cut a known text, or each number, out of a longer text."""
    line = " ".join(raw.split())
    if len(line) > 1000:
        return
    texts = dict.fromkeys(_NUMBER.findall(line)) if is_number else [" ".join(known.split()) for known in texts_of(value)]
    for text in list(texts)[:_MOST_NUMBERS]:
        if (len(text) < 2 and not is_number) or text == line:
            continue
        at = line.find(text)
        if at < 0:
            continue
        before, after = line[:at], line[at + len(text):]
        # The word or the currency before the value may belong to another field, so the signs alone are tried, too.
        tail, head = _tail(before), _head(after)
        starts = dict.fromkeys(map(_escaped, (tail, _SIGNS_BEFORE.sub("", tail), *_SIGNS_BEFORE.sub("", tail).split()[-1:])))
        ends = dict.fromkeys(map(_escaped, (head, _SIGNS_AFTER.sub("", head), *_SIGNS_AFTER.sub("", head).split()[:1])))
        for start in starts:
            for end in ends:
                if start or not before.strip():
                    yield (rf"{start}\s*(.+?)" if start else r"^\s*(.+?)") + (rf"\s*{end}" if end else r"\s*$")


def _tail(before: str) -> str:
    match = re.search(r"[^\W\d_]*\W*$", before)
    return match[0] if match else ""


def _head(after: str) -> str:
    match = re.match(r"\W*[^\W\d_]*", after)
    return match[0] if match else ""


def _escaped(text: str) -> str:
    return r"\s*".join(re.escape(part) for part in text.split())

