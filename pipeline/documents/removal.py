"""Remove elements from a page before rules read it."""

from __future__ import annotations

from collections.abc import Sequence

from selectolax.lexbor import LexborHTMLParser, LexborNode

from pipeline.documents.document import Document


def without_elements(document: Document, selectors: Sequence[str]) -> tuple[Document, list[int]]:
    """Return an HTML page without the elements that CSS selectors match, and the number of elements that each matched.

    The selectors are applied to the whole page: an element inside another one that is removed counts, too.
    """
    tree = LexborHTMLParser(document.text or "<html></html>")
    matches = [tree.css(selector) for selector in selectors]
    marked = {node.mem_id for nodes in matches for node in nodes}
    outermost = {node.mem_id: node for nodes in matches for node in nodes if not _is_inside(node, marked)}
    for node in outermost.values():  # what is inside is freed with it, and must not be touched afterwards
        node.decompose()
    page = Document(url=document.url, status=document.status, text=tree.html or "", headers=lambda: document.headers, encoding=document.encoding,
                    is_rendered=document.is_rendered)
    return page, [len(nodes) for nodes in matches]


def _is_inside(node: LexborNode, marked: set[int]) -> bool:
    """Return whether an element is inside a marked one."""
    parent = node.parent
    while parent is not None:
        if parent.mem_id in marked:
            return True
        parent = parent.parent
    return False
