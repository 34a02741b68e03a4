"""The elements of a page in document order, with the text of each element as a slice of one string."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from selectolax.lexbor import LexborNode

from pipeline.crawl.mend.known_values import fold
from pipeline.documents.document import Document

MAX_ELEMENTS = 60_000
"""The maximum number of elements of one page that are searched. Later elements are ignored."""
LONGEST_TEXT = 4000
"""The maximum number of characters of a text that is compared with stored values."""
LINK_ATTRIBUTES = frozenset(["href", "src", "data-src", "data-href", "data-url", "data-link", "content", "poster", "action"])
IGNORED_ATTRIBUTES = frozenset(["class", "style"])
_OPAQUE = frozenset(["script", "style", "template", "noscript", "svg", "head"])


@dataclass(slots=True)
class Element:
    """An element of a page.

    at: its index in document order. parent: the index of its parent; -1 for the root. last: the index of its last descendant. start,
    end: the slice of PageTree.text that is its text. position: its number among the children of its parent with the same tag, from 1.
    is_opaque: whether it has no visible text, such as <script>, or is inside such an element.
    """

    at: int
    parent: int
    tag: str
    node: LexborNode
    attributes: dict[str, str]
    position: int
    is_opaque: bool
    start: int = 0
    end: int = 0
    last: int = 0

    def contains(self, at: int) -> bool:
        return self.at <= at <= self.last


class PageTree:
    """The HTML5 tree of one document, as a list of elements."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.elements: list[Element] = []
        self.text = ""
        self._by_node: dict[int, int] = {}
        self._folded: dict[int, frozenset[str]] = {}
        self._read(document.lexbor)

    def _read(self, root: LexborNode) -> None:
        texts: list[str] = []
        length = 0
        counts: list[dict[str, int]] = []
        waiting: list[tuple[LexborNode | None, int]] = [(root, -1)]
        while waiting:
            node, parent = waiting.pop()
            if node is None:  # the end of the element `parent`
                ended = self.elements[parent]
                ended.end, ended.last = length, len(self.elements) - 1
                continue
            if node.is_text_node:
                piece = node.text_content or ""
                texts.append(piece)
                length += len(piece)
                continue
            tag = node.tag or ""
            if not tag or tag.startswith(("-", "!")) or len(self.elements) >= MAX_ELEMENTS:
                continue
            numbers = counts[parent] if parent >= 0 else {}
            numbers[tag] = numbers.get(tag, 0) + 1
            at = len(self.elements)
            opaque = tag in _OPAQUE or (parent >= 0 and self.elements[parent].is_opaque)
            self.elements.append(Element(at, parent, tag, node, {name: value or "" for name, value in node.attributes.items()},
                                         numbers[tag], opaque, start=length))
            counts.append({})
            self._by_node[node.mem_id] = at
            waiting.append((None, at))
            waiting += [(child, at) for child in reversed(list(node.iter(include_text=True)))]
        self.text = "".join(texts)

    def element_of(self, node: LexborNode) -> Element | None:
        """Return the element of a lexbor node; None if the page has more than MAX_ELEMENTS elements."""
        at = self._by_node.get(node.mem_id)
        return self.elements[at] if at is not None else None

    def text_of(self, element: Element) -> str:
        """Return the joined text of an element and its descendants, as the engine reads it."""
        return self.text[element.start:element.end]

    def folded(self, element: Element) -> frozenset[str]:
        """Return the text of one element and the values of its attributes, links as absolute URLs too, in folded form."""
        known = self._folded.get(element.at)
        if known is None:
            known = self._folded[element.at] = frozenset(self._values(element))
        return known

    def _values(self, element: Element) -> Iterator[str]:
        if element.end - element.start <= LONGEST_TEXT and not element.is_opaque:
            yield fold(self.text_of(element))
        for name, value in element.attributes.items():
            if value and name not in IGNORED_ATTRIBUTES:
                yield fold(value[:LONGEST_TEXT])
                if name in LINK_ATTRIBUTES or "/" in value:
                    yield fold(self.document.absolute(value))

    def above(self, element: Element, *, below: int = -1) -> Iterator[Element]:
        """Yield the element and its ancestors, the element first.

        below: the index of an ancestor at which to stop, without it; -1 means the root.
        """
        at = element.at
        while at not in (-1, below):
            element = self.elements[at]
            yield element
            at = element.parent

    def within(self, element: Element, limit: int) -> list[Element]:
        """Return the element and its descendants, at most `limit` elements."""
        return self.elements[element.at:min(element.last + 1, element.at + limit)]
