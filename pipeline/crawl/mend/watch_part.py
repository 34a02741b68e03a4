"""Find the watched part of redesigned pages by the text that is stored of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from selectolax.lexbor import SelectolaxError

from pipeline.crawl.extract.page_text import page_text
from pipeline.crawl.mend.known_values import fold
from pipeline.crawl.mend.mending import Mending, written
from pipeline.crawl.mend.names import selectors_within
from pipeline.crawl.mend.page_tree import Element, PageTree
from pipeline.crawl.mend.time_limit import TimeLimit
from pipeline.crawl.mend.verify import Agreement
from pipeline.documents.document import Document
from pipeline.model import Json
from pipeline.settings import SelectorTable, WatchTable
from pipeline.text import counted

_MIN_LINE = 8
_MAX_LINES = 200
_FOUND = 0.5
_AGREES = 0.6
_LONGER = 1.6
_TRIED = 60


@dataclass(frozen=True)
class _Watched:
    """A page with the stored lines of its watched part."""

    tree: PageTree
    lines: frozenset[str]


def mend_watch(table: WatchTable, documents: Sequence[Document], known: Sequence[Mapping[str, Json]], limit: TimeLimit) -> Mending:
    """Return a proposal for `watch.part`, or why there is none."""
    part = table.part
    if part is None:
        return Mending({}, "the spider watches whole pages", is_needed=False)
    texts = {str(record.get("url")): _lines(str(record.get("text") or "")) for record in known}
    pages = [_Watched(PageTree(document), texts[document.url]) for document in documents if texts.get(document.url)]
    if not pages:
        return Mending({}, "no text is stored of the pages that were fetched", is_needed=False, known=len(known))
    present = _agreement(part.css, pages, limit) if part.css is not None and "::" not in part.css else 0
    if part.css is not None and present >= _AGREES * len(pages):
        return Mending({}, "the watched part is still there", is_needed=False, known=len(known), pages=present)
    votes: Counter[str] = Counter()
    costs: dict[str, float] = {}
    for page in pages:
        for element in _elements(page, limit):
            for name in selectors_within(page.tree, page.tree.elements[0], element):
                votes[name.css] += 1
                costs[name.css] = min(name.cost, costs.get(name.css, name.cost))
    best = max(((_agreement(css, pages, limit), -costs[css], css) for css in sorted(votes, key=lambda css: (-votes[css], costs[css]))[:_TRIED]),
               default=(0, 0.0, ""))
    tried = (f"the lines of the stored texts on {counted(len(pages), 'page')}",)
    if best[0] < max(1, _AGREES * len(pages)):
        return Mending({}, "the stored texts are not in one part of the pages", is_needed=True, known=len(known), tried=tried)
    new = SelectorTable(**{**part.model_dump(exclude_unset=True, exclude={"css", "xpath"}), "css": best[2]})
    return Mending({"watch": {"part": written(new)}}, "", is_needed=True, agreement=(Agreement("text", best[0], len(pages), best[0]),), pages=best[0],
                   known=len(known), tried=tried)


def _lines(text: str) -> frozenset[str]:
    return frozenset([folded for line in text.splitlines()[:_MAX_LINES] if len(folded := fold(line)) >= _MIN_LINE])


def _elements(page: _Watched, limit: TimeLimit) -> Iterator[Element]:
    """Yield the lowest element that contains half of the stored lines that are on a page, and the elements around it."""
    tree = page.tree
    found = []
    for line in page.lines:
        limit.check()
        found += [next((element.at for element in reversed(tree.elements) if not element.is_opaque
                        and element.end - element.start <= 20 * len(line) and line in fold(tree.text_of(element))), -1)]
    found = [at for at in found if at >= 0]
    if len(found) < _FOUND * len(page.lines):
        return
    for element in tree.above(tree.elements[found[0]]):
        if sum(element.contains(at) for at in found) >= _AGREES * len(page.lines) and element.tag not in ("html", "body"):
            yield element


def _agreement(css: str, pages: Sequence[_Watched], limit: TimeLimit) -> int:
    """Return on how many pages the elements that a selector matches have the stored lines, and few others."""
    agreeing = 0
    for page in pages:
        limit.check()
        try:
            nodes = page.tree.document.lexbor.css(css)
        except SelectolaxError:
            return 0
        found = _lines("\n".join(page_text(node.html or "") for node in nodes)) if 0 < len(nodes) <= 20 else frozenset()
        agreeing += len(found & page.lines) >= _AGREES * len(page.lines) and len(found) <= _LONGER * len(page.lines) + 3
    return agreeing
