"""The slots of records: the places inside each record of a group where a value is.

A slot is the path of tags from the record to an element, with the class that most records have there ("div > h3.title > a"). Records
of one template share their slots, so the slots show how alike the records are, and each slot that varies becomes a field. (Paths
of tags as the signature of a record: Miao et al., "Extracting data records from the web using tag path clustering", WWW 2009.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from pipeline.crawl.suggest.lists.tree import Element, Tree
from pipeline.crawl.suggest.selectors import semantic_classes

MAX_INSIDE = 400
"""The maximum number of elements of one record that are read."""
TEXT_AFTER = "+text"
"""The key of the slot for bare text after the element of a record."""
TEXT_BEFORE = "+text before"
"""The key of the slot for bare text before the element of a record."""
BESIDE = (TEXT_AFTER, TEXT_BEFORE)
INLINE = frozenset(["b", "i", "em", "strong", "span", "code", "font", "u", "s", "small", "big", "mark", "tt", "sup", "sub", "kbd", "q", "cite",
                    "abbr"])
"""Elements that are a part of a text."""
_MAX_KEPT = 12
_COMMON = 0.5
_MOST_OF_A_KIND = 0.8
"""The largest share of records that is one kind of several; fewer others are odd records, such as advertisements."""
_FEW_ROWS = 3
_HIDDEN = frozenset(["sr-only", "visually-hidden", "screen-reader-text", "visuallyhidden", "a11y-hidden"])
_POSITIONED = frozenset(["td", "th", "dd", "dt"])
_WHOLE_TAGS = frozenset(["h1", "h2", "h3", "h4", "h5", "h6", "td", "dd", "dt"])
"""Elements that are one value although their text is in elements inside them."""
_VALUE_TAGS = frozenset(["img", "time", "data", "meter", "meta", "source", "video", "audio", "relative-time"])
_SKIPPED = frozenset(["script", "style", "template", "noscript", "head", "svg", "path", "use", "option", "button", "br",
                      "hr", "wbr", "select", "textarea", "input"])


@dataclass(eq=False)
class Record:
    """One record: an element, and the elements beside it that belong to it, such as the <dd> after a <dt>.

    skipped: positions of elements in it that are records of their own.
    """

    head: Element
    after: tuple[Element, ...] = ()
    skipped: frozenset[int] = frozenset()

    @property
    def weight(self) -> int:
        """How much a reader sees of the record, in characters."""
        beside = len(self.head.tail) or len(self.head.before)
        return self.head.weight + (sum(element.weight for element in self.after) if self.after else beside)


@dataclass(eq=False)
class Slot:
    """One place in the records of a group.

    found: the elements at this place in each record, by the record's number.
    """

    key: str
    found: dict[int, list[Element]] = field(default_factory=dict)

    def firsts(self) -> Iterator[tuple[int, Element]]:
        """Yield the number of each record that has the slot, and the first element there."""
        for number, elements in self.found.items():
            yield number, elements[0]

    def presence(self, records: int) -> float:
        """Return the share of the records that have the slot."""
        return len(self.found) / max(1, records)

    def repeats(self) -> float:
        """Return how many different links (without links: texts) a record has at this place, on average."""
        return sum(len({link_of(element) or element.text for element in elements}) for elements in self.found.values()) / len(self.found)

    def values(self) -> list[str]:
        return [self.value_of(element) for _, element in self.firsts()]

    def value_of(self, element: Element) -> str:
        return element.tail if self.key == TEXT_AFTER else element.before if self.key == TEXT_BEFORE else value_of(element)

    def distinct(self) -> float:
        """Return the share of different values among the records that have the slot."""
        return len(set(self.values())) / len(self.found)


def value_of(element: Element) -> str:
    """Return what tells the element of one record from that of another: its text, or the link of an image."""
    if element.tag in _VALUE_TAGS:
        attributes = element.attributes
        return (attributes.get("datetime") or attributes.get("data-src") or attributes.get("src") or attributes.get("value")
                or attributes.get("content") or element.whole_text)
    return element.whole_text or element.attributes.get("href") or ""


def link_of(element: Element) -> str:
    """Return the link that an element is, or is in, at most two levels up; "" if there is none."""
    above: Element | None = element
    for _ in range(3):
        if above is not None and above.tag == "a":
            return above.attributes.get("href") or ""
        above = above.parent if above is not None else None
    return ""


def slots_of(records: Sequence[Record], tree: Tree) -> dict[str, Slot]:
    """Return the slots of records, in the order of the page."""
    counts: Counter[str] = Counter()
    for record in records:
        counts.update({name for part in (record.head, *record.after) for inner in (part, *tree.inside(part)[:MAX_INSIDE])
                       for name in inner.classes})
    common = {name for name, count in counts.items() if count >= _COMMON * len(records)}
    common -= _kinds({name for name in common if counts[name] <= _MOST_OF_A_KIND * len(records)}, records, tree)
    found: dict[str, Slot] = {}
    is_before = bool(records) and _is_text_before(records[0].head)
    for number, record in enumerate(records):
        read = partial(_read, number=number, record=record, found=found, tree=tree, common=common)
        read(record.head, "")
        if record.head.before if is_before else record.head.tail:
            _add(found, TEXT_BEFORE if is_before else TEXT_AFTER, number, record.head)
        for place, beside in enumerate(record.after, 1):
            read(beside, f"+{place} {beside.tag}")
    return found


def _kinds(names: set[str], records: Sequence[Record], tree: Tree) -> set[str]:
    """Return the classes that tell kinds of records apart, such as `file` of folders: each record has one link at the same place without them."""
    if not names:
        return set()
    links: list[dict[tuple[str, ...], list[Element]]] = []
    for record in records:
        found: dict[tuple[str, ...], list[Element]] = {}
        for inner in tree.inside(record.head)[:MAX_INSIDE]:
            if inner.tag == "a":
                path = [above.tag for above in inner.ancestors() if above.at > record.head.at]
                found.setdefault(tuple(path), []).append(inner)
        links.append(found)
    places = set.intersection(*(set(found) for found in links))
    single = [[found[place][0] for found in links] for place in places if all(len(found[place]) == 1 for found in links)]
    return {name for name in names if any(any(name in element.classes for element in elements) and all(element.classes for element in elements)
                                          for elements in single)}


def _is_text_before(head: Element) -> bool:
    """Return whether bare text between the elements of a list belongs to the later one: there is some before the first, none after the last."""
    alike = [element for element in head.parent.children if element.tag == head.tag] if head.parent is not None else [head]
    return any(element.before for element in alike[:2]) and not alike[-1].tail  # the first one may lead to the parent directory


def _read(top: Element, key: str, *, number: int, record: Record, found: dict[str, Slot], tree: Tree, common: set[str]) -> None:
    paths = {top.at: key}
    if has_value(top):
        _add(found, key, number, top)
    for inner in tree.inside(top)[:MAX_INSIDE]:
        above = paths.get(inner.parent.at) if inner.parent is not None else None
        if above is None or inner.tag in _SKIPPED or inner.at in record.skipped or _is_beside_content(inner, top):
            continue
        paths[inner.at] = path = f"{above} > {_step(inner, common)}"
        if has_value(inner):
            _add(found, path, number, inner)


def _is_beside_content(element: Element, top: Element) -> bool:
    """Return whether an element is a small form in a record, such as an editor of one value, or is hidden from readers."""
    if element.tag == "form":
        return 2 * element.length < top.length
    return "hidden" in element.attributes or any(name in _HIDDEN for name in element.classes)


def _step(element: Element, common: set[str]) -> str:
    is_row = element.tag == "tr" and element.parent is not None and len(element.parent.children) <= _FEW_ROWS
    if element.tag in _POSITIONED or is_row:
        return f"{element.tag}[{element.nth}]"
    name = next((name for name in semantic_classes(element.classes) if name in common), "")
    return f"{element.tag}.{name}" if name else element.tag


def has_value(element: Element) -> bool:
    """Return whether an element has a value of its own: text, a link, an image, a time."""
    return bool(element.text) or element.tag in _VALUE_TAGS or (element.tag in _WHOLE_TAGS and element.length > 0) or (
        element.tag == "a" and bool(element.attributes.get("href")))


def _add(found: dict[str, Slot], key: str, number: int, element: Element) -> None:
    slot = found.get(key)
    if slot is None:
        slot = found[key] = Slot(key)
    kept = slot.found.setdefault(number, [])
    if len(kept) < _MAX_KEPT:
        kept.append(element)


def likeness(slots: dict[str, Slot], count: int) -> float:
    """Return how alike records are: the mean overlap (Jaccard) of a record's slots and the slots that most records have."""
    common = {key for key, slot in slots.items() if slot.presence(count) >= 0.5}
    if not common:
        return 0.05
    shares = []
    for number in range(count):
        own = {key for key, slot in slots.items() if number in slot.found}
        shares.append(len(own & common) / len(own | common))
    return sum(shares) / count
