"""Find the other fields of an item in a text from which a field is read.

A number may come from one of them, such as "Voucher £50".
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline.crawl.mend.fields.field_fit import Holder
from pipeline.crawl.mend.known_values import fold, texts_of
from pipeline.crawl.mend.page_tree import Element

_MIN_LENGTH = 3
_NOT_WORDS = re.compile(r"[\W\d_]+")
_FEW_RESTS = 3
_REST_SHARE = 0.3


def other_texts(name: str, holder: Holder, element: Element | None, raw: str) -> list[str]:
    """Return the texts of other fields of an item that a text contains; [] if the text holds only the field `name`.

    element: the element whose whole text is `raw`; None if the text is only a part of its text. A link to the page of the item is a
    field too, and its text belongs to this field.
    """
    whole, known = fold(raw), holder.known or {}
    others = {fold(text) for other, value in known.items() if other != name for text in texts_of(value)}
    own = {fold(text) for text in texts_of(known.get(name))}
    found = {text for text in others if len(text) >= _MIN_LENGTH and text in whole and text != whole and not any(text in one for one in own)}
    inner = holder.tree.within(element, 200)[1:] if element is not None else ()
    found |= {text for part in inner if not others.isdisjoint(holder.tree.folded(part))
              and (text := fold(holder.tree.text_of(part))) not in ("", whole, *own)}
    return sorted(found, key=len, reverse=True)


def with_numbers(raw: str, others: Sequence[str]) -> list[str]:
    """Return variants of a text in which the texts of other fields also contain numbers and prices."""
    line = " ".join(raw.split())
    found = []
    for text in others:
        match = re.search(re.escape(text), line, re.IGNORECASE)
        if match is not None:
            found += [f"{line[:match.start()]}{new}{line[match.end():]}" for new in (f"57 {match[0]} 57", f"{match[0]} 57 €", f"£57 {match[0]}")]
    return found


def has_other_words(raws: Sequence[str]) -> bool:
    """Return whether the words beside the numbers in the texts of several items differ so much that they must be another field."""
    rests = {fold(_NOT_WORDS.sub(" ", raw)) for raw in raws}
    return len(rests) > max(_FEW_RESTS, _REST_SHARE * len(raws))
