"""Finds the form to which each control of a page belongs, by the rules of the HTML Standard.

The rules are the form element pointer (HTML Standard, 13.2.6) and form owners (4.10.17.3). In the tree that the standard
prescribes and lexbor builds, a form element may end before its controls, and lexbor does not record which form owns a control.
Therefore this module marks each start tag of a form or control with a numbered attribute, and each end tag of a form with a
numbered comment. The marks do not change the tree. After parsing, the module visits the marked nodes in source order and
determines the owner of each control. Tags in comments, scripts and templates create no elements, and are ignored.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator

from selectolax.lexbor import LexborHTMLParser, LexborNode

_TAGS = re.compile(r"(?P<start><(?:form|input|button|select|textarea)(?=[\t\n\f\r />]))|</form(?=[\t\n\f\r />])[^>]*>",
                   re.IGNORECASE)
CONTROLS = frozenset({"input", "button", "select", "textarea"})
_NUMBERED = CONTROLS | {"form"}
_HTML_IN_FOREIGN = frozenset({"foreignobject", "desc", "title", "annotation-xml", "mi", "mo", "mn", "ms", "mtext"})


class OwnedTree:
    """The tree of a page, with the form to which each control belongs.

    The caller must keep a reference to this object as long as nodes of its tree are in use.
    """

    def __init__(self, text: str) -> None:
        mark = f"m{secrets.token_hex(8)}"
        numbers = iter(range(text.count("<")))

        def numbered(tag: re.Match[str]) -> str:
            return f"{tag[0]} {mark}={next(numbers)} " if tag["start"] else f"{tag[0]}<!{mark}{next(numbers)}>"

        self._mark = mark
        self._marks = re.compile(rf" {mark}=\d+ |<!{mark}\d+>")
        root = LexborHTMLParser(_TAGS.sub(numbered, text) or "<html></html>").root
        assert root is not None
        self.root = root
        self.forms: list[LexborNode] = []
        self._controls: list[LexborNode] = []
        self._owners: dict[int, LexborNode | None] = {}
        self._follow()

    def controls_of(self, form: LexborNode) -> list[LexborNode]:
        """Return the controls of a form, in tree order."""
        return [control for control in self._controls if self.owner_of(control) == form]

    def owner_of(self, control: LexborNode) -> LexborNode | None:
        return self._owners.get(control.mem_id)

    def clean(self, text: str) -> str:
        """Return a text or attribute value from the tree without the marks that this module has added."""
        return self._marks.sub("", text) if self._mark in text else text

    def _follow(self) -> None:
        pointer: LexborNode | None = None
        by_id: dict[str, LexborNode] = {}
        for node in self.root.traverse():
            if node.is_element_node and (name := node.attributes.get("id")):
                by_id.setdefault(self.clean(name), node)
            if node.tag in _NUMBERED and not _is_foreign(node):
                (self.forms if node.tag == "form" else self._controls).append(node)
        for node in self._in_order_of_source():
            if node.tag == "form":
                pointer = node
            elif node.is_comment_node:
                pointer = None
            elif "form" in node.attributes:
                owner = by_id.get(self.clean(node.attributes["form"] or ""))
                self._owners[node.mem_id] = owner if owner in self.forms else None
            else:
                self._owners[node.mem_id] = pointer if pointer is not None else _form_around(node)

    def _in_order_of_source(self) -> list[LexborNode]:
        return [node for _, node in sorted(self._numbered(), key=lambda entry: entry[0])]

    def _numbered(self) -> Iterator[tuple[int, LexborNode]]:
        for node in self.root.traverse():
            if node.is_comment_node:
                said = node.comment_content or ""
                if said.startswith(self._mark):
                    yield int(said.removeprefix(self._mark)), node
        for node in (*self.forms, *self._controls):
            if number := node.attributes.get(self._mark):
                yield int(number), node


def _form_around(control: LexborNode) -> LexborNode | None:
    node = control.parent
    while node is not None and (node.tag != "form" or _is_foreign(node)):
        node = node.parent
    return node


def _is_foreign(node: LexborNode) -> bool:
    """Return whether an element is inside SVG or MathML, where elements such as <form> and <input> are not HTML forms and
    controls (13.2.6.5).
    """
    parent = node.parent
    while parent is not None:
        tag = (parent.tag or "").lower()
        if tag in _HTML_IN_FOREIGN:
            return False
        if tag in ("svg", "math"):
            return True
        parent = parent.parent
    return False
