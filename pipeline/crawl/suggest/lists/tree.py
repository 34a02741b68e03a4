"""An index of the HTML5 tree of a page: what structure, fields and pagination read of each element.

The tree of lexbor is walked once. Each element gets its position in document order and the number of its descendants, so that the
descendants of an element are a slice of one list. Nothing here recurses: a page may be nested thousands of levels deep.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from selectolax.lexbor import LexborNode

_IGNORED = frozenset(["script", "style", "template", "noscript", "head", "svg", "math", "iframe", "object", "select", "datalist",
                      "textarea", "canvas", "audio", "video"])
"""Elements whose content is no text of the page. The elements themselves are part of the tree."""
_IMAGE_WEIGHT = 12
"""Characters that an image counts for."""


@dataclass(slots=True, eq=False)
class Element:
    """One element of a page.

    at: its position in document order; size: the number of its descendants; text: the text directly in it, with white space
    collapsed; tail, before: the text between it and the next element beside it, and the one before it; length: characters of all text in it; links, images: number of
    links and of images in it, including itself; nth: its position among its sibling elements, from 1.
    """

    node: LexborNode
    tag: str
    attributes: dict[str, str | None]
    parent: Element | None
    at: int
    nth: int = 1
    depth: int = 0
    size: int = 0
    text: str = ""
    tail: str = ""
    before: str = ""
    length: int = 0
    links: int = 0
    images: int = 0
    children: list[Element] = field(default_factory=list)
    classes: tuple[str, ...] = ()

    @property
    def weight(self) -> int:
        """How much a reader sees of it: its text, and each image as if it were a short text."""
        return self.length + _IMAGE_WEIGHT * self.images

    @property
    def whole_text(self) -> str:
        """The text of the element and its descendants, with white space collapsed."""
        return " ".join(self.node.text(deep=True, separator="").split())

    def ancestors(self) -> Iterator[Element]:
        """Yield the parent, its parent and so on."""
        above = self.parent
        while above is not None:
            yield above
            above = above.parent


class Tree:
    """The elements of a page in document order."""

    def __init__(self, root: LexborNode) -> None:
        self.elements: list[Element] = []
        self.by_node: dict[int, Element] = {}
        self._around: dict[int, tuple[str, str]] = {}
        self._walk(root)
        for element in reversed(self.elements):
            element.length += len(element.text)
            element.images += element.tag == "img"
            element.links += element.tag == "a" and bool(element.attributes.get("href"))
            if (parent := element.parent) is not None:
                parent.size += element.size + 1
                parent.length += element.length
                parent.links += element.links
                parent.images += element.images

    def _walk(self, root: LexborNode) -> None:
        waiting: list[tuple[LexborNode, Element | None, int]] = [(root, None, 1)]
        while waiting:
            node, parent, nth = waiting.pop()
            element = self._added(node, parent, nth)
            if element.tag in _IGNORED:
                continue
            inner: list[tuple[LexborNode, Element | None, int]] = []
            texts: list[list[str]] = [[]]
            for child in node.iter(include_text=True):
                if child.is_text_node:
                    texts[-1].append(child.text_content or "")
                elif child.is_element_node:
                    inner.append((child, element, len(inner) + 1))
                    texts.append([])
            pieces = [" ".join("".join(piece).split()) for piece in texts]
            element.text = " ".join(filter(None, pieces))
            self._around |= {child.mem_id: (before, after) for (child, _, _), (before, after) in zip(inner, pairwise(pieces), strict=True)
                             if before or after}
            waiting += reversed(inner)

    def _added(self, node: LexborNode, parent: Element | None, nth: int) -> Element:
        attributes = node.attributes
        before, tail = self._around.pop(node.mem_id, ("", ""))
        element = Element(node, node.tag or "", attributes, parent, len(self.elements), nth, parent.depth + 1 if parent else 0,
                          tail=tail, before=before, classes=tuple(dict.fromkeys((attributes.get("class") or "").split())))
        self.elements.append(element)
        self.by_node[node.mem_id] = element
        if parent is not None:
            parent.children.append(element)
        return element

    def after(self, element: Element) -> Sequence[Element]:
        """Return the elements beside an element that come after it."""
        return element.parent.children[element.nth:] if element.parent is not None else []

    def inside(self, element: Element) -> Sequence[Element]:
        """Return the descendants of an element, in document order."""
        return self.elements[element.at + 1:element.at + element.size + 1]
