"""The fields of a list: which slots of its records are worth a field, what they are called and how they are read.

The title is the slot that looks most like one (a heading, an `itemprop`, a link with a text of its own); `url` is its link. Each
further slot becomes a field if its values differ or the page names it.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.crawl.suggest.names import known, name_for, unused
from pipeline.crawl.suggest.selectors import selector_for, semantic_classes
from pipeline.crawl.suggest.sibling_paths import xpath_of
from pipeline.crawl.suggest.slots import TEXT_AFTER, Record, Slot, link_of
from pipeline.crawl.suggest.structure import Group
from pipeline.crawl.suggest.tree import Element
from pipeline.crawl.suggest.value_types import (
    date_rule,
    looks_like_count,
    looks_like_date,
    looks_like_number,
    looks_like_price,
)

MAX_FIELDS = 10
_MIN_PRESENCE = 0.35
_HEADINGS = re.compile(r"h[1-6]\Z")
_BARE_NUMBER = re.compile(r"[\W_]*\d[\W\d_]*\Z")
_INLINE = frozenset(["b", "i", "em", "strong", "span", "code", "font", "u", "s", "small", "big", "mark", "tt", "sup", "sub", "kbd", "q", "cite", "abbr"])
_NO_LINK = re.compile(r"\s*(?:javascript:|mailto:|tel:|data:|#\s*$)", re.IGNORECASE)
_DOWNLOADS = re.compile(r"\.(?:pdf|zip|mp3|ogg|m4a|flac|wav|mp4|webm|mkv|epub|mobi|docx?|xlsx?|pptx?|odt|ods|csv|tar\.gz|tgz|tar\.xz|tar\.bz2|gz|xz|bz2|"
                        r"7z|rar|deb|rpm|whl|jar|exe|msi|dmg|iso|apk|torrent)(?:[?#]|$)", re.IGNORECASE)

# How much a slot looks like the title of its records; the slot with the largest sum is the title.
TITLE_ITEMPROP = 5.0     # itemprop says name or headline
TITLE_HEADING = 3.0      # the slot is in a heading
TITLE_CLASS = 2.5        # a class says title, name or subject
TITLE_HEADER = 2.5       # the heading of the column says so
TITLE_LINK = 2.0         # the slot is a link
TITLE_DISTINCT = 2.0     # times the share of different texts
TITLE_LENGTH = 1.5       # the texts are as long as titles are
TITLE_FIRST = 1.0        # the slot comes early in the record
TITLE_OTHER = -3.0       # it is named as something else, such as author or price
TITLE_MIXED = -3.5       # most of its text is that of several slots inside it
TITLE_VALUE = -4.0       # its texts are numbers, dates or prices


@dataclass
class Fields:
    """The fields of a group.

    rules: their rules as in settings.toml, by name; title_slot: the slot of the title; downloads: endings of linked files; notes:
    what to look at.
    """

    rules: dict[str, Any] = field(default_factory=dict)
    title_slot: Slot | None = None
    downloads: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def split(slots: Mapping[str, Slot]) -> dict[str, Slot]:
    """Return the slots, with one slot for each place where all records have the same few elements at the same path."""
    found: dict[str, Slot] = {}
    for key, slot in slots.items():
        counts = {len(elements) for elements in slot.found.values()}
        if len(counts) != 1 or not 2 <= (many := counts.pop()) <= 3 or slot.key.startswith("+"):
            found[key] = slot
            continue
        for place in range(many):
            found[f"{key} ({place + 1})"] = Slot(f"{key} ({place + 1})", {number: [elements[place]] for number, elements in slot.found.items()})
    return found


def title_slot(group: Group) -> Slot | None:
    """Return the slot that holds the titles of the records; None if there is none."""
    count = len(group.records)
    headers = headers_of(group.records[0].head) if group.records else {}
    best, most = None, 0.0
    slots = [slot for slot in split(group.slots).values() if slot.presence(count) >= 0.6]
    for place, slot in enumerate(slots):
        texts = [text for _, element in slot.firsts() if (text := element.tail if slot.key == TEXT_AFTER else element.whole_text)]
        if len(texts) < 0.6 * count or all(element.tag == "img" for _, element in slot.firsts()):
            continue
        points = _title_points(slot, texts, headers) + TITLE_FIRST * (1 - place / len(slots))
        points += TITLE_MIXED if _holds_other_texts(slot, slots) else 0
        if points > most:
            best, most = slot, points
    return best


def _title_points(slot: Slot, texts: list[str], headers: dict[int, str]) -> float:
    element = next(iter(slot.firsts()))[1]
    points = TITLE_DISTINCT * len(set(texts)) / len(texts)
    props = (element.attributes.get("itemprop") or "").split()
    points += TITLE_ITEMPROP if {"name", "headline"} & set(props) else 0
    around = [element, *list(element.ancestors())[:2]]
    points += TITLE_HEADING if any(_HEADINGS.match(one.tag) for one in around) else 0
    named = [name for one in around[:2] for css in semantic_classes(one.classes) if (name := known(css))]
    points += TITLE_CLASS if "title" in named else TITLE_OTHER if named else 0
    header = known(headers.get(_column(slot), "")) if headers else ""
    points += TITLE_HEADER if header == "title" else TITLE_OTHER if header and header != "description" else 0
    points += TITLE_LINK if link_of(element) and not _NO_LINK.match(link_of(element)) and slot.key != TEXT_AFTER else 0
    length = statistics.median(map(len, texts))
    points += TITLE_LENGTH if 6 <= length <= 160 else 0.5 * TITLE_LENGTH if 2 <= length <= 6 else -TITLE_LENGTH
    if all(_BARE_NUMBER.match(text) for text in texts) or looks_like_price(texts, named=False) or (length <= 40 and (
            date_rule(texts) is not None or looks_like_count(texts))) or (looks_like_date(texts) and length <= 25):
        points += TITLE_VALUE
    return points - (1.5 if slot.key.startswith("+") else 0)


def _holds_other_texts(slot: Slot, slots: Sequence[Slot]) -> bool:
    own = statistics.median(len(element.text) for _, element in slot.firsts())
    whole = max(1, statistics.median(element.length for _, element in slot.firsts()))
    longest = max((statistics.median(element.length for _, element in other.firsts()) for other in slots
                   if other is not slot and other.key.startswith(f"{slot.key} > ")), default=0)
    return 0 < longest < 0.97 * whole and own < 0.5 * whole


def fields_of(group: Group) -> Fields:
    """Return the fields of the records of a group, the title and the link first."""
    found = Fields(title_slot=title_slot(group))
    builder = _Builder(group, found)
    if found.title_slot is not None:
        builder.add_title(found.title_slot)
    builder.add_url()
    for slot in _worthwhile(group, found.title_slot):
        if len(found.rules) >= MAX_FIELDS:
            break
        builder.add(slot)
    return found


def headers_of(head: Element) -> dict[int, str]:
    """Return the headings of the columns of the table that a row is in, by the number of the column from 1."""
    if head.tag != "tr":
        return {}
    table = next((above for above in head.ancestors() if above.tag == "table"), None)
    if table is None:
        return {}
    rows = [row for part in table.children for row in (part.children if part.tag in ("thead", "tbody") else [part]) if row.tag == "tr"]
    for row in rows[:3]:
        cells = [cell for cell in row.children if cell.tag in ("th", "td")]
        in_head = row.parent is not None and row.parent.tag == "thead"
        if len(cells) > 1 and (in_head or sum(cell.tag == "th" for cell in cells) >= max(2, len(cells) - 1)):
            return {cell.nth: cell.whole_text for cell in cells}
    return {}


def _column(slot: Slot) -> int:
    match = re.match(r" > t[dh][^>\[]*\[(\d+)\]", slot.key)
    return int(match[1]) if match else 0


def _worthwhile(group: Group, title: Slot | None) -> list[Slot]:
    """Return the slots that may become fields, in the order of the page: those that are not a part or a repetition of another one."""
    count = len(group.records)
    slots = [slot for slot in split(group.slots).values()
             if (title is None or slot.key != title.key) and slot.presence(count) >= _MIN_PRESENCE]
    kept: list[Slot] = []
    seen = {tuple(title.values())} if title is not None else set()
    for slot in slots:
        values = tuple(slot.values())
        if values in seen or _is_composite(slot, group, count) or _is_part(slot, kept, title):
            continue
        seen.add(values)
        kept.append(slot)
    return kept


def _is_composite(slot: Slot, group: Group, count: int) -> bool:
    """Return whether a slot only holds other slots, so that its text is that of several fields."""
    prefix = f"{slot.key} > "
    inner = [other for key, other in group.slots.items() if key.startswith(prefix) and other.presence(count) >= _MIN_PRESENCE and any(other.values())]
    if not inner:
        return slot.key == "" and len(group.slots) > 1
    own = statistics.median(len(element.text) for _, element in slot.firsts())
    whole = max(1, statistics.median(element.length for _, element in slot.firsts()))
    return len(inner) >= 1 and own / whole < 0.35 and any(element.tag not in ("img",) for other in inner for _, element in other.firsts())


def _is_part(slot: Slot, kept: Sequence[Slot], title: Slot | None) -> bool:
    """Return whether a slot is a piece of a text that another field reads whole, such as a bold word."""
    element = next(iter(slot.firsts()))[1]
    for other in [*kept, *([title] if title is not None else [])]:
        if not slot.key.startswith(f"{other.key} > ") or other.key == "":
            continue
        if other is title and element.tag in (*_INLINE, "a") and not known(" ".join(semantic_classes(element.classes))):
            return True
        own = statistics.median(len(one.text) for _, one in other.firsts())
        if own > 0.5 * len(slot.values()[0]) and element.tag in (*_INLINE, "a", "img") and not semantic_classes(element.classes):
            return True
    return False


class _Builder:
    """Adds the rule of one slot after the other to the fields of a group."""

    def __init__(self, group: Group, fields: Fields) -> None:
        self._records = group.records
        self._group = group
        self._fields = fields
        self._headers = headers_of(group.records[0].head)

    def add_title(self, slot: Slot) -> None:
        elements = {number: _readable(element, self._records[number]) for number, element in slot.firsts()}
        source = self._source(slot, elements)
        if source is None:
            return
        texts = [element.whole_text for element in elements.values()]
        full = [(element.attributes.get("title") or "") for element in elements.values()]
        cut = [text for text in texts if text.endswith(("...", "…"))]
        if "css" in source and cut and len(cut) >= 0.3 * len(texts) and all(
                whole.startswith(text.rstrip(".… ")[:10]) for text, whole in zip(texts, full, strict=True)):
            source = {"css": f"{source['css']}::attr(title)"}
        self._fields.rules["title"] = _short(source)

    def add_url(self) -> None:
        """Add the link of the title; else the first link that differs from record to record."""
        title = self._fields.title_slot
        links: list[tuple[Slot | None, dict[int, Element]]] = []
        if title is not None:
            links.append((title, {number: anchor for number, element in title.firsts()
                                  if (anchor := _anchor(element, self._records[number])) is not None}))
        others = [(slot, {number: element for number, element in slot.firsts() if element.tag == "a"})
                  for slot in split(self._group.slots).values()]
        links += sorted(others, key=lambda one: -len({element.attributes.get("href") for element in one[1].values()}))[:3]
        for slot, anchors in links:
            urls = [element.attributes.get("href") or "" for element in anchors.values()]
            if len(anchors) < 0.6 * len(self._records) or len(set(urls)) < 0.6 * len(urls) or all(map(_NO_LINK.match, urls)):
                continue
            if slot is not None and (source := self._source(slot, anchors)) is not None:
                self._fields.rules["url"] = _short(_attribute(source, "href"))
                return
        self._add_row_link()

    def _add_row_link(self) -> None:
        """Add the link of rows that a script makes clickable: data-href, data-url."""
        for name in ("data-href", "data-url", "data-link"):
            if all(record.head.attributes.get(name) for record in self._records):
                self._fields.rules["url"] = {"css": f"::attr({name})", "type": "url"}
                return

    def add(self, slot: Slot) -> None:
        """Add the field of a slot, if its values are worth one."""
        elements = {number: self._outer(element, self._records[number]) for number, element in slot.firsts()}
        first = next(iter(elements.values()))
        if first.tag in ("img", "source", "video", "audio"):
            self._add_image(slot, elements)
            return
        values = [value for value in slot.values() if value]
        said = self._said(slot, first)
        name, is_usual = name_for(said)
        named = bool(said) and (is_usual or bool(self._headers))
        if len(values) < _MIN_PRESENCE * len(self._records) or (len(set(values)) == 1 and not (named and name not in ("tags", "title", "comments"))):
            return
        if slot.repeats() >= 1.5 and not slot.key.startswith("+"):
            self._add_list(slot, name or "tags", values)
            return
        typed = self._typed(slot, elements, values, name)
        if typed is None:
            return
        kind, rule = typed
        usual = {"date": "date", "price": "price"}.get(kind, "")
        if kind == "date" and name in ("title", "author", "comments", "description", "id", "views", "size"):
            name = ""
        if kind == "price" and name not in ("price", "salary"):
            name = name if name and not is_usual else ""
        if not name:
            name = usual or (kind if kind in ("number", "count") else "")
        if name == "count":
            name = known(re.sub(r"[\W\d]+", " ", values[0]).strip()) or "count"
        if name in ("url", "title") or not name:
            name = "text" if statistics.median(map(len, values)) < 80 else "description"
        self._fields.rules[unused(name, self._fields.rules)] = rule

    def _outer(self, element: Element, record: Record) -> Element:
        """Return the element around a text that says more about it: a class, or a date in an attribute."""
        above = element.parent
        says = bool(semantic_classes(element.classes)) or "datetime" in element.attributes
        if says or above is None or above is record.head or above in record.after or element is record.head or element in record.after \
                or above.length != element.length or above.tag in ("td", "th", "dd", "dt"):
            return element
        return above if semantic_classes(above.classes) or above.attributes.get("title") or above.attributes.get("datetime") else element

    def _typed(self, slot: Slot, elements: dict[int, Element], values: list[str], name: str) -> tuple[str, Any] | None:
        source = self._source(slot, elements)
        if source is None:
            return None
        for attribute in ("datetime", "title", "content", "data-time", "data-date", "data-timestamp"):
            stamps = [element.attributes.get(attribute) or "" for element in elements.values()]
            if slot.key != TEXT_AFTER and all(stamps) and (dated := date_rule(stamps)) is not None:
                return "date", {**_attribute(source, attribute), **dated}
        if slot.key == TEXT_AFTER:
            return _after_text(source, values)
        if machine := {"meta": "content", "data": "value", "meter": "value"}.get(next(iter(elements.values())).tag):
            source = _attribute(source, machine)
        if (dated := date_rule(values, guess=True)) is not None and name not in ("id", "version"):
            return "date", {**source, **dated}
        if looks_like_price(values, named=name in ("price", "salary")) and not looks_like_date(values):
            return "price", {**source, "type": "price"}
        if looks_like_number(values) and name not in ("id", "sku", "version", "title", "date"):
            return "number", {**source, "type": "number"}
        if looks_like_count(values) and not looks_like_date(values) and name not in ("id", "sku", "version", "title", "size", "area"):
            return "count", {**source, "type": "number"}
        return "text", _short(source)

    def _add_image(self, slot: Slot, elements: dict[int, Element]) -> None:
        if "image" in self._fields.rules or slot.distinct() < 0.5 or next(iter(elements.values())).tag != "img":
            return
        source = self._source(slot, elements)
        for name in ("data-src", "data-original", "data-lazy-src", "src"):
            values = [element.attributes.get(name) or "" for element in elements.values()]
            if source is not None and all(values) and len(set(values)) > 0.5 * len(values) and not values[0].startswith("data:"):
                rule = _attribute(source, name)
                self._fields.rules["image"] = _short(rule) if name == "src" else {**rule, "type": "url"}
                return

    def _add_list(self, slot: Slot, name: str, values: list[str]) -> None:
        """Add a field with all values of a slot that occurs several times in a record, such as tags."""
        if statistics.median(map(len, values)) > 40 or name in ("url", "title", "date", "price", "author"):
            return
        elements = max(slot.found.values(), key=len)
        for css in [*(f".{one}" for one in semantic_classes(elements[0].classes)), elements[0].tag]:
            if all({node.mem_id for node in self._records[place].head.node.css(css)} == {one.node.mem_id for one in found}
                   for place, found in slot.found.items()):
                self._fields.rules[unused(name, self._fields.rules)] = {"css": css, "many": True}
                return

    def _source(self, slot: Slot, elements: dict[int, Element]) -> dict[str, Any] | None:
        """Return the css or xpath key of a rule that finds the elements of a slot; None if there is no such rule."""
        if slot.key.startswith("+"):
            return xpath_of(slot, elements, self._records)
        (number, element), *_ = elements.items()
        rivals = [(record.head.node, elements[place].node if place in elements else None)
                  for place, record in enumerate(self._records) if place != number]
        css = selector_for(element.node, self._records[number].head.node, rivals=rivals, share=0.85)
        return {"css": css} if css is not None else None

    def _said(self, slot: Slot, element: Element) -> list[str]:
        """Return what the page calls a slot, the best source first."""
        said = list((element.attributes.get("itemprop") or "").split())
        column = _column(slot)
        if column in self._headers:
            said.append(self._headers[column])
        head = {record.head.at for record in self._records}
        for one in (element, *list(element.ancestors())[:2]):
            if one.at in head:
                break
            said += [one.attributes.get("data-label") or "", one.attributes.get("data-title") or ""]
            said += semantic_classes(one.classes)
            said += (one.attributes.get("itemprop") or "").split()
            if sum(bool(inner.text) for inner in one.children) > 1:
                break
        if element.tag == "time":
            said.append("date")
        return [text for text in said if text]


def _readable(element: Element, record: Record) -> Element:
    """Return the element to read a text from: the link or heading around an inline element with the same text."""
    chosen = element
    while chosen.tag in _INLINE and chosen.parent is not None and chosen is not record.head and chosen.parent is not record.head \
            and chosen.parent.length == chosen.length and not semantic_classes(chosen.classes):
        chosen = chosen.parent
    return chosen


def _anchor(element: Element, record: Record) -> Element | None:
    """Return the link that an element is, is in, or contains first, within its record."""
    for one in (element, *element.ancestors()):
        if one.tag == "a" and one.attributes.get("href"):
            return one
        if one is record.head or one in record.after:
            break
    waiting = list(reversed(element.children))
    while waiting:
        inner = waiting.pop()
        if inner.tag == "a" and inner.attributes.get("href"):
            return inner
        waiting += reversed(inner.children)
    return None


def _attribute(source: dict[str, Any], name: str) -> dict[str, Any]:
    if "xpath" in source:
        return {"xpath": f"{source['xpath']}/@{name}"}
    css = source["css"]
    return {"css": f"::attr({name})" if css == "*" else f"{css}::attr({name})"}


def _after_text(source: dict[str, Any], values: list[str]) -> tuple[str, Any] | None:
    """Return the rule for bare text after an element, such as the date in an index of files."""
    for pattern in (r"\d\d-[A-Za-z]{3}-\d{4} \d\d:\d\d", r"\d{4}-\d\d-\d\d \d\d:\d\d(?::\d\d)?", r"\d{4}-[A-Za-z]{3}-\d\d \d\d:\d\d(?::\d\d)?", r"\d{4}-\d\d-\d\d"):
        dates = [match[0] for value in values if (match := re.search(pattern, value))]
        if len(dates) == len(values) and (dated := date_rule(dates)) is not None:
            return "date", {**source, "regex": pattern, **dated}
    return ("text", source) if statistics.median(map(len, values)) > 2 else None


def _short(source: dict[str, Any]) -> Any:
    """Return a rule as a text if css or xpath is its only key and the text is read as the same rule."""
    if set(source) == {"css"} and not source["css"].lstrip("(").startswith(("/", "./")):
        return source["css"]
    return source["xpath"] if set(source) == {"xpath"} and source["xpath"].startswith(("/", "./")) else source


def file_endings(group: Group) -> list[str]:
    """Return the endings of the files that the records link to, such as .pdf."""
    found: dict[str, int] = {}
    for slot in group.slots.values():
        for _, element in slot.firsts():
            if element.tag == "a" and (match := _DOWNLOADS.search(element.attributes.get("href") or "")):
                ending = match[0].rstrip("?#").lower()
                found[ending] = found.get(ending, 0) + 1
    return [ending for ending, count in sorted(found.items(), key=lambda entry: -entry[1]) if count >= 0.2 * len(group.records)][:4]
