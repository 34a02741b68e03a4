"""A small HTML tree that can be changed and written again.

It is read with lexbor, so it is the HTML5 tree.
"""

from __future__ import annotations

import copy
import html
from collections.abc import Callable, Iterator
from typing import Any

from selectolax.lexbor import LexborHTMLParser

_VOID_TEXT = (
    "area base br col embed hr img input link meta source track wbr")
VOID = frozenset(_VOID_TEXT.split())
_RAW_TEXT = (
    "script style xmp iframe noembed noframes plaintext")
RAW = frozenset(_RAW_TEXT.split())
_BLOCK_TEXT = (
    "html head body div section article aside header footer main nav ul ol li dl dt dd table thead tbody tr td th p "
    "h1 h2 h3 h4 form figure title meta link script")
BLOCK = frozenset(_BLOCK_TEXT.split())


class Element:
    """An element. `record`: the number of the record that it is a part of, at the record's top; `shows`: fields and where they are.

    In `shows`, the key is the name of a field and the value "text" or the name of an attribute. `belongs_to`: the number of the record
    with which the element goes, though it is no part of it.
    """

    def __init__(self, tag: str, classes: str = "", *children: Element | str, **attrs: str) -> None:
        self.tag = tag
        self.attrs: dict[str, str | None] = ({"class": classes} if classes else {}) | {
            name.rstrip("_").replace("_", "-"): value for name, value in attrs.items()}
        self.children: list[Element | str | Comment] = []
        self.parent: Element | None = None
        self.record: int | None = None
        self.belongs_to: int | None = None
        self.shows: dict[str, str] = {}
        for child in children:
            self.append(child)

    def append(self, child: Element | str | Comment) -> None:
        self.insert(len(self.children), child)

    def insert(self, at: int, child: Element | str | Comment) -> None:
        if isinstance(child, Element):
            child.parent = self
        self.children.insert(at, child)

    def replace_with(self, *others: Element | str | Comment) -> None:
        assert self.parent is not None
        parent, at = self.parent, self.position
        del parent.children[at]
        self.parent = None
        for offset, other in enumerate(others):
            parent.insert(at + offset, other)

    def remove(self) -> None:
        self.replace_with()

    def wrap(self, wrapper: Element) -> None:
        """Put the element into another one, which takes its place."""
        self.replace_with(wrapper)
        wrapper.append(self)

    def unwrap(self) -> None:
        """Put the children in the place of the element."""
        self.replace_with(*self.children)

    def before(self, other: Element | str) -> None:
        assert self.parent is not None
        self.parent.insert(self.position, other)

    def after(self, other: Element | str) -> None:
        assert self.parent is not None
        self.parent.insert(self.position + 1, other)

    def become(self, children: list[Any]) -> None:
        """Replace the children."""
        self.children = []
        for child in children:
            self.append(child)

    @property
    def position(self) -> int:
        assert self.parent is not None
        return next(at for at, child in enumerate(self.parent.children) if child is self)

    @property
    def is_value(self) -> bool:
        """Whether the text of the element, or of one that contains it, is the value of a field."""
        return any("text" in node.shows.values() for node in (self, *self.up()))

    @property
    def elements(self) -> list[Element]:
        return [child for child in self.children if isinstance(child, Element)]

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text if isinstance(child, Element) else "" for child in self.children)

    @property
    def line(self) -> str:
        return " ".join(self.text.split())

    def all(self) -> Iterator[Element]:
        """Yield the element and all elements in it, in the order of the document."""
        yield self
        for child in list(self.children):
            if isinstance(child, Element):
                yield from child.all()

    def first(self, tag: str) -> Element | None:
        return next((found for found in self.all() if found.tag == tag), None)

    def up(self) -> Iterator[Element]:
        """Yield the parents, the nearest first."""
        found = self.parent
        while found is not None:
            yield found
            found = found.parent

    def change_text(self, old: str, new: Callable[[str], list[Element | str | Comment]]) -> bool:
        """Replace a text by nodes where it is within one text node. Return whether it was found."""
        for node in self.all():
            if node.tag in RAW:
                continue
            for at, child in enumerate(node.children):
                if isinstance(child, str) and old in child:
                    before, _, after = child.partition(old)
                    node.children[at:at + 1] = [part for part in (before, *new(old), after) if part != ""]
                    for part in node.children:
                        if isinstance(part, Element):
                            part.parent = node
                    return True
        return False

    def clone(self, *, marked: bool) -> Element:
        """Return a copy without a parent. marked: whether it keeps the marks of records and fields."""
        parent, self.parent = self.parent, None
        try:
            found = copy.deepcopy(self)
        finally:
            self.parent = parent
        if not marked:
            for node in found.all():
                node.record, node.belongs_to, node.shows = None, None, {}
                node.attrs.pop("id", None)
        return found


class Comment:
    def __init__(self, text: str) -> None:
        self.text = text


def parse(page: str, mark: Callable[[Any], dict[int, Callable[[Element], None]]] = lambda root: {}) -> Element:
    """Return the tree of a page. mark: returns, for the lexbor tree, what to do with the element of each node, by `mem_id`."""
    parser = LexborHTMLParser(page)
    root = parser.root
    assert root is not None
    marks = mark(root)

    def convert(node: Any) -> Element:
        found = Element(node.tag)
        found.attrs = dict(node.attributes)
        if node.mem_id in marks:
            marks[node.mem_id](found)
        child = node.child
        while child is not None:
            if child.is_text_node:
                found.append(child.text_content or "")
            elif child.is_element_node:
                found.append(convert(child))
            child = child.next
        return found

    return convert(root)


def write(root: Element, *, quote: Callable[[str], str] | None = None, omit: frozenset[str] = frozenset(), indent: bool = False,
          oracle: bool = False) -> str:
    """Return the HTML of a tree. quote: how an attribute's value is written; omit: tags of which the end tag is left out.

    indent: whether elements that are blocks begin on a line of their own. oracle: whether the marks are written as attributes.
    """
    out: list[str] = ["<!DOCTYPE html>\n"]
    quoted = quote or (lambda value: f'"{value}"')

    def element(node: Element, depth: int) -> None:
        attrs = dict(node.attrs)
        if oracle:
            attrs |= {f"oracle-{field}": where for field, where in node.shows.items()}
            attrs |= {"oracle-record": str(node.record)} if node.record is not None else {}
        lead = "\n" + "  " * depth if indent and node.tag in BLOCK else ""
        out.append(f"{lead}<{node.tag}")
        out.extend(f" {name}" if value is None else f" {name}={quoted(html.escape(value))}" for name, value in attrs.items())
        out.append(">")
        if node.tag in VOID:
            return
        for child in node.children:
            if isinstance(child, Element):
                element(child, depth + 1)
            elif isinstance(child, Comment):
                out.append(f"<!--{child.text}-->")
            else:
                out.append(child if node.tag in RAW else html.escape(child, quote=False))
        if node.tag not in omit:
            out.append(f"{lead if any(isinstance(c, Element) and c.tag in BLOCK for c in node.children) else ''}</{node.tag}>")

    element(root, 0)
    return "".join(out)
