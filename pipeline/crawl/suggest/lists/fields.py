"""The fields of a list: which slots of its records are worth a field, their names and rules.

`url` is the link of the title. Each further slot becomes a field if its values differ or the page names it.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.crawl.suggest.lists.columns import column_of, headers_of
from pipeline.crawl.suggest.lists.field_names import said_of
from pipeline.crawl.suggest.lists.field_rules import (
    SIZE_AT_END,
    anchor_of,
    attribute,
    outer,
    price_in_all,
    readable,
    short,
    source_of,
    typed_rule,
)
from pipeline.crawl.suggest.lists.slots import BESIDE, INLINE, Slot, link_of
from pipeline.crawl.suggest.lists.structure import Group
from pipeline.crawl.suggest.lists.titles import NO_LINK, holds_identifiers, split, title_slot
from pipeline.crawl.suggest.lists.tree import Element
from pipeline.crawl.suggest.names import known, name_for, unused
from pipeline.crawl.suggest.selectors import matches, semantic_classes

MAX_FIELDS = 10
_MIN_PRESENCE = 0.35
_MOST_UNNAMED = 3
_MEDIA = frozenset(["img", "source", "video", "audio"])
_NOT_DATES = frozenset(["title", "author", "comments", "description", "id", "views", "size"])
_WITH_DIGITS = frozenset(["price", "score", "views"])
_STRUCK = re.compile(r"> (?:del|s|strike)\b|\.[^> ]*(?:old|was|before|list|regular)[-_]?price", re.IGNORECASE)
_ID_ATTRIBUTE = re.compile(r"data-(?:\w+-)*(?:id|sku|asin|pid|code|key)\Z")
_DOWNLOADS = re.compile(r"\.(?:pdf|zip|mp3|ogg|m4a|flac|wav|mp4|webm|mkv|epub|mobi|docx?|xlsx?|pptx?|odt|ods|csv|tar\.gz|tgz|tar\.xz|tar\.bz2|gz|xz|bz2|"
                        r"7z|rar|deb|rpm|whl|jar|exe|msi|dmg|iso|apk|torrent)(?:[?#]|$)", re.IGNORECASE)


@dataclass
class Fields:
    """The fields of a group: their rules as in settings.toml, by name, and the slot of the title."""

    rules: dict[str, Any] = field(default_factory=dict)
    title_slot: Slot | None = None


def fields_of(group: Group) -> Fields:
    """Return the fields of the records of a group, the title and the link first."""
    found = Fields(title_slot=title_slot(group))
    builder = _Builder(group, found)
    builder.add_title()
    builder.add_url()
    builder.add_id()
    for slot in _worthwhile(group, found.title_slot):
        if len(found.rules) >= MAX_FIELDS:
            break
        builder.add(slot)
    tags = {record.head.tag for record in group.records}
    if len(tags) == 1:  # the element of the record itself, which is easier to read as `a` than as `*`
        found.rules = {name: _with_tag(rule, next(iter(tags))) for name, rule in found.rules.items()}
    return found


def _with_tag(rule: Any, tag: str) -> Any:
    return tag if rule == "*" else {**rule, "css": tag} if isinstance(rule, dict) and rule.get("css") == "*" else rule


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
    inner = [other for key, other in group.slots.items() if key.startswith(prefix) and other.presence(count) >= _MIN_PRESENCE
             and len(set(other.values()) - {""}) > 1]
    if not inner:
        return False
    own = statistics.median(len(element.text) for _, element in slot.firsts())
    whole = max(1, statistics.median(element.length for _, element in slot.firsts()))
    return own / whole < 0.35 and any(element.tag != "img" for other in inner for _, element in other.firsts())


def _is_part(slot: Slot, kept: Sequence[Slot], title: Slot | None) -> bool:
    """Return whether a slot is a piece of a text that another field reads whole, such as a bold word."""
    element = next(iter(slot.firsts()))[1]
    for other in [*kept, *([title] if title is not None else [])]:
        if not slot.key.startswith(f"{other.key} > ") or other.key == "":
            continue
        if other is title and element.tag in (*INLINE, "a") and not known(" ".join(semantic_classes(element.classes))):
            return True
        own = statistics.median(len(one.text) for _, one in other.firsts())
        if own > 0.5 * len(slot.values()[0]) and element.tag in (*INLINE, "a", "img") and not semantic_classes(element.classes):
            return True
    return False


class _Builder:
    """Adds the rule of one slot after the other to the fields of a group."""

    def __init__(self, group: Group, fields: Fields) -> None:
        self._records = group.records
        self._group = group
        self._fields = fields
        self._headers = headers_of(group.records[0].head)
        self._unnamed = 0

    def add_title(self) -> None:
        """Add the title. If its texts are cut and the attribute `title` has them whole, the attribute is read."""
        slot = self._fields.title_slot
        if slot is None:
            self._add_title_of_image()
            return
        elements = {number: readable(element, self._records[number]) for number, element in slot.firsts()}
        source = source_of(slot, elements, self._records)
        if source is None:
            return
        texts = [element.whole_text for element in elements.values()]
        full = [(element.attributes.get("title") or "") for element in elements.values()]
        cut = sum(text.endswith(("...", "…")) for text in texts)
        if "css" in source and cut and cut >= 0.3 * len(texts) and all(
                whole.startswith(text.rstrip(".… ")[:10]) for text, whole in zip(texts, full, strict=True)):
            source = attribute(source, "title")
        self._fields.rules["title"] = short(source)

    def _add_title_of_image(self) -> None:
        """Add the text of the images as the title of records without text."""
        for slot in self._group.slots.values():
            texts = [element.attributes.get("alt") or "" for _, element in slot.firsts() if element.tag == "img"]
            if len(texts) == len(self._records) and all(texts) and len(set(texts)) > 0.5 * len(texts) and (
                    source := source_of(slot, dict(slot.firsts()), self._records)) is not None:
                self._fields.rules["title"] = short(attribute(source, "alt"))
                return

    def add_url(self) -> None:
        """Add the link of the title; else the link that differs most from record to record."""
        title = self._fields.title_slot
        places: list[tuple[Slot, dict[int, Element]]] = []
        if title is not None:
            places.append((title, {number: anchor for number, element in title.firsts()
                                   if (anchor := anchor_of(element, self._records[number])) is not None}))
        others = [(slot, {number: anchor for number, elements in slot.found.items()
                          if (anchor := next((one for one in elements if one.tag == "a" and one.attributes.get("href")), None)) is not None})
                  for slot in split(self._group.slots).values()]
        others.sort(key=lambda place: (-len({element.attributes.get("href") for element in place[1].values()}), place[0].key[:1] == "+",
                                       not holds_identifiers(place[0]), not any(element.length for element in place[1].values())))
        for slot, anchors in [*places, *others[:3]]:
            urls = [element.attributes.get("href") or "" for element in anchors.values()]
            if len(anchors) < 0.6 * len(self._records) or len(set(urls)) < 0.6 * len(urls) or all(map(NO_LINK.match, urls)):
                continue
            if (source := source_of(slot, anchors, self._records)) is not None:
                self._fields.rules["url"] = short(attribute(source, "href"))
                return
        for name in ("data-href", "data-url", "data-link"):  # rows that a script makes clickable
            if all(record.head.attributes.get(name) for record in self._records):
                self._fields.rules["url"] = {"css": f"::attr({name})", "type": "url"}
                return

    def add_id(self) -> None:
        """Add an attribute of the records' elements that identifies them, such as data-product-id."""
        for name in self._records[0].head.attributes:
            values = [record.head.attributes.get(name) or "" for record in self._records]
            if _ID_ATTRIBUTE.match(name) and all(0 < len(value) <= 40 for value in values) and len(set(values)) == len(values):
                self._fields.rules["id"] = f"::attr({name})"
                return

    def add(self, slot: Slot) -> None:
        """Add the field of a slot, if its values are worth one."""
        elements = {number: outer(element, self._records[number]) for number, element in slot.firsts()}
        first = next(iter(elements.values()))
        if first.tag in _MEDIA:
            self._add_image(slot, elements)
            return
        values = [value for value in slot.values() if value]
        header = self._headers.get(column_of(slot), "").strip()
        name, is_usual = name_for(said_of(slot, first, self._records, self._headers))
        if not self._is_worth(slot, name, values, is_named=is_usual or bool(header)):
            return
        if slot.repeats() >= 1.5 and not slot.key.startswith("+"):
            self._add_list(slot, name or "tags", values)
        elif (typed := typed_rule(slot, elements, self._records, name)) is not None:
            self._add_typed(slot, typed, name if is_usual or header or typed[0] not in ("date", "price") else "", values)

    def _is_worth(self, slot: Slot, name: str, values: list[str], *, is_named: bool) -> bool:
        """Return whether enough records have a value, and whether the values differ or have a name that says what they are."""
        if len(values) < _MIN_PRESENCE * len(self._records):
            return False
        element = next(iter(slot.firsts()))[1]
        if element.tag == "a" and not element.length:
            return False
        return len(set(values)) > 1 or (is_named and name not in ("tags", "title", "comments") and not link_of(element))

    def _add_typed(self, slot: Slot, typed: tuple[str, Any], name: str, values: list[str]) -> None:
        """Add a field with a rule of a known kind. name: what the page calls it; "" if it does not."""
        kind, rule = typed
        if kind == "price":
            if _STRUCK.search(slot.key):
                name = "old_price"
            elif len(slot.found) < 0.95 * len(self._records):
                rule = price_in_all(next(iter(slot.firsts()))[1], self._records) or rule
                if any(other == rule for other in self._fields.rules.values()):
                    return
            name = name or "price"
        if kind == "date" and (name in _NOT_DATES or not name):
            name = "date"
        if kind == "text" and name in _WITH_DIGITS and not any(char.isdigit() for value in values for char in value):
            return
        if kind == "count" and name in ("", "count"):
            name = known(re.sub(r"[\W\d]+", " ", values[0]).strip()) or "count"
        if name in ("", "url", "title"):
            name = kind if kind == "number" else "text" if statistics.median(map(len, values)) < 80 else "description"
        if name in ("text", "description"):
            self._unnamed += 1
            if self._unnamed > _MOST_UNNAMED:
                return
        self._fields.rules[unused(name, self._fields.rules)] = rule
        if kind == "date" and slot.key in BESIDE and all(re.search(SIZE_AT_END, value) for value in values):
            self._fields.rules[unused("size", self._fields.rules)] = {"xpath": rule["xpath"], "regex": SIZE_AT_END}

    def _add_image(self, slot: Slot, elements: dict[int, Element]) -> None:
        """Add the link of an image; a script often loads it from another attribute than `src`."""
        if "image" in self._fields.rules or slot.distinct() < 0.5 or next(iter(elements.values())).tag != "img":
            return
        source = source_of(slot, elements, self._records)
        for name in ("data-src", "data-original", "data-lazy-src", "src"):
            values = [element.attributes.get(name) or "" for element in elements.values()]
            if source is not None and all(values) and len(set(values)) > 0.5 * len(values) and not values[0].startswith("data:"):
                rule = attribute(source, name)
                self._fields.rules["image"] = short(rule) if name == "src" else {**rule, "type": "url"}
                return

    def _add_list(self, slot: Slot, name: str, values: list[str]) -> None:
        """Add a field with all values of a slot that occurs several times in a record, such as tags."""
        if statistics.median(map(len, values)) > 40 or name in ("url", "title", "date", "price", "author"):
            return
        elements = max(slot.found.values(), key=len)
        for css in [*(f".{one}" for one in semantic_classes(elements[0].classes)), elements[0].tag]:
            if all({node.mem_id for node in matches(self._records[place].head.node, css)} == {one.node.mem_id for one in found}
                   for place, found in slot.found.items()):
                self._fields.rules[unused(name, self._fields.rules)] = {"css": css, "many": True}
                return


def file_endings(group: Group) -> list[str]:
    """Return the endings of the files that the records link to, such as .pdf."""
    found: dict[str, int] = {}
    for slot in group.slots.values():
        for _, element in slot.firsts():
            if element.tag == "a" and (match := _DOWNLOADS.search(element.attributes.get("href") or "")):
                ending = match[0].rstrip("?#").lower()
                found[ending] = found.get(ending, 0) + 1
    return [ending for ending, count in sorted(found.items(), key=lambda entry: -entry[1]) if count >= 0.2 * len(group.records)][:4]
