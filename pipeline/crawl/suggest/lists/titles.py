"""The title of records: the slot that looks most like one."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from itertools import islice

from pipeline.crawl.suggest.lists.columns import column_of, headers_of
from pipeline.crawl.suggest.lists.slots import BESIDE, INLINE, Slot, link_of
from pipeline.crawl.suggest.lists.structure import Group
from pipeline.crawl.suggest.lists.tree import Element
from pipeline.crawl.suggest.names import known
from pipeline.crawl.suggest.selectors import semantic_classes
from pipeline.crawl.suggest.value_types import (
    date_rule,
    looks_like_count,
    looks_like_date,
    looks_like_price,
)

NO_LINK = re.compile(r"\s*(?:javascript:|mailto:|tel:|data:|#\s*$)", re.IGNORECASE)
"""Matches the links that lead to no page."""
_HEADINGS = re.compile(r"h[1-6]\Z")
_BARE_NUMBER = re.compile(r"[\W_]*\d[\W\d_]*\Z")
_IDENTIFIER = re.compile(r"[\W_]*(?:[A-Z][A-Z0-9]{0,9}-\d{1,8}|[rR]\d{1,8}|(?=.*\d)[0-9a-f]{6,64}|[0-9a-f]{7,64}|\d{1,12})[\W_]*\Z")
"""Matches the number of an issue, such as #12 and APP-12, and of a revision: r120, 3f2c1a0b9d."""

_COMMENT = re.compile(r"(?:^|[-_])(?:comments?|logs?|msg|messages?|summary|commit|changelog)(?:$|[-_])", re.IGNORECASE)

# How much a slot looks like the title of its records; the slot with the largest sum is the title.
TITLE_ITEMPROP = 5.0     # itemprop says name or headline
TITLE_HEADING = 3.0      # the slot is in a heading
TITLE_CLASS = 2.5        # a class says title, name or subject
TITLE_HEADER = 2.5       # the heading of the column says so
TITLE_LINK = 2.0         # the slot is a link
TITLE_ONLY_LINK = 2.0    # it is the only link of the record
TITLE_ROW_LINK = 3.0     # times the share of different texts: another link of the record leads to the same page
TITLE_COMMENT = 2.5      # a class says comment, log, summary or message, and the record has the identifier of a revision
TITLE_STRONG = 1.0       # the slot is bold in a link around the whole record
TITLE_DISTINCT = 2.0     # times the share of different texts
TITLE_LENGTH = 1.5       # the texts are as long as titles are
TITLE_FIRST = 1.0        # the slot comes early in the record
TITLE_OTHER = -3.0       # it is named as something else, such as author or price
TITLE_MIXED = -3.5       # most of its text is that of several slots inside it
TITLE_SAME = -4.0        # nearly all of its texts are the same, such as "Permalink"
TITLE_VALUE = -4.0       # its texts are numbers, dates or prices


def split(slots: Mapping[str, Slot]) -> dict[str, Slot]:
    """Return the slots, with one slot for each place where all records have the same few elements at the same path."""
    found: dict[str, Slot] = {}
    for key, slot in slots.items():
        counts = {len(elements) for elements in slot.found.values()}
        if len(counts) != 1 or not 2 <= (many := counts.pop()) <= 3 or slot.key.startswith("+") or _is_listed(slot):
            found[key] = slot
            continue
        for place in range(many):
            found[f"{key} ({place + 1})"] = Slot(f"{key} ({place + 1})", {number: [elements[place]] for number, elements in slot.found.items()})
    return found


def _is_listed(slot: Slot) -> bool:
    """Return whether the elements of a slot are entries of a list inside the record, such as its tags."""
    element = next(iter(slot.firsts()))[1]
    around = [element, *([element.parent] if element.parent is not None and slot.key.count(" > ") > 1 else [])]  # not the record itself
    return any(one.tag == "li" for one in around) or any(known(name) in ("tags", "category") for name in element.classes)


def title_slot(group: Group) -> Slot | None:
    """Return the slot that holds the titles of the records; None if there is none."""
    count = len(group.records)
    headers = headers_of(group.records[0].head) if group.records else {}
    best, most = None, 0.0
    slots = [slot for slot in split(group.slots).values() if slot.presence(count) >= 0.6]
    for place, slot in enumerate(slots):
        texts = [text for _, element in slot.firsts() if (text := element.whole_text if slot.key not in BESIDE else slot.value_of(element))]
        if len(texts) < 0.6 * count or all(element.tag == "img" for _, element in slot.firsts()):
            continue
        points = _title_points(slot, texts, headers) + TITLE_FIRST * (1 - place / len(slots))
        points += TITLE_ONLY_LINK if link_of(next(iter(slot.firsts()))[1]) and _is_only_link(slot, slots) else 0
        points += TITLE_MIXED if _holds_other_texts(slot, slots) else 0
        points += _named_points(slot, slots, texts)
        if points > most:
            best, most = slot, points
    return best


def _title_points(slot: Slot, texts: list[str], headers: dict[int, str]) -> float:
    element = next(iter(slot.firsts()))[1]
    points = TITLE_DISTINCT * len(set(texts)) / len(texts) + (TITLE_SAME if len(set(texts)) <= 0.2 * len(texts) else 0)
    props = (element.attributes.get("itemprop") or "").split()
    points += TITLE_ITEMPROP if {"name", "headline"} & set(props) else 0
    around = [element, *islice(element.ancestors(), 2)]
    points += TITLE_HEADING if any(_HEADINGS.match(one.tag) for one in around) else 0
    said = [one for one in around[:2] if one is element or element.length >= 0.25 * one.length]  # not the author in .commit-title
    named = [name for one in said for css in semantic_classes(one.classes) if (name := known(css))]
    points += TITLE_CLASS if "title" in named else TITLE_OTHER if named else 0
    header = known(headers.get(column_of(slot), "")) if headers else ""
    points += TITLE_HEADER if header == "title" else TITLE_OTHER if header and header != "description" else 0
    points += TITLE_LINK if link_of(element) and not NO_LINK.match(link_of(element)) and slot.key not in BESIDE else 0
    length = statistics.median(map(len, texts))
    points += TITLE_LENGTH if 6 <= length <= 160 else 0.5 * TITLE_LENGTH if 2 <= length <= 6 else -TITLE_LENGTH
    if all(_BARE_NUMBER.match(text) for text in texts) or looks_like_price(texts, named=False) or (length <= 40 and (
            date_rule(texts) is not None or looks_like_count(texts))) or (looks_like_date(texts) and length <= 25):
        points += TITLE_VALUE
    return points - (1.5 if slot.key.startswith("+") else 0)


def _named_points(slot: Slot, slots: Sequence[Slot], texts: list[str]) -> float:
    """Return the points of a slot that depend on the others: the link of the row, and the comment beside an identifier.

    A class such as `summary` or `comment` names the title there, so the deduction for it is given back.
    """
    element = next(iter(slot.firsts()))[1]
    named = {name for one in (element, *islice(element.ancestors(), 1)) for css in semantic_classes(one.classes) if (name := known(css))}
    back = -TITLE_OTHER if named and named <= {"description", "comments"} else 0.0
    if all(map(_IDENTIFIER.match, texts)):
        return TITLE_VALUE
    if named <= {"title", "description", "comments"} and _is_row_link(slot, slots):
        return TITLE_ROW_LINK * len(set(texts)) / len(texts) + back
    is_comment = back or (not named and (element.tag == "pre" or any(map(_COMMENT.search, element.classes))) and not link_of(element))
    if is_comment and any(holds_identifiers(other) for other in slots):
        return TITLE_COMMENT + back
    return TITLE_STRONG if element.tag in ("b", "strong") and link_of(element) else 0.0


def holds_identifiers(slot: Slot) -> bool:
    """Return whether all texts of a slot are different identifiers, of an issue or a revision."""
    texts = [element.whole_text for _, element in slot.firsts() if element.length < 80]
    return len(texts) == len(slot.found) and len(set(texts)) > 0.9 * len(texts) and all(map(_IDENTIFIER.match, texts))


def _is_row_link(slot: Slot, slots: Sequence[Slot]) -> bool:
    """Return whether the links of a slot differ, and another text of each record leads to the same page, such as its number."""
    links = _links(slot)
    if len({href for _, href in links.values()}) < 0.9 * len(slot.found):
        return False
    for other in slots:
        has_text = any(element.length for _, element in other.firsts())  # unlike the portrait beside an author
        twins = _links(other) if other is not slot and has_text else {}
        if len(twins) >= 0.9 * len(slot.found) and all(number in links and links[number][1] == href and links[number][0] != at
                                                       for number, (at, href) in twins.items()):
            return True
    return False


def _links(slot: Slot) -> dict[int, tuple[int, str]]:
    """Return the position and the href of the link that each element of a slot is or is in, by the record's number."""
    return {number: (anchor.at, href) for number, element in slot.firsts()
            for anchor in [next((one for one in (element, *islice(element.ancestors(), 2)) if one.tag == "a"), None)]
            if anchor is not None and (href := anchor.attributes.get("href"))}


def _is_only_link(slot: Slot, slots: Sequence[Slot]) -> bool:
    """Return whether no other slot has another link."""
    links = {number: link_of(element) for number, element in slot.firsts()}
    return all(link_of(element) in ("", links.get(number)) for other in slots if other is not slot
               for number, elements in other.found.items() for element in elements)


def _holds_other_texts(slot: Slot, slots: Sequence[Slot]) -> bool:
    own = statistics.median(len(element.text) for _, element in slot.firsts())
    whole = max(1, statistics.median(element.length for _, element in slot.firsts()))
    top = next(iter(slot.firsts()))[1]
    inside = [next(iter(other.firsts()))[1] for other in slots if other.key.startswith(f"{slot.key} > ")]
    if not _is_card(top) and (top.tag == "a" or _HEADINGS.match(top.tag)) and all(one.tag in INLINE and not semantic_classes(one.classes) for one in inside):
        return False  # one text in several pieces
    longest = max((statistics.median(element.length for _, element in other.firsts()) for other in slots
                   if other is not slot and other.key.startswith(f"{slot.key} > ")), default=0)
    return 0 < longest < 0.97 * whole and own < 0.5 * whole


def _is_card(element: Element) -> bool:
    """Return whether a link is around a whole record: it has no text of its own, and several parts with a class or a tag of a block."""
    parts = [child for child in element.children if child.length]
    return element.tag == "a" and not element.text and len(parts) >= 2 and all(
        one.tag not in INLINE or semantic_classes(one.classes) for one in parts)
